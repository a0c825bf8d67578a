"""The curves beside a study's table: a few figures of training by step, for each arm and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..tracking import events
from .run import Job

FIGURES = (
    "dev/sampled", "dev/greedy", "policy/reward", "policy/tokens", "policy/truncated", "policy/kl",
    "critic/accuracy", "critic/tie", "game/written", "health/accuracy", "game/retest", "game/retested",
)  # fmt: skip
EVERY = 5
"""Steps between two points, but for what is seldom looked at."""
SELDOM = ("dev/", "health/", "game/retest")


def collect(jobs: Sequence[Job]) -> dict[str, dict[str, dict[str, list[list[float]]]]]:
    """{arm: {seed: {figure: [[step, value], ...]}}}."""
    found: dict[str, dict[str, Any]] = {}
    for job in jobs:
        found.setdefault(job.arm.name, {})[str(job.seed)] = of(job.folder)
    return found


def of(folder: Path) -> dict[str, list[list[float]]]:
    """The curves of one run."""
    curves: dict[str, list[list[float]]] = {}
    for step, values in events.trained(folder).items():
        for name in FIGURES:
            if name in values and (name.startswith(SELDOM) or step % EVERY == 0):
                curves.setdefault(name, []).append([step, round(values[name], 4)])
    return curves
