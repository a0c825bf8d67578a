"""How the decision was reached: the gate's rules with their figures, paired tests, pass@k, and where it wins and loses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import charts
from .reading import Record, flatten, percent, signed, span

TONES = {"passed": "good", "hold": "hold", "reject": "bad", "not asked": "plain"}
TOLD = {"hold": "failed: hold", "reject": "failed: reject"}
LADDER = ("easy", "short", "medium", "long", "hard")
"""Labels of strata that have an order of their own."""
COLOURS = {"base": "soft", "warmstart": "other", "sft": "policy", "champion": "critic", "candidate": "accent"}


def gate(record: Record) -> list[dict[str, Any]]:
    """[{"rule", "outcome", "tone", "told", "why", "figures"}] of decision.json, those that failed first."""
    rules = record.decision.get("evidence", {}).get("rules") or []
    rows = [
        {
            "rule": rule["rule"],
            "outcome": TOLD.get(rule["outcome"], rule["outcome"]),
            "tone": TONES[rule["outcome"]],
            "told": rule["told"],
            "why": rule["why"],
            "figures": _figures(rule["figures"]),
        }
        for rule in rules
    ]
    return sorted(rows, key=lambda row: ("bad", "hold", "good", "plain").index(row["tone"]))


def _figures(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of every figure, as decision.json has it: shares, not percent."""
    return [(key.replace("_", " ").replace(".", " "), _figure(value)) for key, value in flatten(figures)]


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_figure(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(map(_figure, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def tests(record: Record) -> list[dict[str, Any]]:
    """[{"way", "arm", "p", "corrected", "effect", "wins", "losses", "mcnemar"}], '' for what was not tested."""
    return [
        {
            "way": way,
            "arm": record.called(arm),
            "p": chance(row.get("p")),
            "corrected": chance(row.get("p_holm")),
            "effect": f"{row['effect']:+.2f}" if row.get("effect") is not None else "",
            "wins": row.get("mcnemar", {}).get("wins", ""),
            "losses": row.get("mcnemar", {}).get("losses", ""),
            "mcnemar": chance(row.get("mcnemar", {}).get("p")),
        }
        for way, by_arm in (record.evaluation.get("tests") or {}).items()
        for arm, row in by_arm.items()
    ]


def chance(p: float | None) -> str:
    """A p-value: 0.031, < 0.001."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def pass_at(record: Record) -> dict[str, Any] | None:
    """{"ks", "rows": [{"arm", "values", "counts"}], "svg", "keys"}: in percent; svg only of three points or more. None where
    nothing says right or wrong, or one answer was drawn."""
    curves = record.evaluation.get("pass_at") or {}
    ks = [k for k, _ in next(iter(curves.values()), [])]
    if len(ks) < 2:
        return None
    arms = [arm for arm in record.arms() if arm in curves]
    rows = [{"arm": record.called(a), "values": [percent(v) for _, v in curves[a]], "counts": a == "candidate"} for a in arms]
    lines = [
        charts.Line(label=record.called(arm), points=curves[arm], colour=COLOURS.get(arm, "tie"), exact=True) for arm in arms
    ]
    told = "; ".join(f"{row['arm']} {', '.join(row['values'])} %" for row in rows)
    title = f"Share solved by one of k sampled answers, k {', '.join(map(str, ks))}: {told}"
    drawn = len(ks) > 2
    return {
        "ks": ks,
        "rows": rows,
        "svg": charts.curves(lines, title=title, kind="share") if drawn else "",
        "keys": charts.legend(lines, "share") if drawn else [],
    }


def strata(record: Record) -> list[dict[str, Any]]:
    """[{"name", "arms", "rivals", "rows": [{"label", "n", "scores", "gaps": [(gap, interval, tone)]}]}], sampled."""
    return [_stratum(name, by_label, record) for name, by_label in (record.evaluation.get("strata") or {}).items() if by_label]


def _stratum(name: str, by_label: Mapping[str, Any], record: Record) -> dict[str, Any]:
    measured = record.arms()
    rivals = list(dict.fromkeys(arm for row in by_label.values() for arm in row.get("against", {})))
    return {
        "name": name,
        "arms": [record.called(arm) for arm in measured],
        "rivals": [record.called(arm) for arm in rivals],
        "rows": [
            {
                "label": label,
                "n": row["n"],
                "scores": [percent(row["scores"][arm]) if arm in row["scores"] else "" for arm in measured],
                "gaps": [gap_cell(row.get("against", {}).get(arm)) for arm in rivals],
            }
            for label, row in sorted(by_label.items(), key=_climbing)
        ],
    }


def _climbing(row: tuple[str, Any]) -> tuple[int, float, str]:
    """From easy to hard, from short to long, numbers by their size; the rest by the alphabet."""
    label = row[0]
    rung = LADDER.index(label) if label in LADDER else len(LADDER)
    number = re.match(r"\d+", label)
    return rung, float(number[0]) if number else math.inf, label


def gap_cell(gap: Sequence[float] | None) -> tuple[str, str, str]:
    """(points, interval, tone) of a difference: good or bad where its interval leaves out zero."""
    if gap is None:
        return ("", "", "plain")
    return (signed(gap[0]), span(tuple(gap), signed), "good" if gap[1] > 0 else "bad" if gap[2] < 0 else "plain")
