"""Which of a run's snapshots becomes the candidate, without a verifier: the one that its worst frozen critic likes best.

The last step may have drifted, and the current critic flatters the policy it grew up with. So each snapshot's policy answers
held-out questions, each of several frozen critics judges these answers beside the experts', in both orders, and a snapshot is
as good as the critic that likes it least says (a minimax choice, after the duality gap of arXiv 1811.05512). Nothing here knows
which answer is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from ..benchmarks import asking
from ..benchmarks.judging import verdicts
from ..config import Config
from ..game.rewards import win
from ..records import Demonstration, Sampling
from ..rollout.engine import Engine
from ..rollout.models import Speaker

STEP = 2**31 + 1
"""The selection's own place in the noise's key, apart from every step of the game."""


@dataclass(frozen=True)
class Selection:
    """win_rates[i][j]: the share of held-out questions that snapshot i's answers win before the critic of snapshot judges[j], a
    tie and an unreadable verdict counting half, a malformed answer nothing. Steps count from 1."""

    steps: list[int]
    judges: list[int]
    win_rates: list[list[float]]
    chosen: int


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
    total, done = len(snapshots) * (1 + min(judges, len(snapshots))), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    answers = []
    for _, path in snapshots:
        engine.load(load_file(path))
        answers.append(_answers(speaker, engine, held_out, config))
        tick()
    columns = []
    for _, path in snapshots[-judges:]:
        engine.load(load_file(path))
        column = []
        for given in answers:
            column.append(_win_rate(speaker, engine, held_out, given, config))
            tick()
        columns.append(column)
    rows = [list(row) for row in zip(*columns, strict=True)]
    best = max(range(len(rows)), key=lambda i: (min(rows[i]), i))
    engine.load(load_file(snapshots[best][1]))
    steps = [step for step, _ in snapshots]
    return Selection(steps, steps[-judges:], rows, steps[best])


def _answers(speaker: Speaker, engine: Engine, items: Sequence[Demonstration], config: Config) -> list[str | None]:
    asked = [asking.policy(speaker, d.question, config, "selection", i) for i, d in enumerate(items)]
    sampling = Sampling(config.rollout.temperature, config.rollout.policy_tokens, config.seed, STEP)
    read = [speaker.read(completion) for (completion,) in engine.generate(asked, 1, sampling)]
    return [parts[1] if parts else None for parts in read]


def _win_rate(
    speaker: Speaker, engine: Engine, items: Sequence[Demonstration], answers: Sequence[str | None], config: Config
) -> float:
    return sum(map(win, verdicts(speaker, engine, items, answers, config))) / (2 * len(items))
