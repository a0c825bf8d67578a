"""One writer at a time in a run's folder, on this machine or on a volume that pods share.

Two locks of the kernel's (flock), which last as long as any process that holds or has inherited them, however the others end:
`.lock` for a whole run, `.step.lock` for the step at work. A run's steps come one after another, its exit handler too, so a
second one is a retry beside a pod that is not gone yet, or a second pipeline: it waits for a while, and gives up.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from ..errors import BadInput, ServiceFailed
from ..storage import writing
from ..tracking.events import Events

RUN, STEP = ".lock", ".step.lock"
POD = "KFP_POD_NAME"
"""Kubeflow's launcher sets it to the pod's name; on this machine a job's id names nothing that anybody could look up."""
PATIENCE = 180.0  # seconds for another step's end: a pod has 30 to stop, and NFS keeps the locks of a lost node for 90
POLL = 0.5


@contextmanager
def alone(folder: Path) -> Iterator[IO[str]]:
    """Around whatever starts steps of a run on this machine; yields the lock, for the processes that shall keep it. Raises
    BadInput where another one writes to the folder."""
    with _taken(folder, RUN) as lock:
        with _taken(folder, STEP):  # a step whose pipeline is gone; looked at only, for the steps themselves take it
            pass
        yield lock


def _taken(folder: Path, name: str) -> IO[str]:
    if (lock := take(folder / name)) is None:
        remedy = f"wait for it, stop it{holder(folder / name)}, or choose another --output"
        raise BadInput(f"another raro is writing to '{folder}'", remedy)
    return lock


@contextmanager
def at_work(run: Path, stage: str) -> Iterator[None]:
    """Around one step. Raises ServiceFailed where another one does not end."""
    started, told = time.monotonic(), False
    while (lock := take(run / STEP)) is None:
        if not told:
            Events(run, stage).note("waiting for another step that is running in this folder", "warning")
            told = True
        if time.monotonic() - started > PATIENCE:
            remedy = f"wait for it, or stop it{holder(run / STEP)}; then start again"
            raise ServiceFailed(f"another step is at work in '{run}'", remedy)
        time.sleep(POLL)
    with lock:
        yield


def take(path: Path) -> IO[str] | None:
    """The lock, signed; None where somebody else has it. Raises BadInput and ServiceFailed where it cannot be written."""
    with writing(path), ExitStack() as closing:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = closing.enter_context(open(path, "a+", encoding="utf-8"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        sign(lock)
        closing.pop_all()
        return lock


def sign(lock: IO[str], target: int | None = None) -> None:
    """Writes into a lock whom `kill` ends who holds it: this process, or `target`."""
    lock.truncate(0)
    lock.write(f"{os.getpid() if target is None else target} {os.environ.get(POD) or socket.gethostname()}")
    lock.flush()


def holder(path: Path) -> str:
    """How to stop who holds the lock, in words."""
    target, _, host = path.read_text(encoding="utf-8").partition(" ")
    if not host:
        return ""
    return f" (`kubectl delete pod {host}`)" if POD in os.environ else f" (`kill -- {target}` on {host})"
