"""Whether the test problems can be measured as the settings ask: known at ingest, before any GPU is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..config import Config
from ..errors import BadInput
from ..records import Demonstration
from . import strata
from .scoring import scorer

TRIED = 200
"""Experts' own answers that the benchmark is tried on."""


def check(items: Sequence[Demonstration], config: Config) -> Iterator[str]:
    """What a person should know of the test split, a line each. Raises BadInput where it is empty, where evaluation.strata
    names columns that it has not, and where the benchmark finds no expert right: it was made for other answers."""
    if not items:
        raise BadInput(
            "the test split holds no problem: nothing can be measured", "raise demonstrations.test_share, or add data"
        )
    items = items[: config.evaluation.max_items]
    strata.labels(items, config)
    if len(items) < config.gate.min_items:
        yield f"{len(items)} test problems, and gate.min_items asks for {config.gate.min_items}: a candidate can only be held"
    score, tried = scorer(items, config), items[:TRIED]
    wrong = sum(score(item, item.answer) < 1 for item in tried)
    if wrong == len(tried):
        line = f"the benchmark {config.evaluation.benchmark} finds none of {wrong} experts' own answers right"
        raise BadInput(line, "name the evaluation.benchmark that is made for such questions and answers; held_out takes any")
    if wrong:
        yield f"the benchmark finds {wrong} of {len(tried)} experts' own answers wrong: no model can be right there"
