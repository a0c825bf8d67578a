"""How a process of ours hears that it is to stop: as from Ctrl-C, whoever says it."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable


def interruptible() -> Callable[[], None]:
    """A scheduler's SIGTERM and a closed terminal's SIGHUP become KeyboardInterrupt; where `nohup` has switched SIGHUP off it
    stays off. Returns what undoes it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, signal.default_int_handler)}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, _hang_up)

    def undo() -> None:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    return undo


def _hang_up(number: int, frame: object) -> None:
    """The terminal is gone, and writing to it fails. A shell says so once more, which is no second Ctrl-C."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere, stream)
    os.close(nowhere)
    raise KeyboardInterrupt
