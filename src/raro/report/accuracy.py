"""How well each arm did, greedy and sampled, and how much better the candidate than each rival: charts and their tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import charts
from .reading import Interval, Record, percent, signed, span


def accuracy(record: Record) -> dict[str, Any] | None:
    """Charts and tables of all arms, greedy and sampled, and of the paired differences; None before anything was measured."""
    arms = record.arms()
    if not arms:
        return None
    ways = [way for way in ("greedy", "sampled") if record.evaluation.get(way)]
    word, meaning = record.measure
    highest = max(score[2] for way in ways for arm in arms if (score := record.score(way, arm)))
    limits = (0.0, min(1.0, math.ceil(max(highest, 0.01) * 1.08 * 20) / 20))
    rivals = [arm for arm in arms if arm != "candidate" and any(record.difference(way, arm) for way in ways)]
    ends = [end for way in ways for arm in rivals if (gap := record.difference(way, arm)) for end in gap[1:]] + [-0.01, 0.01]
    margin = 0.05 * (max(ends) - min(ends))
    around = (min(ends) - margin, max(ends) + margin)
    formed, tokens = record.evaluation.get("well_formed", {}), record.evaluation.get("tokens", {})
    return {
        "word": word,
        "meaning": meaning,
        "n": record.evaluation.get("n"),
        "samples": record.evaluation.get("samples"),
        "ways": ways,
        "charts": {way: _scores(record, way, limits) for way in ways},
        "rows": [
            {
                "arm": record.called(arm),
                "counts": arm == "candidate",
                "scores": [_score(record.score(way, arm)) for way in ways],
                "formed": f"{percent(formed[arm])} %" if isinstance(formed.get(arm), (int, float)) else "",
                "tokens": f"{tokens[arm]:,}" if isinstance(tokens.get(arm), (int, float)) else "",
            }
            for arm in arms
        ],
        "differences": {way: _differences(record, way, rivals, around) for way in ways} if rivals else {},
        "paired": [
            {"arm": record.called(arm), "scores": [_gap(record.difference(way, arm)) for way in ways]} for arm in rivals
        ],
    }


def shares(record: Record, scores: Mapping[str, Interval], what: str, limits: tuple[float, float]) -> str:
    """A chart of what every arm got, with its interval. what: it shows, in words."""
    arms = [arm for arm in record.arms() if arm in scores]
    rows = [(record.called(arm), *scores[arm], "accent" if arm == "candidate" else "soft") for arm in arms]
    told = "; ".join(f"{label} {percent(mean)} % ({percent(low)} to {percent(high)})" for label, mean, low, high, _ in rows)
    return charts.intervals(rows, title=f"{what}: {told}", limits=limits)


def _scores(record: Record, way: str, limits: tuple[float, float]) -> str:
    scores = {arm: score for arm in record.arms() if (score := record.score(way, arm))}
    return shares(record, scores, f"{way.capitalize()} {record.measure[0]} with 95 % intervals", limits)


def _differences(record: Record, way: str, rivals: Sequence[str], limits: tuple[float, float]) -> str:
    rows = [(record.called(arm), *gap, _tone(gap)) for arm in rivals if (gap := record.difference(way, arm))]
    told = "; ".join(f"{label} {signed(mean)} ({signed(low)} to {signed(high)})" for label, mean, low, high, _ in rows)
    title = f"Candidate less each rival, {way}, in points with 95 % intervals: {told}"
    return charts.intervals(rows, title=title, limits=limits, unit="points")


def _tone(gap: Interval) -> str:
    return "accent" if gap[1] > 0 else "bad" if gap[2] < 0 else "soft"


def _score(score: Interval | None) -> tuple[str, str]:
    return (f"{percent(score[0])} %", span(score)) if score else ("", "")


def _gap(gap: Interval | None) -> tuple[str, str, str]:
    """(difference, interval, what it means)."""
    if gap is None:
        return ("", "", "")
    meaning = "better" if gap[1] > 0 else "worse" if gap[2] < 0 else "may be chance"
    return (signed(gap[0]), span(gap, signed), meaning)
