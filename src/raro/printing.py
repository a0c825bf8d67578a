"""What is printed to where nobody reads any more: `raro run | head -1`, `raro doctor 2>&1 | head -1`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


@contextmanager
def enduring() -> Iterator[None]:
    """Around a command, or above its function: where the reader of stdout or stderr has gone, the rest goes nowhere, and work
    and exit code stay as they are."""
    out, err = _Enduring(sys.stdout), _Enduring(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:
            out.flush()
            err.flush()


class _Enduring:
    """A stream as it is, but for a pipe without a reader."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        return self._kept(lambda: self.stream.write(text)) or len(text)

    def flush(self) -> None:
        self._kept(self.stream.flush)

    def _kept(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())  # Python flushes at the end what could not be written
            os.close(nowhere)
