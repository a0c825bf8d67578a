"""How a process learns that the one which started it is gone, however that ended: kill -9 tells nobody, and a child goes on.

Who starts others holds the writing end of a named pipe, which nobody inherits, and names the pipe in their environment; each of
them waits at the reading end. The kernel shuts the writing end with the process, and the wait is over. Linux and macOS do that
alike; Linux's own death signal (prctl) reaches only direct children, and between a pipeline and its tasks stands a shell.

A chain: `raro run` holds one for the pipeline, the pipeline one for its tasks, a task one for the processes that train.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "RARO_LIFELINE"
GRACE = 60.0
"""Seconds for a process that is asked to stop, to say where it was."""


@contextmanager
def held() -> Iterator[dict[str, str]]:
    """Around the life of those that this process starts: yields what their environment is to hold besides."""
    with tempfile.TemporaryDirectory(prefix="raro-") as folder:  # of mode 0700
        path = Path(folder) / "lifeline"
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else the next line would wait for a reader
        writing = os.open(path, os.O_WRONLY)
        os.close(reading)
        try:
            yield {VARIABLE: str(path)}
        finally:
            os.close(writing)


def watch(then: Callable[[], None]) -> None:
    """Calls `then` in a thread of its own once the process that started this one is gone; never where nobody holds a line."""
    if path := os.environ.get(VARIABLE):
        threading.Thread(target=_wait, args=(Path(path), then), name="lifeline", daemon=True).start()


def end() -> None:
    """For `watch`: this process is asked to stop as by a scheduler, and killed where it does not."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(path: Path, then: Callable[[], None]) -> None:
    with contextlib.suppress(FileNotFoundError):  # its holder has ended, and taken it away
        line = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else it would wait for a holder that is gone
        os.set_blocking(line, True)
        os.read(line, 1)
        os.close(line)
        shutil.rmtree(path.parent, ignore_errors=True)  # a killed holder leaves it
    then()
