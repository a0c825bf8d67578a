"""Drift: how far the data has moved from the data of an earlier manifest, in three figures, each with its threshold.

lengths: relative change of the mean length, the larger of question's and answer's. vocabulary: Jensen-Shannon distance, base 2,
of the words' counts in 256 buckets (0: the same, 1: nothing in common). sources: share of the rows that would have to come
from another file for the shares per file to be as before (total variation).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Demonstrations
from ..errors import BadInput, GateRefused
from ..storage import fetch

FIGURES = {"lengths": "max_length_drift", "vocabulary": "max_vocabulary_drift", "sources": "max_source_drift"}


def manifest(uri: str) -> dict[str, Any]:
    """The data.json that demonstrations.drift_against names. Raises BadInput for any other file, and for a folder."""
    path, content = fetch(uri), None
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or not {"digest", "kept"} <= content.keys():
        raise BadInput(f"demonstrations.drift_against '{uri}' is no data.json", "name the one of an earlier run's ingest")
    return content


def drift(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, float]:
    """The three figures for two contents of data.json. One that the earlier manifest has nothing for is left away."""
    found = {}
    if before.get("kept") and "lengths" in before:
        means = [(now["lengths"][part]["mean"], before["lengths"][part]["mean"]) for part in ("question", "answer")]
        found["lengths"] = max(abs(new - old) / max(old, 1.0) for new, old in means)
    if sum(before.get("vocabulary", ())) and sum(now["vocabulary"]):
        found["vocabulary"] = distance(now["vocabulary"], before["vocabulary"])
    if before.get("kept_of") and now["kept_of"]:
        found["sources"] = moved(now["kept_of"], before["kept_of"])
    return {name: round(value, 4) for name, value in found.items()}


def refusal(figures: Mapping[str, float], settings: Demonstrations, against: str) -> GateRefused | None:
    """The reason to stop, where a figure passes its threshold. against: what the data was compared with, in words."""
    limits = {name: getattr(settings, key) for name, key in FIGURES.items()}
    passed = [(name, value, limits[name]) for name, value in figures.items() if value > limits[name]]
    if not passed:
        return None
    told = ", ".join(f"{name} {value:.2f} (at most {most:g})" for name, value, most in passed)
    keys = " and ".join(f"demonstrations.{FIGURES[name]}" for name, _, _ in passed)
    line = f"the data has drifted from that of {against}: {told}"
    return GateRefused(line, f"look at the new files; if this is intended, raise {keys}")


def distance(one: Sequence[int], other: Sequence[int]) -> float:
    """The Jensen-Shannon distance of two histograms of equal length, 0 to 1."""
    p, q = ([count / sum(counts) for count in counts] for counts in (one, other))
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    bits = sum(a * math.log2(a / m) for side in (p, q) for a, m in zip(side, middle, strict=True) if a) / 2
    return math.sqrt(max(0.0, bits))


def moved(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """The total variation of two counts by name, 0 to 1."""
    totals = sum(one.values()), sum(other.values())
    return sum(abs(one.get(name, 0) / totals[0] - other.get(name, 0) / totals[1]) for name in {*one, *other}) / 2
