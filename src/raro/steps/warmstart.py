"""The warm start: supervised lessons in the format both roles speak, with accuracy on dev measured before and after."""

from __future__ import annotations

import json
from pathlib import Path

from ..config import Config, agreed
from ..registry.bases import base_digest, base_folder
from .harness import Step


def run(config: Config, run: Path) -> dict:
    """From the base and the train split to STEP/model and STEP/warmstart.json."""
    with Step("warmstart", config, run, given=lambda: {"base": base_digest(config, run)}) as step:
        if step.skipped:
            return step.outputs
        agreed(config)
        from ..benchmarks.measure import measure
        from ..demonstrations import load_split
        from ..methods.sft import supervise
        from ..methods.warmstart import make_lessons
        from ..rollout.models import open_model, save_model

        settings = config.warmstart
        step.events.start(settings.steps, "warm start")
        data = step.input("ingest")
        speaker = open_model(base_folder(config, run), config)
        dev = load_split(data, "dev")[: config.evaluation.track_items]
        before = measure(speaker, dev, config, config.rollout.temperature) if dev else None
        summary: dict = {"steps": settings.steps, "dev_items": len(dev)}
        if settings.steps:
            lessons = make_lessons(
                speaker, load_split(data, "train"), config, lambda d, n: step.events.progress(d, n, "own thoughts")
            )
            count = {stream: sum(s.stream == stream for s in lessons.examples) for stream in ("policy", "critic")}
            summary |= {"examples": count, "spoken_before": lessons.spoken}

            def report(done: int, total: int, figures: dict[str, float]) -> None:
                step.events.progress(done, total, "lessons")
                step.events.metrics(done, {"warmstart/loss": figures["loss"]})

            supervise(speaker, lessons.examples, config, settings.steps, settings.questions, settings.learning_rate, report)
        after = measure(speaker, dev, config, config.rollout.temperature) if dev and settings.steps else before
        for when, measured in (("before", before), ("after", after)):
            if measured:
                summary |= {
                    f"well_formed_{when}": measured.well_formed,
                    f"score_{when}": sum(measured.scores) / len(measured.scores),
                }
        save_model(speaker, step.folder / "model", config.base.dtype)
        (step.folder / "warmstart.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        step.outputs["steps"] = settings.steps
        return step.outputs
