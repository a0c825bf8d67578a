"""Every test problem with each arm's answer and score, to leaf through in the page: those on which two arms differ first.

The page holds all rows as data for its script, and the first few as a table for who reads without one. Long texts are cut to
what the page can carry; evaluate/items.jsonl, of which a row's number is the line, has them whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .pairs import LONGEST, cut
from .reading import MEASURES, Record

MOST = 5000  # rows in the page
CHARACTERS = 2_000_000  # of all texts in the page: it opens at once and can be mailed
LENGTHS = (LONGEST, LONGEST // 2, LONGEST // 4, LONGEST // 8, LONGEST // 16)  # of one text, the first that fits
PLAIN = 25  # rows of the table without JavaScript
WAYS = ("greedy", "sampled", "judge")
RIVALS = ("champion", "warmstart", "base")
"""Whom the candidate is laid beside first."""

Row = tuple[int, Mapping[str, Any]]
"""(its line in items.jsonl, from 1; what stands there)."""


def items(record: Record) -> dict[str, Any] | None:
    """{"n", "shown", "text", "cut", "arms", "data", "plain"}; None before anything was measured.

    data: for the page's script: {"arms", "first", "second", "checked", "ways", "strata": {name: labels}, "rows"}, a row being
    [line, question, expert, answers by arm, scores by way and arm, label of each stratum by number]. plain: the first rows.
    """
    rows = [(line, row) for line, row in enumerate(record.items, 1) if isinstance(row.get("greedy"), Mapping)]
    arms = [arm for arm in record.arms() if rows and arm in rows[0][1]["greedy"]]
    if len(arms) < 2:
        return None
    first = "candidate" if "candidate" in arms else arms[0]
    second = next(arm for arm in (*RIVALS, *arms) if arm in arms and arm != first)
    ordered = sorted(rows, key=lambda row: _agreement(row[1], first, second))[:MOST]
    longest = _longest([row for _, row in ordered])
    strata = _strata([row for _, row in ordered])
    data = {
        "arms": [record.called(arm) for arm in arms],
        "first": arms.index(first),
        "second": arms.index(second),
        "checked": record.measure != MEASURES["held_out"]
        and all(score in (0.0, 1.0) for _, row in ordered for score in row["greedy"].values()),
        "ways": [way for way in WAYS if way in ordered[0][1]],
        "strata": strata,
        "text": "question" in ordered[0][1],
    }
    data["rows"] = [_row(line, row, arms, data["ways"], strata, longest) for line, row in ordered]
    return {
        "n": len(rows),
        "shown": len(ordered),
        "longest": longest if longest < LENGTHS[0] else None,
        "data": data,
        "plain": [_plain(row, data) for row in data["rows"][:PLAIN]],
    }


def _agreement(row: Mapping[str, Any], first: str, second: str) -> tuple[float, float]:
    """The less two arms agree, the earlier it comes: by greedy, then by sampled answers."""

    def gap(way: str) -> float:
        scores = row.get(way) or {}
        return -abs((scores.get(first) or 0.0) - (scores.get(second) or 0.0))

    return gap("greedy"), gap("sampled")


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [row.get("question") or "", row.get("expert") or "", *(row.get("answers") or {}).values()]


def _longest(rows: Sequence[Mapping[str, Any]]) -> int:
    """Characters of one text that all rows together can afford."""
    lengths = [len(text) for row in rows for text in _texts(row)]
    fits = (most for most in LENGTHS if sum(min(length, most) for length in lengths) <= CHARACTERS)
    return next(fits, LENGTHS[-1])


def _strata(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    names = list(dict.fromkeys(name for row in rows for name in row.get("strata") or {}))
    return {name: sorted({str(row["strata"][name]) for row in rows if name in (row.get("strata") or {})}) for name in names}


def _row(
    line: int, row: Mapping[str, Any], arms: Sequence[str], ways: Sequence[str], strata: Mapping[str, list[str]], longest: int
) -> list[Any]:
    scores = [[_rounded((row.get(way) or {}).get(arm)) for arm in arms] for way in ways]
    given = row.get("strata") or {}
    labels = [labels.index(str(given[name])) if name in given else -1 for name, labels in strata.items()]
    answers = row.get("answers") or {}
    texts = [cut(row.get("question"), longest), cut(row.get("expert"), longest)]
    return [line, *texts, [cut(answers.get(arm), longest) for arm in arms], scores, labels]


def _rounded(score: float | None) -> float | None:
    return None if score is None else int(score) if score in (0.0, 1.0) else round(score, 3)


def _plain(row: Sequence[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the table without JavaScript shows it: the two arms that are laid side by side first."""
    line, question, expert, answers, scores, labels = row
    greedy = scores[0]
    return {
        "line": line,
        "question": question,
        "expert": expert,
        "labels": [f"{name} {known[i]}" for (name, known), i in zip(data["strata"].items(), labels, strict=True) if i >= 0],
        "cells": [
            {"arm": data["arms"][arm], "answer": answers[arm], **mark(greedy[arm], data["checked"])}
            for arm in (data["first"], data["second"])
        ],
        "others": [
            {"arm": name, **mark(greedy[arm], data["checked"])}
            for arm, name in enumerate(data["arms"])
            if arm not in (data["first"], data["second"])
        ],
    }


def mark(score: float | None, checked: bool) -> dict[str, str]:
    """{"tone", "mark"} of a score: ✓ and ✕ where it says right or wrong."""
    if score is None:
        return {"tone": "plain", "mark": ""}
    if not checked:
        return {"tone": "plain", "mark": f"{score:.2f}"}
    return {"tone": "good", "mark": "✓ right"} if score == 1 else {"tone": "bad", "mark": "✕ wrong"}
