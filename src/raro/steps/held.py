"""What a task keeps from others while it goes on, cores and GPUs, for the bill; and whether the GPUs are there."""

from __future__ import annotations

import os
from pathlib import Path

from ..config import Config
from ..errors import ServiceFailed
from ..storage import read_json
from .trainjob import Order

GPUS, CPUS = "RARO_GPUS", "RARO_CPUS"  # what this task was promised on a cluster


def held(config: Config, run: Path, stage: str) -> dict[str, float]:
    """{"cpus", "gpus"} of a stage: what the cluster promised; on a machine of one's own the threads that compute, and a GPU for
    each process of a stage that computes where preflight found one."""
    if stage == "train" and (order := Order.given()):
        return {"cpus": order.nodes * _cores(order.cpu), "gpus": float(order.nodes * order.gpus)}
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


def check_gpus() -> None:
    """Raises ServiceFailed where the node shows fewer GPUs than were promised: training would go on for days on a CPU."""
    promised = int(os.environ.get(GPUS) or 0)
    if not promised:
        return
    import torch

    if (found := torch.cuda.device_count()) < promised:
        line = f"this pod was promised {promised} GPUs, and torch finds {found}"
        raise ServiceFailed(line, "see the node's driver and device plugin; the next try may meet another node")
