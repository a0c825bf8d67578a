"""What the test problems are alike in: how long the question is, which file it came from, how hard it is, what it is about."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..config import Config
from ..errors import printable
from ..records import Demonstration
from ..solver import Problem, solutions
from . import countdown, origin
from .countdown_sets import band

MOST = 20
"""Labels of a stratum at most; the rarest go together as `other`."""
COUNTED = 4
"""Solutions are counted for problems of so many numbers at most: beyond, it takes seconds each."""


def labels(items: Sequence[Demonstration], config: Config) -> dict[str, list[str]]:
    """{stratum: one label per item}; a stratum whose items all bear one label is left out. The columns that `evaluation.strata`
    names are read from the experts' files. Raises BadInput where they lack one."""
    found = {"length": _lengths([len(item.question) for item in items])}
    found["source"] = [item.source.rpartition("#")[0] or item.source for item in items]
    if config.evaluation.benchmark == "countdown":
        asked = [countdown.read_question(item.question) for item in items]
        found["numbers"] = [str(len(problem.numbers)) if problem else "unread" for problem in asked]
        found["difficulty"] = [_difficulty(problem) for problem in asked]
    found |= _columns(items, config)
    return {name: _few(given) for name, given in found.items() if len(set(given)) > 1}


def _columns(items: Sequence[Demonstration], config: Config) -> dict[str, list[str]]:
    """What the files say of each item in these columns; `unknown` where they say nothing."""
    wanted = config.evaluation.strata
    if not wanted:
        return {}
    said = origin.columns(items, wanted, config, "evaluation.strata")
    return {name: [_label(said[item.source][name]) for item in items] for name in wanted}


def _label(value: Any) -> str:
    """A number by its whole part, `5 to 6`; of a path `A -> B -> C` the first two."""
    if value is None or value == "":
        return "unknown"
    if isinstance(value, float) and math.isfinite(value):
        return f"{math.floor(value)} to {math.floor(value) + 1}"
    return printable(" ".join(" -> ".join(str(value).split(" -> ")[:2]).split())[:80])  # it becomes part of sentences


def _difficulty(problem: Problem | None) -> str:
    if problem is None or len(problem.numbers) > COUNTED:
        return "not counted"
    return band(solutions(problem))


def _lengths(counts: Sequence[int]) -> list[str]:
    """short, medium, long: thirds of the items by the question's characters."""
    ordered = sorted(counts)
    if not ordered:
        return []
    low, high = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    return ["short" if n < low else "medium" if n < high else "long" for n in counts]


def _few(given: list[str]) -> list[str]:
    counts = Counter(given)
    if len(counts) <= MOST:
        return given
    kept = set(sorted(counts, key=lambda label: (-counts[label], label))[: MOST - 1])
    return [label if label in kept else "other" for label in given]
