"""Blind signals at the end of training, each with one sentence on how to read it and a green, amber or red reading: what stands
in the report. The signals themselves are in signals.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from ..config import Guards
from ..game.guards import pooled, rise, trials
from .reading import Record, standing
from .signals import TONES, Points, signals


def readings(record: Record) -> list[dict[str, Any]]:
    """[{"name", "value", "tone", "how", "amber", "red", "source"}] of what was measured, the worst first."""
    given = record.config.get("guards") or {}
    settings = Guards(**{key: value for key, value in given.items() if key in Guards.__dataclass_fields__})
    series = standing(record)
    now = {name: median([value for _, value in points[-settings.window :]]) for name, points in series.items()}
    now |= {f"start:{name}": median([v for _, v in points[: settings.window]]) for name, points in series.items()}
    now |= _as_guarded(series, settings.window) | _at_the_end(record)
    if budget := (record.config.get("rollout") or {}).get("policy_tokens"):
        now["set:budget"] = budget
    rows = []
    for signal in signals(settings):
        if (value := signal.value(now)) is not None:
            told = {"name": signal.name, "value": f"{value:.2f}", "tone": signal.tone(value), "how": signal.how}
            limits = {"amber": f"{signal.amber:g}", "red": f"{signal.red:g}", "below": signal.below, "source": signal.source}
            rows.append(told | limits)
    return sorted(rows, key=lambda row: -TONES.index(row["tone"]))


def _as_guarded(series: Mapping[str, Points], window: int) -> dict[str, float]:
    """What is looked at otherwise than by one median (game/guards.py): a KL's rise, what counts only while the gate is open,
    and the latest comparisons of what is paid, pooled, once there are enough of them."""
    found, gate = {}, series.get("game/gate_open", ())
    shut = {step for step, is_open in gate if not is_open}
    for name, figure in (("accuracy", "critic/accuracy"), ("idle", "policy/zero_advantage")):
        if playing := [value for step, value in series.get(figure, ()) if step not in shut]:
            found[f"playing:{name}"] = median(playing[-window:])
    if gate:
        found["shut"] = len(shut) / len(gate)
    for role in ("policy", "critic"):
        if (risen := rise([value for _, value in series.get(f"{role}/kl", ())], window)) is not None:
            found[f"rise:{role}"] = risen
    told = dict(series.get("game/retest", ()))
    looks = trials([(step, told[step], n) for step, n in series.get("game/retested", ()) if step in told])
    return found | ({"pooled:retest": pooled(looks)} if looks else {})


def _at_the_end(record: Record) -> dict[str, float]:
    """What was measured once: of the chosen snapshot, and of the candidate on test."""
    selection = record.train.get("selection") or {}
    found = {}
    if matrix := selection.get("matrix"):
        chosen = matrix["steps"].index(selection["chosen"])
        found["end:gap"] = matrix["duality_gap"][chosen]
        if strength := matrix.get("ratings"):
            own = strength[chosen][0]
            surely = max((mean for mean, low, _ in strength if low > own), default=own)
            found["end:strongest"] = 1 / (1 + math.exp(own - surely))
    if fresh := record.evaluation.get("exploitability"):
        found |= {"end:fresh": fresh["fresh"][0], "end:exploited": fresh["fresh_less_own"][0]}
    told = record.evaluation.get("experts", {}).get("told_apart", {})
    return found | {f"end:{name}": arms["candidate"][0] for name, arms in told.items() if arms.get("candidate")}
