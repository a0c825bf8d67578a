"""Which of a run's snapshots becomes the candidate, without a verifier: the one that its worst frozen critic likes best.

The last step may have drifted, and the current critic flatters the policy it grew up with. So each snapshot's policy answers
held-out questions, each of several frozen critics judges these answers beside the experts', in both orders, and a snapshot is
as good as the critic that likes it least says (a minimax choice, after the duality gap of arXiv 1811.05512). Nothing here knows
which answer is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from ..config import Config
from ..records import Demonstration
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from .matrix import Answers, Matrix, duality_gaps, points, ratings, written


@dataclass(frozen=True)
class Selection:
    """win_rates[i][j]: the share of held-out questions that snapshot i's answers win before the critic of snapshot judges[j], a
    tie and an unreadable verdict counting half, a malformed answer nothing. Steps count from 1. matrix: of all snapshots'
    critics, on fewer questions; None where it is not asked for."""

    steps: list[int]
    judges: list[int]
    win_rates: list[list[float]]
    chosen: int
    matrix: Matrix | None = None


def select(
    speaker: Speaker,
    snapshots: Sequence[tuple[int, Path]],
    held_out: Sequence[Demonstration],
    config: Config,
    judges: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> Selection:
    """Chooses among (step, file of weights). judges: how many of them, the latest, serve as frozen critics. The speaker's model
    is left with the chosen weights."""
    engine = speaker.engine(config)
    n = min(config.probes.matrix_items, len(held_out))
    first = 0 if n else max(0, len(snapshots) - judges)  # the oldest critic that is asked
    total, done = len(snapshots) * (1 + len(snapshots) - first), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    answers = []
    for _, path in snapshots:
        engine.load(load_file(path))
        answers.append(written(speaker, engine, held_out, config))
        tick()
    columns = []  # what each snapshot's answers got before a critic, by item
    for at, (_, path) in enumerate(snapshots[first:], first):
        asked = len(held_out) if at >= len(snapshots) - judges else n
        engine.load(load_file(path))
        column = []
        for given in answers:
            column.append(points(speaker, engine, held_out[:asked], given[:asked], config))
            tick()
        columns.append(column)
    steps = [step for step, _ in snapshots]
    matrix = _matrix(speaker, engine, held_out[:n], [given[:n] for given in answers], columns, steps, config) if n else None
    rows = [[_mean(got) for got in row] for row in zip(*columns[-judges:], strict=True)]
    best = max(range(len(rows)), key=lambda i: (min(rows[i]), i))
    engine.load(load_file(snapshots[best][1]))
    return Selection(steps, steps[-judges:], rows, steps[best], matrix)


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


def within(snapshots: Sequence[tuple[int, Path]], kl: Mapping[int, float], budget: float) -> list[tuple[int, Path]]:
    """The snapshots whose policy has gone no further from the warm start than the budget, nats a token; where all have, the one
    that has gone least. kl: by step; a snapshot of which it is not known is within. budget: 0 for none."""
    if not budget or not snapshots:
        return list(snapshots)
    near = [one for one in snapshots if kl.get(one[0], 0.0) <= budget]
    return near or [min(snapshots, key=lambda one: kl[one[0]])]
