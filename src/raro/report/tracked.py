"""How well each blind signal tracked the truth in this run, where a checker looked on (`evaluation.track_every`), and what
blind selection cost. A look after the fact: nothing was decided by it. Over a study's runs, on the test split:
study/signals.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..benchmarks.statistics import spearman
from .reading import Record, percent, standing
from .series import Points

TRUTH = "dev/sampled"
SIGNALS = {
    "policy/reward": "the policy's reward",
    "critic/accuracy": "the critic's accuracy on fresh pairs",
    "critic/tie": "share of ties",
    "policy/kl": "KL of the policy",
    "critic/kl": "KL of the critic",
    "policy/entropy": "entropy of the policy",
    "policy/tokens": "length of a rollout",
    "health/accuracy": "the critic's health",
    "game/retest": "worth of best paid answers, asked again",
    "game/older": "best older snapshot's answers beside the present ones",
    "learn/role_cosine": "cosine of the roles' gradients",
    "positions": "gap between positions",
    "worst": "the worst of the frozen critics that chose",
}
LEAST = 6
"""Fewer looks have no rank correlation to speak of."""
LAST = 5
"""Steps up to a look over whose values a signal is averaged."""
RESAMPLES = 500


def tracked(record: Record) -> dict[str, Any] | None:
    """{"looks", "rows": [{"signal", "looks", "correlation", "span"}], "cost"}; None of too few looks. A signal that was not
    there from the first look is told over the others: those of most looks stand first, among them the best. cost:
    points between the best look and the one nearest to the chosen step; "" where nothing was chosen."""
    series = standing(record)
    series = series | {"positions": _positions(series), "worst": _worst(record.train)}
    opened = next((step for step, is_open in series.get("game/gate_open", ()) if is_open), 0)
    looks = [(step, value) for step, value in series.get(TRUTH, ()) if step >= opened]
    if len(looks) < LEAST:
        return None
    known = {label: _at(series.get(name, ()), looks) for name, label in SIGNALS.items()}
    known["the step's number"] = [float(step) for step, _ in looks]
    rows = [row for label, found in known.items() if (row := _row(label, found, looks))]
    rows.sort(key=lambda row: (-row["looks"], -abs(row.pop("value"))))
    return {"looks": len(looks), "rows": rows, "cost": _cost(record.train, looks)}


def _positions(series: Mapping[str, Points]) -> Points:
    """How far apart the critic's accuracy is with the expert shown first and second."""
    second = dict(series.get("critic/accuracy_second", ()))
    return [(step, abs(value - second[step])) for step, value in series.get("critic/accuracy_first", ()) if step in second]


def _worst(train: Mapping[str, Any]) -> Points:
    """What each snapshot's answers get beside the experts before the worst of the frozen critics; none where none could
    judge."""
    selection = train.get("selection") or {}
    told = zip(selection.get("steps", ()), selection.get("win_rates", ()), strict=False)
    return [(step, min(rates)) for step, rates in told if rates]


def _at(points: Points, looks: Points) -> list[float | None]:
    """The signal's mean over the last steps up to each look, or its last value where it is seldom measured; None where there
    is none as yet."""
    found: list[float | None] = []
    for look, _ in looks:
        before = [(step, value) for step, value in points if step <= look]
        recent = [value for step, value in before if step > look - LAST] or [value for _, value in before[-1:]]
        found.append(sum(recent) / len(recent) if recent else None)
    return found


def _row(label: str, signals: Sequence[float | None], looks: Points) -> dict[str, Any] | None:
    """Spearman's rank correlation with a bootstrap interval over the looks; None of a signal that does not vary, or was there
    at too few of them."""
    both = [(signal, value) for signal, (_, value) in zip(signals, looks, strict=True) if signal is not None]
    if len(both) < LEAST:
        return None
    signal, truth = zip(*both, strict=True)
    value = spearman(signal, truth)
    if value is None:
        return None
    rng, pairs = np.random.default_rng(0), np.asarray([signal, truth])
    drawn = [spearman(*pairs[:, rng.integers(len(truth), size=len(truth))]) for _ in range(RESAMPLES)]
    low, high = np.quantile([one for one in drawn if one is not None], [0.025, 0.975])
    span = f"{low:+.2f} to {high:+.2f}"
    return {"signal": label, "looks": len(both), "value": value, "correlation": f"{value:+.2f}", "span": span}


def _cost(train: Mapping[str, Any], looks: Points) -> str:
    chosen = (train.get("selection") or {}).get("chosen")
    if chosen is None:
        return ""
    near = min(looks, key=lambda look: abs(look[0] - chosen))
    return percent(max(value for _, value in looks) - near[1])
