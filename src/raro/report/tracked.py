"""How well each blind signal tracked the truth in this run, where a checker looked on (`evaluation.track_every`), and what
blind selection cost. A look after the fact: nothing was decided by it. Over a study's runs, on the test split:
study/signals.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..benchmarks.statistics import spearman
from .reading import Record, percent
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
}
LEAST = 6
"""Fewer looks have no rank correlation to speak of."""
LAST = 5
"""Steps up to a look over whose values a signal is averaged."""
RESAMPLES = 500


def tracked(record: Record) -> dict[str, Any] | None:
    """{"looks", "rows": [{"signal", "correlation", "span"}], "cost"} with the best signal first; None of too few looks. cost:
    points between the best look and the one nearest to the chosen step; "" where nothing was chosen."""
    series = record.series("train")
    opened = next((step for step, is_open in series.get("game/gate_open", ()) if is_open), 0)
    looks = [(step, value) for step, value in series.get(TRUTH, ()) if step >= opened]
    if len(looks) < LEAST:
        return None
    truth = [value for _, value in looks]
    known = {label: found for name, label in SIGNALS.items() if (found := _at(series.get(name, ()), looks))}
    known["the step's number"] = [float(step) for step, _ in looks]
    rows = [row for label, found in known.items() if (row := _row(label, found, truth))]
    rows.sort(key=lambda row: -abs(row.pop("value")))
    return {"looks": len(looks), "rows": rows, "cost": _cost(record.train, looks)}


def _at(points: Points, looks: Points) -> list[float]:
    """The signal's mean over the last steps up to each look, or its last value where it is seldom measured; empty where there
    is none as yet at some look."""
    found = []
    for look, _ in looks:
        before = [(step, value) for step, value in points if step <= look]
        if not before:
            return []
        recent = [value for step, value in before if step > look - LAST] or [before[-1][1]]
        found.append(sum(recent) / len(recent))
    return found


def _row(label: str, signal: Sequence[float], truth: Sequence[float]) -> dict[str, Any] | None:
    """Spearman's rank correlation with a bootstrap interval over the looks; None of a signal that does not vary."""
    value = spearman(signal, truth)
    if value is None:
        return None
    rng, pairs = np.random.default_rng(0), np.asarray([signal, truth])
    drawn = [spearman(*pairs[:, rng.integers(len(truth), size=len(truth))]) for _ in range(RESAMPLES)]
    low, high = np.quantile([one for one in drawn if one is not None], [0.025, 0.975])
    return {"signal": label, "value": value, "correlation": f"{value:+.2f}", "span": f"{low:+.2f} to {high:+.2f}"}


def _cost(train: Mapping[str, Any], looks: Points) -> str:
    chosen = (train.get("selection") or {}).get("chosen")
    if chosen is None:
        return ""
    near = min(looks, key=lambda look: abs(look[0] - chosen))
    return percent(max(value for _, value in looks) - near[1])
