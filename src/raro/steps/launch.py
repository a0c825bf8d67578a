"""The processes of a training: several on this machine, through torch's own launcher, as `accelerate launch` does on GPUs; on
many nodes through a TrainJob (trainjob.py). What they need to know travels in a file, and so does what one of them had to say
of its end."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..errors import ServiceFailed
from ..storage import read_json, write_atomic
from . import lifeline, trainjob
from .harness import error_of

PLAY, ERROR = ".play.json", ".error.json"
"""The two files, in the step's folder."""


@dataclass(frozen=True)
class Play:
    """What a training process needs to know. run: the run's folder. folder: where the candidate goes. data, warm: folders of
    the steps before. identity: digests that checkpoints belong to."""

    run: str
    folder: str
    data: str
    warm: str
    identity: dict[str, str]


def launch(config: Config, play: Play) -> None:
    """The training loop in several processes of this machine. Raises what failed in them."""
    folder = Path(play.folder)
    write_atomic(folder / PLAY, json.dumps(dataclasses.asdict(play)))
    if order := trainjob.Order.given():
        _launch_on_nodes(order, config, play)
        return
    # What `accelerate launch` starts on GPUs; on CPUs it would start one process, whatever number it is told.
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(config.resources.processes)),
        *("--master-addr", "127.0.0.1", "--master-port", str(_free_port()), "--module", "raro.steps.train", str(folder / PLAY)),
    ]
    with lifeline.held() as line:
        process = subprocess.Popen(command, env=surroundings(config) | line)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    raise_theirs(folder)
    if code:
        raise RuntimeError(f"a training process ended with exit code {code}; its words are in the run's log")
    (folder / PLAY).unlink()


def surroundings(config: Config) -> dict[str, str]:
    """The environment of this machine's training processes. On a GPU torch's memory grows in place, unless it says otherwise:
    micro-batches of ever other shapes would leave holes in it."""
    ours = {} if config.resources.device == "cpu" else {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    return ours | os.environ | {"OMP_NUM_THREADS": str(config.resources.threads)}


def _launch_on_nodes(order: trainjob.Order, config: Config, play: Play) -> None:
    """The same on many nodes, each of which finds the run's folder in the same place."""
    folder = Path(play.folder)
    command = ["python3", "-m", "torch.distributed.run", "--module", "raro.steps.train", str(folder / PLAY)]
    try:
        trainjob.train(order, Path(play.run), command, config.resources.processes)
    except ServiceFailed:
        raise_theirs(folder)
        raise
    (folder / PLAY).unlink()


def raise_theirs(folder: Path) -> None:
    """What a training process had to say of its end is raised here."""
    if (folder / ERROR).exists():
        raise error_of(read_json(folder / ERROR))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
