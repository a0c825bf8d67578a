"""What a run cost: core-hours and GPU-hours held, tokens written, and money where the configuration names a price.

Read from the events of ALL its launches: a try that was lost is paid for, too. A stage holds its machine from its start to its
end; one whose process was killed, to its last word. Waiting for a node, pulling images and the exit handler are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .stages import ORDER

HOUR = 3600.0
WRITTEN = "game/written"  # a stage's metric: tokens of all roles since it first began


def bill(happened: Iterable[Mapping[str, Any]], config: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """{"stages": {name: entry}, "total": entry, "currency"}; entry: {"seconds", "cpu_hours", "gpu_hours", "tokens", "money"},
    money None without a price. config: the run's, as plain data. evaluation: evaluation.json."""
    happened = list(happened)
    resources = config.get("resources", {})
    prices = {f"{kind}_hours": resources.get(f"{kind}_hour_price", 0.0) for kind in ("cpu", "gpu")}
    stages: dict[str, dict[str, Any]] = {}
    for name, seconds, held in _spans(happened):
        entry = stages.setdefault(name, {"seconds": 0.0, "cpu_hours": 0.0, "gpu_hours": 0.0, "tokens": 0})
        entry["seconds"] += seconds
        for kind in ("cpu", "gpu"):
            entry[f"{kind}_hours"] += held.get(f"{kind}s", 0.0) * seconds / HOUR
    for name, tokens in _tokens(happened, evaluation).items():
        if name in stages:
            stages[name]["tokens"] = tokens
    total = {key: sum(entry[key] for entry in stages.values()) for key in ("seconds", "cpu_hours", "gpu_hours", "tokens")}
    for entry in (*stages.values(), total):
        entry["money"] = sum(entry[key] * price for key, price in prices.items()) if any(prices.values()) else None
    ordered = {name: stages[name] for name in ORDER if name in stages}
    return {"stages": ordered, "total": total, "currency": resources.get("currency", "")}


def _spans(happened: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float, Mapping[str, float]]]:
    """(stage, seconds, what it held) of each try. A start told again with its total is no new try."""
    begun: dict[str, tuple[float, Mapping[str, float]]] = {}
    latest: dict[str, float] = {}
    for event in happened:
        name, kind, now = event.get("stage", ""), event["kind"], event.get("time", 0.0)
        if name not in ORDER or name == ORDER[-1]:
            continue
        if kind == "start" and (name not in begun or event.get("total") is None):
            if name in begun:
                began, held = begun[name]
                yield name, latest[name] - began, held
            begun[name] = now, event.get("held") or {}
        elif kind in ("done", "failed") and name in begun:
            began, held = begun.pop(name)
            yield name, now - began, held
        latest[name] = now
    for name, (began, held) in begun.items():
        yield name, latest[name] - began, held


def _tokens(happened: Iterable[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> dict[str, int]:
    """Tokens written by each stage that counts them; a run resumed from a checkpoint counts on from there."""
    found: dict[str, int] = {}
    for event in happened:
        if event["kind"] == "metrics" and WRITTEN in event.get("values", {}):
            found[event["stage"]] = int(event["values"][WRITTEN])
    arms = evaluation.get("tokens") or {}
    return found | ({"evaluate": sum(arms.values())} if arms else {})
