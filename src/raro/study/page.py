"""A study's page: its table with intervals, the paired differences, and how accuracy rose with the tokens spent. One HTML file
that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import charts
from ..report.template import rendered
from ..storage import write_atomic

COLOURS = ("policy", "accent", "critic", "other", "ink", "malformed", "bad", "soft", "tie")
"""Of the arms, in the table's order."""
WAYS = {"sampled": "sampled at temperature 1", "greedy": "greedy"}
Intervals = Mapping[str, Mapping[str, Sequence[float]]]


def write(content: Mapping[str, Any], curves: Mapping[str, Any], target: Path) -> Path:
    """Writes TARGET (.html) from a table's content and its curves, and returns its path."""
    filters = {"points": lambda value: f"{100 * value:.1f}", "signed": lambda value: f"{100 * value:+.1f}"}
    return write_atomic(target, rendered("raro.report", "study.html", shown(content, curves), filters))


def shown(content: Mapping[str, Any], curves: Mapping[str, Any]) -> dict[str, Any]:
    """What the template needs. content: study.table.collect's; curves: study.curves.collect's."""
    leads = content["leads"]
    order = sorted(content["arms"], key=lambda name: -content["intervals"][name]["sampled"][0])
    rows = []
    for name in order:
        spent = content["spent"].get(name)
        rows.append(
            {
                "name": name,
                "lead": name == leads[name],
                "cells": [content["intervals"][name][way] for way in WAYS],
                "seeds": len(content["arms"][name]["seeds"]),
                "tokens": f"{spent['tokens'] / 1e6:.2f} M" if spent else "",
                "seconds": f"{spent['seconds']:,.0f}" if spent else "",
                "gap": [(content["paired"].get(f"{leads[name]}-{name}") or {}).get(way) for way in WAYS],
                "oracle": [content["share_of_oracle"].get(name, {}).get(way) for way in WAYS],
            }
        )
    return {
        "content": content,
        "ways": list(WAYS.values()),
        "rows": rows,
        "lead": " / ".join(dict.fromkeys(leads.values())),
        "accuracy": [_scores(content["intervals"], order, leads, way) for way in WAYS],
        "axes": [_along(axis, content["intervals"]) for axis in content.get("axes", [])],
        "progress": [panel for way in WAYS if (panel := _progress(curves, way))],
    }


def _scores(intervals: Intervals, order: Sequence[str], leads: Mapping[str, str], way: str) -> str:
    rows = [(name, *intervals[name][way], "accent" if name == leads[name] else "soft") for name in order]
    high = max(row[3] for row in rows)
    return charts.intervals(rows, title=f"Accuracy, {WAYS[way]}", limits=(0, min(1.0, 1.05 * high)))


def _along(axis: Mapping[str, Any], intervals: Intervals) -> dict[str, Any]:
    """Accuracy of both ways against what an axis varies, with its intervals."""
    lines = []
    for way, colour in zip(WAYS, COLOURS, strict=False):
        found = [(place, *intervals[arm][way]) for place, arm in axis["places"]]
        points, spread = [(x, mean) for x, mean, _, _ in found], [(x, low, high) for x, _, low, high in found]
        lines.append(charts.Line(label=WAYS[way], points=points, colour=colour, exact=True, spread=spread))
    title = f"Accuracy by {axis['axis']}" + (f", {axis['budget'] / 1e6:g} M rollout tokens" if axis["budget"] else "")
    return {"title": title, "keys": charts.legend(lines, "share"), "chart": charts.curves(lines, title=title, kind="share")}


def _progress(curves: Mapping[str, Any], way: str) -> dict[str, Any] | None:
    """Dev accuracy by thousands of rollout tokens, the mean over an arm's seeds."""
    lines = []
    for (arm, by_seed), colour in zip(curves.items(), COLOURS * (1 + len(curves) // len(COLOURS)), strict=False):
        seeds = [_by_tokens(found, f"dev/{way}") for found in by_seed.values()]
        looks = list(zip(*seeds, strict=False)) if all(seeds) else []
        mean = lambda look, i: sum(point[i] for point in look) / len(look)  # noqa: E731
        if points := [(mean(look, 0), mean(look, 1)) for look in looks]:
            style = "dashed" if len(lines) >= len(COLOURS) // 2 else "solid"
            lines.append(charts.Line(label=arm, points=points, colour=colour, style=style, exact=True))
    if not lines:
        return None
    title = f"Accuracy on dev, {WAYS[way]}"
    return {"title": title, "keys": charts.legend(lines, "share"), "chart": charts.curves(lines, title=title, kind="share")}


def _by_tokens(found: Mapping[str, Sequence[Sequence[float]]], figure: str) -> list[tuple[float, float]]:
    """[(thousands of tokens, value)] of a curve by step. The tokens of a step between two known ones lie between theirs."""
    known = [(0.0, 0.0), *((step, tokens / 1000) for step, tokens in found.get("game/written", ()))]
    return [(_between(known, step), value) for step, value in found.get(figure, ())]


def _between(known: Sequence[tuple[float, float]], step: float) -> float:
    before = max((point for point in known if point[0] <= step), key=lambda point: point[0])
    after = min((point for point in known if point[0] >= step), key=lambda point: point[0], default=before)
    share = (step - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return before[1] + share * (after[1] - before[1])
