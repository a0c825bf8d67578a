"""Places that many processes fill, on one machine or on a volume that containers share: one makes an entry, the others wait.
And who may enter what is made here.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .storage import beside, writing


def own_folder(path: str | Path) -> Path:
    """Makes a folder that nobody but its owner may enter, for data lies in it. One that stands already keeps its mode: whoever
    made it has decided who may read."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    return path


@contextmanager
def filling(target: Path) -> Iterator[Path]:
    """Around code that makes `target`, a file or folder in a place that processes share: waits until no other one makes it, and
    yields the temporary neighbour to make it in. Whether another has made it meanwhile is to be looked at inside. What killed
    processes left of theirs is removed."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.with_name(f".{target.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            temporary = beside(target, "partial")
            for left in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
                _remove(left)
            try:
                yield temporary
            finally:
                _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
