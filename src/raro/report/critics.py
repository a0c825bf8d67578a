"""What the critics said at the end: on the candidate's errors, and of the snapshots among which the candidate was chosen."""

from __future__ import annotations

from typing import Any

from . import charts
from .reading import ARMS, Record, percent, signed, span

SHARES = ("accuracy", "greedy_accuracy", "expert", "policy", "tie", "malformed")


def selection(record: Record) -> dict[str, Any] | None:
    """{"judges", "warning", "rows": [{"step", "rates", "worst", "chosen"}]}: how the candidate was chosen, and who could not
    judge; None where it was the last step's."""
    found = record.train.get("selection")
    if not found:
        return None
    rows = [
        {"step": step, "rates": rates, "worst": min(rates, default=None), "chosen": step == found["chosen"]}
        for step, rates in zip(found["steps"], found["win_rates"], strict=True)
    ]
    return {"judges": found["judges"], "warning": found.get("warning", ""), "rows": rows}


def matrix(record: Record) -> dict[str, Any] | None:
    """{"steps", "n", "rows": [{"step", "rates", "gap"}], "ratings": a chart}: every snapshot's policy before every snapshot's
    critic, and among themselves; None where it was not measured."""
    found = (record.train.get("selection") or {}).get("matrix")
    if not found:
        return None
    rows = [
        {"step": step, "rates": rates, "gap": gap}
        for step, rates, gap in zip(found["steps"], found["win_rates"], found["duality_gap"], strict=True)
    ]
    chosen = record.train["selection"]["chosen"]
    strengths = [
        (f"step {step}", *rating, "accent" if step == chosen else "soft")
        for step, rating in zip(found["steps"], found["ratings"], strict=True)
    ]
    told = "; ".join(f"{label} {mean:+.2f} ({low:+.2f} to {high:+.2f})" for label, mean, low, high, _ in strengths)
    lowest, highest = min(row[2] for row in strengths), max(row[3] for row in strengths)
    chart = charts.intervals(
        [*strengths, ("experts", 0.0, 0.0, 0.0, "ink")],
        title=f"Strength by the last critic with 95 % intervals, the experts at 0: {told}",
        limits=(min(lowest, 0.0) - 0.1, max(highest, 0.0) + 0.1),
        unit="plain",
    )
    return {"steps": found["steps"], "n": found["n"], "rows": rows, "ratings": chart}


def on_errors(record: Record) -> list[dict[str, Any]]:
    """One row per critic, [{"arm", "n"} and SHARES in percent]: what it said
    of the candidate's wrong answers beside the experts'."""
    return [
        {"arm": ARMS.get(arm, arm), "n": found["n"]}
        | {name: percent(found[name]) if found.get(name) is not None else "" for name in SHARES}
        for arm, found in (record.evaluation.get("critic") or {}).items()
    ]


RIVALS = {
    "single": "one answer",
    "random_written": "random choice, equal tokens written",
    "majority_written": "majority vote, equal tokens written",
    "random_all": "random choice, equal tokens written and read",
    "majority_all": "majority vote, equal tokens written and read",
    "tournament": "the critic's tournament",
    "any": "a perfect judge of the same answers",
}


def tournament(record: Record) -> dict[str, Any] | None:
    """{"found", "rows": [{"arm", "answers", "score", "span", "gap", "gap_span", "counts"}], "svg", "keys"}, the last two (a
    curve over numbers of answers) empty where it was not measured; None where none was played."""
    found = record.evaluation.get("tournament")
    if not found:
        return None
    rows = []
    for arm, label in RIVALS.items():
        if arm in found["scores"]:
            score, gap = found["scores"][arm], found["paired"].get(f"tournament-{arm}")
            answers = 1 if arm == "single" else found["answers"].get(arm.partition("_")[2], found["n"])
            rows.append(
                {
                    "arm": label,
                    "answers": f"{answers:.1f}".removesuffix(".0"),
                    "score": percent(score[0]),
                    "span": span(score),
                    "gap": signed(gap[0]) if gap else "",
                    "gap_span": span(gap, signed) if gap else "",
                    "counts": arm == "tournament",
                }
            )
    system = {"single": "single elimination", "swiss": "Swiss rounds"}[found["system"]]
    shown = {"found": found, "rows": rows, "system": system, "critic_share": _critic_share(found)}
    return shown | (_curve(found["curve"]) if "curve" in found else {"svg": "", "keys": []})


CURVES = {
    "tournament": ("the critic's tournament", "accent", "solid"),
    "majority_written": ("majority vote", "policy", "dashed"),
    "random_written": ("random choice", "soft", "dotted"),
    "any": ("a perfect judge", "other", "dashed"),
}


def _curve(found: dict[str, Any]) -> dict[str, Any]:
    """Score over the number of answers among which is chosen, the rivals' for as many tokens written."""
    lines = [
        charts.Line(
            label=label,
            points=[(n, score[0]) for n, score in zip(found["n"], found["scores"][arm], strict=True)],
            colour=colour,
            style=style,
            exact=True,
        )
        for arm, (label, colour, style) in CURVES.items()
        if arm in found["scores"]
    ]
    told = "; ".join(f"{line.label} {', '.join(percent(value) for _, value in line.points)} %" for line in lines)
    title = f"Score by {', '.join(map(str, found['n']))} answers per problem, and for as many tokens: {told}"
    return {"svg": charts.curves(lines, title=title, kind="share"), "keys": charts.legend(lines, "share")}


def _critic_share(found: dict[str, Any]) -> str:
    written = found["tokens"]["answers"] + found["tokens"]["critic"]
    return percent(found["tokens"]["critic"] / max(1, written))
