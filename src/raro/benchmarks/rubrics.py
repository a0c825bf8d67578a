"""Cases with a rubric of their own, in HealthBench's format (arXiv 2505.08775): a conversation, and criteria that experts wrote
for the answer to it, each with points. For evaluation only: nothing here is trained on.

One case a line: {"prompt": [{"role", "content"}, ...], "rubrics": [{"criterion", "points", "tags"}, ...],
"ideal_completions_data": {"ideal_completion"}}, the last an expert's own answer, which some cases lack; other keys are not
read. A judge says of each criterion whether an answer meets it (judge/criteria.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import BadInput
from ..storage import fetch

ROLES = {"user": "User", "assistant": "Assistant"}


class _NoCase(ValueError):
    """What is wrong with a line, without its words."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """points: above 0 for what an answer should do, below for what it should not."""

    text: str
    points: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """question: the conversation, several turns written out as demonstrations' are (`User: ...`). expert: an expert's answer to
    it, '' where the file has none."""

    question: str
    criteria: tuple[Criterion, ...]
    expert: str = ""


def cases_of(config: Config) -> list[Case]:
    """Those that evaluation.rubrics names; none where it is empty. Raises BadInput."""
    where = config.evaluation.rubrics
    return read(fetch(where), config.evaluation.rubric_cases) if where else []


def read(path: Path, most: int) -> list[Case]:
    """The first cases of a JSONL file; empty lines are passed over. Raises BadInput naming the first line that is none."""
    found = []
    try:
        with path.open("rb") as file:
            for number, line in islice(((number, line) for number, line in enumerate(file, 1) if line.strip()), most):
                try:
                    found.append(_case(json.loads(line)))
                except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                    why = error if type(error) is _NoCase else "a part is missing, or of another kind"  # others quote the line
                    told = f"line {number} of '{path}' is not a case with a rubric: {why}"
                    raise BadInput(
                        told, 'write {"prompt": [{"role", "content"}], "rubrics": [{"criterion", "points"}]}'
                    ) from None
    except OSError as error:
        raise BadInput(f"evaluation.rubrics '{path}' cannot be read: {error.strerror}", "name a JSONL file") from None
    if not found:
        raise BadInput(f"evaluation.rubrics '{path}' holds no case", "write one JSON object a line")
    return found


def _case(row: Mapping[str, Any]) -> Case:
    turns = [(ROLES[turn["role"]], turn["content"]) for turn in row["prompt"] if turn["role"] != "system"]
    if not turns or turns[-1][0] != "User" or not all(isinstance(text, str) for _, text in turns):
        raise _NoCase("the prompt does not end with a user's text")
    question = turns[0][1] if len(turns) == 1 else "\n\n".join(f"{who}: {text}" for who, text in turns)
    criteria = tuple(
        Criterion(one["criterion"], float(one["points"]), tuple(map(str, one.get("tags") or ()))) for one in row["rubrics"]
    )
    if not all(isinstance(one.text, str) and one.text.strip() and math.isfinite(one.points) for one in criteria):
        raise _NoCase("a criterion has no text, or points that are no number")
    if not any(one.points > 0 for one in criteria):
        raise _NoCase("no criterion has points above 0")
    ideal = row.get("ideal_completions_data")
    expert = (ideal["ideal_completion"] if ideal else None) or ""
    if not isinstance(expert, str):
        raise _NoCase("the ideal completion is no text")
    "".join([question, expert, *(one.text for one in criteria)]).encode()  # half a character, as JSON can spell it, raises
    return Case(question, criteria, expert)


def points(case: Case, met: Sequence[bool]) -> float:
    """Points of the criteria that are met, by the points that can be had: at most 1, below 0 where faults prevail. met: of each
    criterion."""
    got = sum(one.points for one, is_met in zip(case.criteria, met, strict=True) if is_met)
    return got / sum(one.points for one in case.criteria if one.points > 0)


def score(share: float) -> float:
    """A case's score, as HealthBench has it: its points within 0 and 1."""
    return min(1.0, max(0.0, share))
