"""Adversarial training: the game's steps, one after another, with checkpoints a killed run resumes from exactly.

With `resources.processes` above 1 the same loop runs in that many processes (launch.py); the first one writes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config, agreed, stored
from ..errors import RaroError
from ..storage import write_atomic
from ..tracking.events import Events
from . import lifeline, trainjob
from .harness import Step, described
from .held import check_gpus
from .launch import ERROR, Play, launch
from .transcripts import SHOWN, TEXTS, TRANSCRIPTS, Transcripts

if TYPE_CHECKING:
    from ..learning.update import Learner
    from ..rollout.models import Speaker

CRITIC = "critic"
"""The folder of a critic that is a model of its own (`raro.critic_model: separate`), beside the candidate's."""


def run(config: Config, run: Path) -> dict:
    """From the warm start and the train split to STEP/model (the candidate), STEP/train.json and STEP/pairs.jsonl; a
    critic of its own to STEP/critic."""
    with Step("train", config, run) as step:
        if step.skipped:
            return step.outputs
        agreed(config)
        identity = {"config": config.identity, "data": step.root("ingest"), "base": step.root("warmstart")}
        play = Play(str(run), str(step.folder), str(step.input("ingest")), str(step.input("warmstart")), identity)
        if config.resources.processes == 1 and trainjob.VARIABLE not in os.environ:
            train(config, play)
        else:
            launch(config, play)
        summary = json.loads((step.folder / "train.json").read_text(encoding="utf-8"))
        step.outputs |= {"steps": summary["steps"], "gate_opened": summary["gate_opened"]}
        return step.outputs


def train(config: Config, play: Play) -> None:
    """The loop: the same in each process, where there are several; the first one writes."""
    from ..demonstrations import load_split
    from ..demonstrations.shown import Shown
    from ..learning import checkpoints
    from ..learning.adapters import merge
    from ..learning.update import NotFinite
    from ..methods import method_of
    from ..methods.method import crossed_mark
    from ..rollout.models import named, open_model, save_model, shards
    from .guarding import Guarding
    from .preflight import machine

    settings, folder = config.raro, Path(play.run) / "checkpoints"
    speaker = open_model(Path(play.warm) / "model", config)
    learner = _learner(speaker, config)
    writes, together = learner.accelerator.is_main_process, learner.accelerator.wait_for_everyone
    train_split, dev = (load_split(Path(play.data), split) for split in ("train", "dev"))
    game = method_of(config.method)(
        *(config, speaker, speaker.engine(config), learner, train_split),
        snapshots=lambda: checkpoints.snapshots(folder),
        held_out=dev,
    )
    if shards(config):
        learner.shard()
    events = Events(play.run, "train")
    first, spent = 0, 0.0
    warn = (lambda line: events.note(line, "warning")) if writes else (lambda line: None)
    if found := checkpoints.newest(folder, play.identity, warn):
        checkpoints.restore(found, speaker.model, learner.optimiser, game.beside())
        game.restore(found.state["game"])
        first, spent = found.step, found.state["seconds"]
        if writes:
            events.note(f"resumed from checkpoint {found.folder.name}")
    together()  # all have found it
    if writes:
        checkpoints.undo(folder, first)
    guarding = Guarding(config, game, folder, play.identity, together, events if writes else None)
    if found and "guards" in found.state:
        guarding.restore(found.state["guards"])
    together()
    shown = Shown.of(config)
    transcripts = Transcripts(folder / TRANSCRIPTS, first) if writes else None
    if writes:
        events.progress(first, settings.steps, "steps")
    started, done = time.perf_counter() - spent, first

    def save() -> None:
        state = {"game": game.state(), "seconds": time.perf_counter() - started, "guards": guarding.state()}
        parts = speaker.model, learner.optimiser, state, play.identity, settings.keep_checkpoints
        checkpoints.save(folder, done, *parts, game.beside(), writes, guarding.doubted)

    if not found and guarding.goes_back:
        save()
    while (before := game.progress(done)) < 1 and not (guarding.stopped or game.finished):
        begun = time.perf_counter()
        try:
            figures, rows = game.step(done)
        except NotFinite as error:
            figures, done = {}, guarding.not_finite(done, error)
        else:
            done += 1
            progress = game.progress(done)
            figures["time/step"] = time.perf_counter() - begun
            if config.evaluation.track_every and dev and (done % config.evaluation.track_every == 0 or done == 1):
                figures |= look(speaker, dev[: config.evaluation.track_items], config, game.thinks)
            if writes:
                events.metrics(done, figures)
                events.progress(done, max(done, round(done / progress)), "steps")
                if shown and crossed_mark(before, progress, SHOWN):
                    transcripts.add(shown.rows(rows, TEXTS))
        if crossed_mark(before, game.progress(done), settings.snapshots):
            checkpoints.save_weights(folder, done, speaker.model, writes)
            together()  # the next step may draw this snapshot, in every process
        if figures:
            done = guarding.after(done, figures)
        if guarding.went_back and writes:
            transcripts.back(done)
        if guarding.went_back or done % settings.checkpoint_every == 0 or game.progress(done) >= 1 or game.finished:
            save()
    together()
    tell = (lambda d, n: events.progress(d, n, "choosing the candidate")) if writes else None
    selection = game.select(checkpoints.snapshots(folder), dev, tell, guarding.alarmed)
    made = {"model": speaker.model} | {name: model for name, (model, _) in game.beside().items() if name == CRITIC}
    for name, model in made.items():
        save_model(replace(speaker, model=merge(model)), Path(play.folder) / name, config.base.dtype, writes)
    if writes:
        if selection and selection.warning:
            events.note(f"choosing the candidate: {selection.warning}", "warning")
        transcripts.copy(Path(play.folder) / TRANSCRIPTS)
        summary = {
            "method": config.method,
            "steps": done,
            "tokens": game.written,
            "seconds": time.perf_counter() - started,
            "selected_step": selection.chosen if selection else done,
            "selection": dataclasses.asdict(selection) | {"warning": selection.warning} if selection else None,
            "gate_opened": game.gate_opened,
            "alarms": guarding.watch.alarms,
            "stopped_early": game.finished,
            "stopped_by_guard": guarding.stopped,
            "processes": learner.accelerator.num_processes,
            "machine": machine(named(learner.accelerator.device)),
        }
        (Path(play.folder) / "train.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    together()


def _learner(speaker: Speaker, config: Config) -> Learner:
    """The speaker's model, or its adapters, with an optimiser; and the model as it is now as reference where something is
    measured to it or judged by it."""
    from ..learning.adapters import attach, frozen_copy
    from ..learning.update import Learner
    from ..methods import method_of
    from ..methods.method import optimisation_of

    rank = config.base.lora_rank
    anchored = method_of(config.method).needs_reference(config)
    reference = frozen_copy(speaker.model, shares=rank > 0) if anchored else None
    if rank:
        attach(speaker.model, rank, config.base.lora_alpha, config.seed)
    return Learner(speaker.model, reference, optimisation_of(config), speaker.pad_id)


def look(speaker: Speaker, dev: list, config: Config, thinking: bool) -> dict[str, float]:
    """Dev accuracy for the curve. Nothing is ever decided by it."""
    from ..benchmarks.measure import measure

    greedy = measure(speaker, dev, config, 0.0, thinking=thinking).scores
    sampled = measure(speaker, dev, config, config.rollout.temperature, thinking=thinking).scores
    return {"dev/greedy": sum(greedy) / len(dev), "dev/sampled": sum(sampled) / len(dev)}


def main(path: Path) -> None:
    """One of the processes that `launch` starts: it does not outlive the step."""
    lifeline.watch(lifeline.end)
    play = Play(**json.loads(path.read_text(encoding="utf-8")))
    config = stored((Path(play.run) / "config.json").read_text(encoding="utf-8"))
    try:
        check_gpus()
        train(config, play)
    except Exception as error:
        told = Path(play.folder) / ERROR
        if not told.exists() and "by peer" not in str(error):  # that another process is gone: it tells by itself, or cannot
            write_atomic(told, json.dumps(described(error, config)))
        if not isinstance(error, RaroError):
            raise  # its traceback goes to the log
        sys.exit(error.code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
