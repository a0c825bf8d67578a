"""What a task keeps from others while it goes on: cores and GPUs, for the bill."""

from __future__ import annotations

import os
from pathlib import Path

from ..config import Config
from ..storage import read_json

GPUS, CPUS = "RARO_GPUS", "RARO_CPUS"  # what this task was promised on a cluster


def held(config: Config, run: Path, stage: str) -> dict[str, float]:
    """{"cpus", "gpus"} of a stage: what the cluster promised; on a machine of one's own the threads that compute, and a GPU for
    each process of a stage that computes where preflight found one."""
    costly = stage in ("warmstart", "train", "evaluate")
    processes = config.resources.processes if stage == "train" else 1
    cpus = _cores(os.environ[CPUS]) if os.environ.get(CPUS) else float(config.resources.threads * processes)
    if os.environ.get(GPUS):
        return {"cpus": cpus, "gpus": float(os.environ[GPUS])}
    found = run / "preflight" / "environment.json"
    has_one = costly and CPUS not in os.environ and found.is_file() and read_json(found).get("device", "cpu") != "cpu"
    return {"cpus": cpus, "gpus": float(processes if has_one else 0)}


def _cores(quantity: str) -> float:
    """Kubernetes' quantity of CPU as cores: 8, 0.5, 500m."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
