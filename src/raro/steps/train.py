"""Adversarial training: the game's steps, one after another, with checkpoints a killed run resumes from exactly."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path

from ..config import Config
from ..storage import write_atomic
from .harness import Step

TRANSCRIPTS = "pairs.jsonl"


def run(config: Config, run: Path) -> dict:
    """From the warm start and the train split to STEP/model (the candidate), STEP/train.json and STEP/pairs.jsonl."""
    with Step("train", config, run) as step:
        if step.skipped:
            return step.outputs
        from ..demonstrations import load_split
        from ..learning import checkpoints
        from ..learning.update import Learner, Optimisation
        from ..methods.raro import Raro
        from ..rollout.models import open_model, save_model

        settings = config.raro
        step.events.start(settings.steps, "adversarial training")
        data, warm = step.input("ingest"), step.input("warmstart")
        identity = {"config": config.digest, "data": step.root("ingest"), "base": step.root("warmstart")}
        speaker = open_model(warm / "model", config)
        anchored = settings.kl_pol > 0 or settings.kl_crit > 0
        reference = copy.deepcopy(speaker.model).requires_grad_(False).eval() if anchored else None
        optimisation = Optimisation(
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            batch_tokens=config.resources.batch_tokens,
            layout=config.resources.packing,
            temperature=config.rollout.temperature,
        )
        learner = Learner(speaker.model, reference, optimisation, speaker.pad_id)
        game = Raro(config, speaker, speaker.engine(config), learner, load_split(data, "train"))
        dev = load_split(data, "dev")[: config.evaluation.track_items]
        folder, first, spent = run / "checkpoints", 0, 0.0
        if found := checkpoints.newest(folder, identity):
            checkpoints.restore(found, speaker.model, learner.optimiser)
            game.restore(found.state["game"])
            first, spent = found.step, found.state["seconds"]
            step.events.note(f"resumed from checkpoint {found.folder.name}")
        transcripts = Transcripts(folder / TRANSCRIPTS, first)
        started = time.perf_counter() - spent
        for number in range(first, settings.steps):
            begun = time.perf_counter()
            figures, rows = game.step(number)
            figures["time/step"] = time.perf_counter() - begun
            done = number + 1
            if config.evaluation.track_every and dev and (done % config.evaluation.track_every == 0 or number == 0):
                figures |= look(speaker, dev, config)
            step.events.metrics(done, figures)
            step.events.progress(done, settings.steps)
            if config.privacy.show_text and (number % max(1, settings.steps // 20) == 0 or done == settings.steps):
                transcripts.add(rows)
            if done % settings.checkpoint_every == 0 or done == settings.steps:
                state = {"game": game.state(), "seconds": time.perf_counter() - started}
                checkpoints.save(folder, done, speaker.model, learner.optimiser, state, identity, settings.keep_checkpoints)
        save_model(speaker, step.folder / "model")
        transcripts.copy(step.folder / TRANSCRIPTS)
        summary = {
            "steps": settings.steps,
            "seconds": time.perf_counter() - started,
            "selected_step": settings.steps,
            "gate_opened": game.gate.step_opened,
        }
        (step.folder / "train.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        step.outputs |= {"steps": settings.steps, "gate_opened": game.gate.step_opened}
        return step.outputs


def look(speaker, dev: list, config: Config) -> dict[str, float]:
    """Dev accuracy for the curve. Nothing is ever decided by it."""
    from ..benchmarks.measure import measure

    greedy = measure(speaker, dev, config, 0.0).scores
    sampled = measure(speaker, dev, config, config.rollout.temperature).scores
    return {"dev/greedy": sum(greedy) / len(dev), "dev/sampled": sum(sampled) / len(dev)}


class Transcripts:
    """Judged pairs beside the checkpoints: a resumed run keeps those written before its checkpoint, and none twice."""

    def __init__(self, path: Path, first: int):
        self.path = path
        kept = [line for line in self._lines() if json.loads(line)["step"] < first]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, "".join(line + "\n" for line in kept))

    def add(self, rows: list[dict]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def copy(self, target: Path) -> None:
        target.write_text("".join(line + "\n" for line in self._lines()), encoding="utf-8")

    def _lines(self) -> Iterator[str]:
        """Whole lines only: a killed process may have left half of one."""
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8")
            yield from text[: text.rfind("\n") + 1].splitlines()
