"""What an answer scores, by benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..config import Config
from ..records import Demonstration
from . import choices, countdown, deepmath, diagnosis, spelling
from .held_out import likeness

Scorer = Callable[[Demonstration, str], float]
Saying = Callable[[Demonstration, str], str]


def countdown_score(item: Demonstration, answer: str) -> float:
    """1 where the expression reaches the target with each number used once, else 0."""
    problem = countdown.read_question(item.question)
    return float(problem is not None and countdown.correct(problem, answer))


SCORERS: dict[str, Scorer] = {
    "countdown": countdown_score,
    "deepmath": lambda item, answer: float(deepmath.correct(item.answer, answer)),
    "diagnosis": lambda item, answer: float(diagnosis.matches(answer, item.answer)),
    "held_out": lambda item, answer: likeness(answer, item.answer),
}
"""By benchmark."""
SAYINGS: dict[str, Callable[[str], str]] = {
    "countdown": spelling.canonical,
    "deepmath": deepmath.saying,
    "diagnosis": diagnosis.saying,
}
CHECKED = ("countdown", "deepmath", "diagnosis", "choice")
"""Benchmarks whose score says right or wrong."""


def scorer(items: Sequence[Demonstration], config: Config) -> Scorer:
    """The benchmark's, for these items. Raises BadInput where it needs what their data does not hold."""
    if config.evaluation.benchmark != "choice":
        return SCORERS[config.evaluation.benchmark]
    offered = choices.read(items, config)
    return lambda item, answer: float(choices.matches(answer, offered[item.source]))


def saying(items: Sequence[Demonstration], config: Config) -> Saying:
    """One key for answers that say the same, however they are written: what a vote counts by."""
    if config.evaluation.benchmark == "choice":
        offered = choices.read(items, config)
        return lambda item, answer: (
            answer if (place := choices.said(answer, offered[item.source].texts)) is None else str(place)
        )
    key = SAYINGS.get(config.evaluation.benchmark, str)
    return lambda item, answer: key(answer)
