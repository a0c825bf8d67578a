"""Real MLflow stores and servers for the tests."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from raro.tracking import server


@functools.cache
def _empty_store() -> Path:
    path = Path(tempfile.mkdtemp(prefix="raro-store-"))
    server.connect(server.sqlite(path)).search_experiments()
    return path / server.DATABASE


def give_store(run: Path) -> None:
    """An empty store in a run folder, copied from one that MLflow made: its 70 migrations take seconds each time."""
    run.mkdir(parents=True, exist_ok=True)
    if not (run / server.DATABASE).exists():
        shutil.copy(_empty_store(), run / server.DATABASE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def mlflow_server(place: Path, port: int) -> Iterator[str]:
    """MLflow's own server with SQLite and proxied artifacts; yields its address once it answers."""
    # fmt: off
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{place}/server.db", "--artifacts-destination", str(place / "served")]
    # fmt: on
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command, env=environment, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urlopen(f"{address}/health", timeout=2).close()
                break
            except (URLError, OSError):
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait()
