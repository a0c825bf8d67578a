"""A study's page: what came out in one sentence, its table with intervals, the paired differences, and how accuracy rose with
the tokens spent. One HTML file that needs nothing beside it.

    python -m raro.study.page results/study-countdown-mini ...

draws the pages of tables that lie there (TARGET.json, and TARGET-curves.json where there is one) again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import charts
from ..report.template import rendered
from ..storage import read_json, write_atomic
from ..text import listed
from .arms import called, completed, role

LEAD = "accent"
HUES = ("policy", "critic", "ink")
"""Of the other arms, in the table's order; told apart, and from the lead's, by people who do not see all colours alike."""
STYLES = ("solid", "dashed", "dotted")
"""Of the first arms of each hue, the second, the third; each has its own marks."""
WAYS = {"sampled": "sampled at temperature 1", "greedy": "greedy"}
TOKENS = "thousand rollout tokens"
Intervals = Mapping[str, Mapping[str, Sequence[float]]]


def write(content: Mapping[str, Any], curves: Mapping[str, Any], target: Path) -> Path:
    """Writes TARGET (.html) from a table's content and its curves, and returns its path."""
    filters = {"points": lambda value: f"{100 * value:.1f}", "signed": lambda value: f"{100 * value:+.1f}"}
    return write_atomic(target, rendered("raro.report", "study.html", shown(content, curves), filters))


def shown(content: Mapping[str, Any], curves: Mapping[str, Any]) -> dict[str, Any]:
    """What the template needs. content: study.table.collect's; curves: study.curves.collect's."""
    content = completed(content)
    leads, names = content["leads"], called(content)
    order = sorted(content["arms"], key=lambda name: -content["intervals"][name]["sampled"][0])
    trained = [names[name] for name in content["arms"] if name in content["spent"]]
    return {
        "content": content,
        "ways": list(WAYS.values()),
        "title": f"{listed(trained)}: study {content['study']}",
        "headline": [_sentence(content, names, lead) for lead in dict.fromkeys(leads.values())],
        "reasons": [reason for lead in dict.fromkeys(leads.values()) for reason in _reasons(content, names, lead)],
        "tiles": _tiles(content, names),
        "rows": [_row(content, names, name) for name in order],
        "uneven": len({_asked(content, name) for name in content["arms"]}) > 1,
        "taught": any(role(name) == "sft" for name in content["spent"]),
        "shares": [line for lead in dict.fromkeys(leads.values()) if (line := _gained(content, names, lead))],
        "lead": " / ".join(dict.fromkeys(names[lead] for lead in leads.values())),
        "accuracy": [_scores(content, names, order, way) for way in WAYS],
        "axes": _along(content),
        "progress": _progress(content, names, curves),
    }


# ------------------------------------------------------------------------------------------------------------------- outcome


def _sentence(content: Mapping[str, Any], names: Mapping[str, str], lead: str) -> str:
    """What the lead reaches, of what the oracle gained where there is one, and what the base had."""
    mean, low, high = (100 * value for value in content["intervals"][lead]["sampled"])
    oracle, share = _oracle(content, lead), content["share_of_oracle"].get(lead, {}).get("sampled")
    of = (
        f": {100 * share:.0f} % of the gain of the oracle ({names[oracle]}, which is paid by the exact checker)"
        if share
        else ""
    )
    base = f"; base {100 * content['intervals']['base']['sampled'][0]:.1f} %" if "base" in content["intervals"] else ""
    does = f"solves {mean:.1f} %" if content["measure"] == "accuracy" else f"reaches {mean:.1f} % {content['measure']},"
    return f"{names[lead]} {does} sampled ({low:.1f} to {high:.1f}){of}{base}."


def _gained(content: Mapping[str, Any], names: Mapping[str, str], lead: str) -> str:
    """A lead's own share of its oracle's gain: it has no row among those that it is compared with."""
    found = content["share_of_oracle"].get(lead, {})
    told = listed([f"{100 * found[way]:.0f} % {way}" for way in WAYS if way in found])
    return f"{names[lead]} itself has {told} of the oracle's gain." if told else ""


def _oracle(content: Mapping[str, Any], lead: str) -> str | None:
    return next((name for name in content["spent"] if role(name) == "rlvr" and content["leads"][name] == lead != name), None)


def _reasons(content: Mapping[str, Any], names: Mapping[str, str], lead: str) -> list[str]:
    """Which of the trained arms the lead surely lies above, surely below, or neither, by the paired intervals, sampled."""
    above, below, level = [], [], []
    for name in content["spent"]:
        if found := content["paired"].get(f"{lead}-{name}"):
            mean, low, high = (100 * value for value in found["sampled"])
            once = ", one seed" if _common(content, lead, name)[0] == 1 else ""
            (above if low > 0 else below if high < 0 else level).append(f"{names[name]} ({mean:+.1f}{once})")
    lead = names[lead]
    groups = {
        f"{lead} is surely above": above,
        f"{lead} is surely below": below,
        f"No sure difference between {lead} and": level,
    }
    return [f"{told} {listed(found)}" for told, found in groups.items() if found]


def _tiles(content: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The base, the warm start, each lead and its oracle, sampled."""
    leads = list(dict.fromkeys(content["leads"].values()))
    oracles = [name for lead in leads if (name := _oracle(content, lead))]
    return [
        {"label": names[name], "interval": content["intervals"][name]["sampled"], "counts": name in leads}
        for name in ("base", "warmstart", *leads, *oracles)
        if name in content["intervals"]
    ]


# --------------------------------------------------------------------------------------------------------------------- table


def _row(content: Mapping[str, Any], names: Mapping[str, str], name: str) -> dict[str, Any]:
    lead, spent = content["leads"][name], content["spent"].get(name)
    seeds, problems = _asked(content, name)
    return {
        "name": names[name],
        "says": content["says"].get(name, ""),
        "lead": name == lead,
        "cells": [content["intervals"][name][way] for way in WAYS],
        "seeds": seeds,
        "problems": f"{problems:,}" if problems else "",
        "tokens": f"{spent['tokens'] / 1e6:.2f} M" if spent else "",
        "gap": [(content["paired"].get(f"{lead}-{name}") or {}).get(way) for way in WAYS],
        "common": _common(content, lead, name),
        "oracle": [content["share_of_oracle"].get(name, {}).get(way) for way in WAYS],
    }


def _asked(content: Mapping[str, Any], name: str) -> tuple[int, int | None]:
    """(seeds, problems) of an arm."""
    return len(content["arms"][name]["seeds"]), content["problems"].get(name)


def _common(content: Mapping[str, Any], lead: str, name: str) -> tuple[int, int | None]:
    """(seeds, problems) that both were asked."""
    both = set(content["arms"][lead]["seeds"]) & set(content["arms"][name]["seeds"])
    found = [content["problems"].get(arm) for arm in (lead, name)]
    return len(both), min(found) if all(found) else None


# -------------------------------------------------------------------------------------------------------------------- charts


def _scores(content: Mapping[str, Any], names: Mapping[str, str], order: Sequence[str], way: str) -> str:
    """One way's dots; both ways share their scale."""
    leads, intervals = content["leads"], content["intervals"]
    rows = [(names[name], *intervals[name][way], LEAD if name == leads[name] else "soft") for name in order]
    told = "; ".join(f"{name} {100 * mean:.1f} %" for name, mean, *_ in rows)
    title = f"{content['measure'].capitalize()}, {WAYS[way]}: {told}"
    return charts.intervals(rows, title=title, limits=(0, min(1.0, 1.05 * _highest(intervals) or 0.05)))


def _highest(intervals: Intervals) -> float:
    return max(high for found in intervals.values() for _, _, high in found.values())


def _along(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy of both ways against what each axis varies, with its intervals, on one scale."""
    axes, intervals, panels = content.get("axes", []), content["intervals"], []
    measure = content.get("measure", "accuracy").capitalize()
    top = max((intervals[arm][way][2] for axis in axes for _, arm in axis["places"] for way in WAYS), default=0.0)
    for axis in axes:
        lines = []
        for way, colour, style in zip(WAYS, HUES, STYLES, strict=False):
            found = [(place, *intervals[arm][way]) for place, arm in axis["places"]]
            points, spread = [(x, mean) for x, mean, _, _ in found], [(x, low, high) for x, _, low, high in found]
            lines.append(charts.Line(label=WAYS[way], points=points, colour=colour, style=style, exact=True, spread=spread))
        title = f"{measure} by {axis['axis']}" + (f", {axis['budget'] / 1e6:g} M rollout tokens" if axis["budget"] else "")
        panels.append(_panel(title, lines, x_label=axis["axis"], top=top))
    return panels


def _progress(content: Mapping[str, Any], names: Mapping[str, str], curves: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Dev accuracy by thousands of rollout tokens, the mean over an arm's seeds, both ways on one scale."""
    found = {way: _lines(content, names, curves, way) for way in WAYS}
    top = max((value for lines in found.values() for line in lines for _, value in line.points), default=0.0)
    return [_panel(f"Dev, {WAYS[way]}", lines, x_label=TOKENS, top=top, ends=True) for way, lines in found.items() if lines]


def _lines(content: Mapping[str, Any], names: Mapping[str, str], curves: Mapping[str, Any], way: str) -> list[charts.Line]:
    looks = [(HUES[i % len(HUES)], STYLES[i // len(HUES) % len(STYLES)]) for i in range(len(curves))]
    lines = []
    for arm, by_seed in curves.items():
        leads = arm == content["leads"].get(arm)
        colour, style = (LEAD, "solid") if leads else looks.pop(0)
        seeds = [_by_tokens(found, f"dev/{way}") for found in by_seed.values()]
        steps = list(zip(*seeds, strict=False)) if all(seeds) else []
        mean = lambda step, i: sum(point[i] for point in step) / len(step)  # noqa: E731
        if points := [(mean(step, 0), mean(step, 1)) for step in steps]:
            drawn = {"colour": colour, "style": style, "strong": leads, "exact": True}
            lines.append(charts.Line(label=names.get(arm, arm), points=points, **drawn))
    return lines


def _panel(title: str, lines: Sequence[charts.Line], **more: Any) -> dict[str, Any]:
    keys = charts.legend(lines, "share")
    told = f"{title}, at the end: " + ", ".join(f"{key['label']} {key['last']}" for key in keys)
    return {"title": title, "keys": keys, "chart": charts.curves(lines, title=told, kind="share", **more)}


def _by_tokens(found: Mapping[str, Sequence[Sequence[float]]], figure: str) -> list[tuple[float, float]]:
    """[(thousands of tokens, value)] of a curve by step. The tokens of a step between two known ones lie between theirs."""
    known = [(0.0, 0.0), *((step, tokens / 1000) for step, tokens in found.get("game/written", ()))]
    return [(_between(known, step), value) for step, value in found.get(figure, ())]


def _between(known: Sequence[tuple[float, float]], step: float) -> float:
    before = max((point for point in known if point[0] <= step), key=lambda point: point[0])
    after = min((point for point in known if point[0] >= step), key=lambda point: point[0], default=before)
    share = (step - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return before[1] + share * (after[1] - before[1])


def main(targets: Sequence[str]) -> int:
    missing = [target for target in targets if not Path(f"{target}.json").is_file()]
    if missing or not targets:
        what = f"'{missing[0]}.json' does not exist" if missing else "no table was named"
        print(f"raro: {what}\n  remedy: python -m raro.study.page results/study-countdown-mini ...", file=sys.stderr)
        return 2
    for target in targets:
        drawn = Path(f"{target}-curves.json")
        write(read_json(f"{target}.json"), read_json(drawn) if drawn.is_file() else {}, Path(f"{target}.html"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
