"""What a run cost, on its runs in MLflow: the sum on the parent, each stage's share on its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage import digest_file, read_json

if TYPE_CHECKING:
    from .state import State, Tracked

SUMMARY = "finish/summary.json"


def send(run: Path, tracked: Tracked, state: State) -> None:
    """Metrics `cost/gpu_hours`, `cost/cpu_hours`, `cost/tokens`, and `cost/money` where there is a price."""
    from mlflow.entities import Metric

    path = run / SUMMARY
    if not path.is_file() or state.sent.get(SUMMARY) == (digest := digest_file(path)):
        return
    cost, now = read_json(path).get("cost"), int(path.stat().st_mtime * 1000)
    if not cost:
        return
    for run_id, entry in [(tracked.run_id, cost["total"]), *((state.stages.get(k), v) for k, v in cost["stages"].items())]:
        if run_id:
            metrics = [Metric(f"cost/{key}", value, now, 0) for key, value in _figures(entry).items()]
            tracked.client.log_batch(run_id, metrics=metrics)
    if cost["total"]["money"] is not None:
        tracked.client.set_tag(tracked.run_id, "raro.currency", cost["currency"])
    state.sent[SUMMARY] = digest


def _figures(entry: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in entry.items() if key != "seconds" and value is not None}
