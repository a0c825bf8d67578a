"""Which of a run's snapshots becomes the candidate, without a verifier: the latest that is as good as the best, as judged by
its worst frozen critic.

The last step may have drifted, and the current critic flatters the policy it grew up with. So each snapshot's policy answers
held-out questions, each of several frozen critics judges these answers beside the experts', in both orders, and a snapshot
counts as good as its least favourable critic says (a minimax choice, after the duality gap of arXiv 1811.05512). Over some
hundreds of questions two snapshots differ by chance, and the best of several is the luckiest: so among those within
`probes.select_level` standard errors of the best the latest is taken, which has learnt longest. Nothing here knows which
answer is right. Of a large dev split `probes.select_items` are asked: all of them would cost more than the game.

A critic that always ties or guesses tells nothing. So only the latest critics that can tell an expert's answer from the same
made worse (probes/health.py, `guards.chance`) are asked. If there is none, nobody can judge: the candidate is the last
snapshot from before the steps that an alarm is for; else the last one when it was raised, since alarms came while most of the
accuracy was left (docs/collapse-gallery.md); else the last of all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from ..config import Config
from ..probes.health import HealthSet
from ..probes.matrix import Answers, Matrix, Tick, duality_gaps, points_of_each, ratings, written
from ..records import Demonstration
from ..rollout.engine import Engine
from ..rollout.models import Speaker

Snapshots = Sequence[tuple[int, Path]]
"""(step, file of weights), the oldest first."""
LEAST = 0.5
"""Of what the best gets, under which a snapshot is never as good: of a few questions a fall could be chance."""
Alarmed = tuple[int, int] | None
"""The first step that an active alarm is for, and the first in which one was raised; None without an alarm."""


@dataclass(frozen=True)
class Selection:
    """win_rates[i][j]: the share of held-out questions that snapshot i's answers win with the critic of snapshot judges[j], a
    tie and an unreadable verdict counting half, a malformed answer nothing. Steps count from 1. matrix: of all snapshots'
    critics, on fewer questions; None where it is not asked for. unfit: (step, health) of the critics that would have judged
    and are below `guards.chance`. instead: how the candidate was chosen if nobody could judge, or there was nothing to
    compare; empty if the critics chose."""

    steps: list[int]
    judges: list[int]
    win_rates: list[list[float]]
    chosen: int
    matrix: Matrix | None = None
    unfit: list[tuple[int, float]] = field(default_factory=list)
    instead: str = ""

    @property
    def warning(self) -> str:
        """What a person should know about the choice, one sentence; empty for nothing."""
        told = [f"critics below guards.chance on their health set did not judge: {_listed(self.unfit)}"] if self.unfit else []
        return "; ".join([*told, f"the candidate is {self.instead}"] if self.instead else told)


def select(
    speaker: Speaker,
    snapshots: Snapshots,
    held_out: Sequence[Demonstration],
    config: Config,
    judges: int = 3,
    progress: Tick = None,
    alarmed: Alarmed = None,
) -> Selection:
    """Chooses among them. judges: how many of them, the latest that are fit to judge, serve as frozen
    critics. alarmed: since when something may be wrong. The speaker's model is left with the chosen weights."""
    engine = speaker.engine(config)
    fit, unfit = _judges(speaker, engine, snapshots, held_out, config, judges)
    held_out = selected_items(held_out, config)
    n = min(config.probes.matrix_items, len(held_out))
    asked = {at: len(held_out) if at in fit else n for at in range(len(snapshots)) if at in fit or n}
    total, done, told = len(snapshots) * (1 + len(asked)), 0, 0

    def tick(reached: float) -> None:
        nonlocal told
        if progress and round(reached) > told:
            told = round(reached)
            progress(told, total)

    answers = []
    for _, path in snapshots:
        engine.load(load_file(path))
        answers.append(written(speaker, engine, held_out, config))
        done += 1
        tick(done)
    columns = {}  # what each snapshot's answers got before a critic, by item
    for at, items in asked.items():
        engine.load(load_file(snapshots[at][1]))
        given = [snapshot[:items] for snapshot in answers]
        columns[at] = points_of_each(
            speaker, engine, held_out[:items], given, config, lambda d, n, done=done: tick(done + len(snapshots) * d / n)
        )
        done += len(snapshots)
        tick(done)
    steps = [step for step, _ in snapshots]
    some = [given[:n] for given in answers]
    matrix = _matrix(speaker, engine, held_out[:n], some, list(columns.values()), steps, config) if n else None
    rows = [[_mean(columns[at][i]) for at in fit] for i in range(len(snapshots))]
    level = config.probes.select_level
    best, instead = (latest_level([columns[at] for at in fit], level), "") if fit else _unjudged(steps, alarmed)
    engine.load(load_file(snapshots[best][1]))
    return Selection(steps, [steps[at] for at in fit], rows, steps[best], matrix, unfit, instead)


def latest_level(columns: Sequence[Sequence[Sequence[float]]], level: float) -> int:
    """The place of the latest snapshot that gets, from the critic that likes it least, at most `level` standard errors less
    than the best. columns[j][i]: what snapshot i's answers got before critic j, question by question."""
    rates = np.array([[np.mean(got) for got in column] for column in columns])  # [critics, snapshots]
    worst = rates.min(0)
    best = max(range(len(worst)), key=lambda i: (worst[i], i))
    for i in reversed(range(best + 1, len(worst))):
        critic = columns[rates[:, i].argmin()]
        lost = np.subtract(critic[best], critic[i])
        error = lost.std() / len(lost) ** 0.5
        if worst[i] >= LEAST * worst[best] and lost.mean() <= level * error:
            return i
    return best


def selected_items(held_out: Sequence[Demonstration], config: Config) -> Sequence[Demonstration]:
    """Those among which `select` chooses, in their order: `probes.select_items` of them, the same for the same seed."""
    wanted = config.probes.select_items or len(held_out)
    if wanted >= len(held_out):
        return held_out
    places = random.Random(f"select-{config.seed}").sample(range(len(held_out)), wanted)
    return [held_out[at] for at in sorted(places)]


def _judges(
    speaker: Speaker,
    engine: Engine,
    snapshots: Snapshots,
    held_out: Sequence[Demonstration],
    config: Config,
    wanted: int,
) -> tuple[list[int], list[tuple[int, float]]]:
    """Places of the latest critics that are not below `guards.chance`, in order; (step, health) of those passed over. One
    whose health cannot be told, since nothing can be done to the experts' answers, may judge."""
    health, fit, unfit = HealthSet(config, held_out), [], []
    for at in reversed(range(len(snapshots))):
        if len(fit) == wanted:
            break
        engine.load(load_file(snapshots[at][1]))
        knows = health.accuracy(speaker, engine)
        if knows is None or knows >= config.guards.chance:
            fit.insert(0, at)
        else:
            unfit.insert(0, (snapshots[at][0], knows))
    return fit, unfit


def _unjudged(steps: Sequence[int], alarmed: Alarmed) -> tuple[int, str]:
    """The place of the snapshot that is taken where no critic can judge, and why that one. Where all were taken after the alarm
    it tells none of them from another: the last has learnt longest, the first would hardly differ from the warm start, and what
    a fall has left of the last is measured before anything is promoted."""
    last = len(steps) - 1
    if alarmed is None:
        return last, "the last snapshot: no critic could judge, and no alarm was raised"
    since, raised = alarmed
    if before := sum(step < since for step in steps):
        return before - 1, f"the last snapshot before the first alarm, for step {since}: no critic could judge"
    if before := sum(step <= raised for step in steps):
        why = f"no critic could judge, and the alarm may apply to it too, from step {since} on"
        return before - 1, f"the last snapshot when the first alarm was raised, in step {raised}: {why}"
    return last, f"the last snapshot: no critic could judge, and all are from after the first alarm, in step {raised}"


def _listed(unfit: Sequence[tuple[int, float]]) -> str:
    return ", ".join(f"step {step} ({health:.2f})" for step, health in unfit)


def _matrix(
    speaker: Speaker,
    engine: Engine,
    items: Sequence[Demonstration],
    answers: Sequence[Answers],
    columns: Sequence[Sequence[Sequence[float]]],
    steps: list[int],
    config: Config,
) -> Matrix:
    """The snapshot matrix over the first items; the engine holds the last critic."""
    columns = [[got[: len(items)] for got in column] for column in columns]
    rates = [[_mean(got) for got in row] for row in zip(*columns, strict=True)]
    strength = ratings(speaker, engine, items, answers, columns[-1], config)
    return Matrix(steps, len(items), rates, duality_gaps(rates), strength)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
