"""Every snapshot's policy judged by every snapshot's critic, and against one another by one critic: progress or a circle?

win_rates[i][j] is policy i's win rate against the experts with the frozen critic j. A row that rises in all its columns is
progress; new policies that lose with old critics while their own still likes them go in circles. From it the duality gap
(arXiv 1811.05512): what the best policy gets from critic t, less what policy t gets from its worst critic; 0 if neither could
do better as another of this run's snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np

from ..benchmarks.statistics import Interval, bradley_terry
from ..config import Config
from ..game.rewards import EVEN, win
from ..records import Demonstration, Sampling
from ..roles import asking
from ..roles.judging import verdicts
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from ..rollout.places import Place

Answers = Sequence[str | None]
Tick = Callable[[int, int], None] | None
"""Is told how much of how much is done."""


@dataclass(frozen=True)
class Matrix:
    """Over n held-out questions. win_rates: [i][j] as above. duality_gap: of each snapshot. ratings: Bradley-Terry strength of
    each snapshot's policy before the last critic, natural logarithms, the experts' being 0, with intervals over questions."""

    steps: list[int]
    n: int
    win_rates: list[list[float]]
    duality_gap: list[float]
    ratings: list[Interval]


def duality_gaps(win_rates: Sequence[Sequence[float]]) -> list[float]:
    """max over i of W[i][t], less min over j of W[t][j], of every t: never negative. win_rates: square."""
    square = np.asarray(win_rates, dtype=np.float64)
    return [float(gap) for gap in square.max(axis=0) - square.min(axis=1)]


def written(speaker: Speaker, engine: Engine, items: Sequence[Demonstration], config: Config) -> list[str | None]:
    """The policy's answers to held-out questions, sampled; None where one is malformed. The same noise at every call."""
    asked = [asking.policy(speaker, d.question, config, "selection", i) for i, d in enumerate(items)]
    sampling = Sampling(config.rollout.temperature, config.rollout.policy_tokens, config.seed, Place.MATRIX)
    read = [speaker.read(completion) for (completion,) in engine.generate(asked, 1, sampling)]
    return [parts[1] if parts else None for parts in read]


def points(
    speaker: Speaker,
    engine: Engine,
    items: Sequence[Demonstration],
    answers: Answers,
    config: Config,
    progress: Tick = None,
) -> list[float]:
    """What each answer gets beside its expert's, both orders, 0 to 1: a tie and an unreadable verdict are half a win, a
    malformed answer loses."""
    said = iter(verdicts(speaker, engine, items, answers, config, progress=progress))
    return [0.0 if answer is None else (win(next(said)) + win(next(said))) / 2 for answer in answers]


def points_of_each(
    speaker: Speaker,
    engine: Engine,
    items: Sequence[Demonstration],
    answers: Sequence[Answers],
    config: Config,
    progress: Tick = None,
) -> list[list[float]]:
    """The same of several that answered, [which][item]: asked all at once, since an engine writes a few verdicts hardly faster
    than many. progress: is told how many verdicts of how many are written."""
    flat = points(speaker, engine, [*items] * len(answers), [*chain.from_iterable(answers)], config, progress)
    return cut(flat, len(answers))


def cut(flat: Sequence[float], parts: int) -> list[list[float]]:
    """As many equal parts, one after another."""
    n = len(flat) // max(1, parts)
    return [list(flat[i * n : (i + 1) * n]) for i in range(parts)]


def against(
    speaker: Speaker, engine: Engine, items: Sequence[Demonstration], ours: Answers, theirs: Answers, config: Config
) -> list[float]:
    """What each of our answers gets beside theirs to the same question; the same words are even, and two malformed ones."""
    rivals = [replace(item, answer=their or "") for item, their in zip(items, theirs, strict=True)]
    asked = [our if our and their and our != their else None for our, their in zip(ours, theirs, strict=True)]
    judged = points(speaker, engine, rivals, asked, config)
    return [
        got if ask else EVEN if our == their else float(our is not None)
        for got, ask, our, their in zip(judged, asked, ours, theirs, strict=True)
    ]


def against_each(
    speaker: Speaker,
    engine: Engine,
    items: Sequence[Demonstration],
    ours: Sequence[Answers],
    theirs: Sequence[Answers],
    config: Config,
) -> list[list[float]]:
    """The same of several matches, [match][item], asked all at once."""
    flat = [[*chain.from_iterable(side)] for side in (ours, theirs)]
    return cut(against(speaker, engine, [*items] * len(ours), *flat, config), len(ours))


def ratings(
    speaker: Speaker,
    engine: Engine,
    items: Sequence[Demonstration],
    answers: Sequence[Answers],
    beside_experts: Sequence[Sequence[float]],
    config: Config,
) -> list[Interval]:
    """Each snapshot's strength before the critic that the engine holds, from all pairs of snapshots and from
    beside_experts[i]: what snapshot i's answers got there."""
    players = len(answers) + 1  # the experts first
    table = np.full((len(items), players, players), np.nan)
    for i, got in enumerate(beside_experts, 1):
        table[:, i, 0], table[:, 0, i] = got, 1 - np.asarray(got)
    matches = list(combinations(range(1, players), 2))
    ours, theirs = ([answers[match[side] - 1] for match in matches] for side in (0, 1))
    won = against_each(speaker, engine, items, ours, theirs, config)
    for (i, j), got in zip(matches, won, strict=True):
        table[:, i, j], table[:, j, i] = got, 1 - np.asarray(got)
    return bradley_terry(table, config.evaluation.bootstrap, config.seed)[1:]
