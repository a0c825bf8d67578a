"""Multiple choice that would be misread: answers that are but letters or numbers, where nobody is shown what they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product, takewhile
from typing import Any

from ..config import Demonstrations
from ..errors import BadInput
from .files import printable
from .readers import Refusal
from .shapes import READINGS, offered

SURE = 0.9  # share of rows whose answer must name a column, or a choice
_CALLED = re.compile(r"(?:(?:option|opt|op|choice|answer|ans|alternative|candidate|ending|sol)[\W_]*)?([a-z]|\d)")
_RUNS = ("abcdefghijklmnopqrstuvwxyz", "0123456789", "123456789")


def lettered(uri: str, settings: Demonstrations, rows: Sequence[Mapping[str, Any]]) -> BadInput | None:
    """The error for answers that name other columns of their row (A, option_b, opc, sol2), by letter, number or name, whose
    texts are not in what is asked; a template may put them there. None where the answers are texts."""
    others = dict.fromkeys(name for row in rows for name in row if name not in (settings.question, settings.answer))
    choices = _choices(list(others))
    if sum(_names_one(row, settings, choices) for row in rows) < SURE * max(1, len(rows)):
        return None
    kind = "numbers" if all(_mark(row.get(settings.answer)).isdigit() for row in rows) else "letters"
    listed = ", ".join(printable(name, 40) for name in list(choices.values())[:12])
    return BadInput(
        f"the answers of '{uri}' are {kind} that name its columns {listed}",
        "put the choices into one column as a list (JSONL), or write the right choice's text as the answer",
    )


def misnamed(
    uri: str, settings: Demonstrations, rows: Sequence[Mapping[str, Any]], choices: Sequence[str], answers: Sequence[str]
) -> BadInput | None:
    """The error for lists of choices (in one of the columns `choices`) of which no column of `answers` names one in nearly all
    rows. None where there are no such columns, or one does."""
    shares = {}
    for pair in product(choices, answers):
        one = replace(settings, choices=pair[0], answer=pair[1])
        shares[pair] = sum(not isinstance(offered(row, one), Refusal) for row in rows) / max(1, len(rows))
    best = max(shares, key=shares.__getitem__, default=None)
    if best is None or shares[best] >= SURE:
        return None
    offering, naming = (printable(name, 40) for name in best)
    return BadInput(
        f"'{naming}' of '{uri}' names a choice of '{offering}' in {shares[best]:.0%} of the rows",
        "places count from 0, letters from a capital A; or write the right choice's text there",
    )


def bare(settings: Demonstrations, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nearly all answers are one letter or a small number."""
    marks = (_mark(row.get(settings.answer)) for row in rows)
    return sum(bool(re.fullmatch(r"[a-z]|[0-9]{1,2}", mark)) for mark in marks) >= SURE * max(1, len(rows))


def _choices(names: Sequence[str]) -> dict[str, str]:
    """{"a": "option_a", ...}: the columns that are called by letters from a, or by numbers from 0 or 1; two at least."""
    called = {match[1]: name for name in names if (match := _CALLED.fullmatch(name.strip().casefold()))}
    run = max(("".join(takewhile(called.__contains__, run)) for run in _RUNS), key=len)
    return {mark: called[mark] for mark in run} if len(run) > 1 else {}


def _names_one(row: Mapping[str, Any], settings: Demonstrations, choices: Mapping[str, str]) -> bool:
    pair = READINGS["columns"].read(row, settings)
    if not choices or isinstance(pair, Refusal) or isinstance(pair[0], Refusal) or isinstance(pair[1], Refusal):
        return False
    texts = [str(row[name]) for name in choices.values() if row.get(name)]
    mark, name = _mark(pair[1]), str(pair[1]).strip()
    # By place: of two columns too much else could be counted.
    named = mark in choices or name in choices.values() or (len(choices) > 2 and mark in map(str, range(len(choices) + 1)))
    return named and name not in texts and not all(text in str(pair[0]) for text in texts)


def _mark(value: Any) -> str:
    """`b` of `B`, `(b)`, `B.`; `2` of 2."""
    return str(value).casefold().strip("()[].: ")
