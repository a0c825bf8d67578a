"""Memory that is freed stays with the process: a matter of glibc's thresholds."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Names and values of glibc's malloc.h."""


def keep_freed(mmap_threshold: int, trim_threshold: int, top_pad: int | None = None) -> None:
    """Lets glibc keep what is freed below these thresholds (bytes), instead of giving its pages back and asking for them again.
    Elsewhere it does nothing."""
    wanted = {M_MMAP_THRESHOLD: mmap_threshold, M_TRIM_THRESHOLD: trim_threshold, M_TOP_PAD: top_pad}
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, value in wanted.items():
            if value is not None:
                libc.mallopt(option, value)
