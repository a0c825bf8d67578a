"""What the critics said at the end: on the candidate's errors, and of the snapshots among which the candidate was chosen."""

from __future__ import annotations

from typing import Any

from .reading import ARMS, Record, percent

SHARES = ("accuracy", "greedy_accuracy", "expert", "policy", "tie", "malformed")


def selection(record: Record) -> dict[str, Any] | None:
    """{"judges", "rows": [{"step", "rates", "worst", "chosen"}]}: how the candidate was chosen; None where it was the
    last step's."""
    found = record.train.get("selection")
    if not found:
        return None
    rows = [
        {"step": step, "rates": rates, "worst": min(rates), "chosen": step == found["chosen"]}
        for step, rates in zip(found["steps"], found["win_rates"], strict=True)
    ]
    return {"judges": found["judges"], "rows": rows}


def on_errors(record: Record) -> list[dict[str, Any]]:
    """One row per critic, [{"arm", "n"} and SHARES in percent]: what it said
    of the candidate's wrong answers beside the experts'."""
    return [
        {"arm": ARMS.get(arm, arm), "n": found["n"]}
        | {name: percent(found[name]) if found.get(name) is not None else "" for name in SHARES}
        for arm, found in (record.evaluation.get("critic") or {}).items()
    ]
