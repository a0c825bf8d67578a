"""What must be remembered of the rows that passed, kept on disk: memory stays flat however many they are.

SQLite's private temporary database is a file that is deleted as soon as it is opened; up to its cache nothing touches the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ServiceFailed

CACHE = 2 * 1024  # KiB of pages held in memory
BATCH = 1024  # digests handed over at once


def store() -> sqlite3.Connection:
    """An empty private database, one transaction open for its whole life: nothing in it outlives the process."""
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.execute(f"pragma cache_size = -{CACHE}")
    database.execute("pragma synchronous = off")
    database.execute("begin")
    return database


@contextmanager
def remembering() -> Iterator[None]:
    """Around code that fills a store: a full disk becomes ServiceFailed."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        line = "no space left on the disk for what must be remembered of the rows"
        raise ServiceFailed(line, "free some disk space, or name another folder in SQLITE_TMPDIR") from error


class Seen:
    """A dictionary from digests to numbers, each entry written once. kinds: the dictionaries it holds, by name."""

    def __init__(self, *kinds: str):
        self._database = store()
        for kind in kinds:
            self._database.execute(f"create table {kind} (key blob primary key, value integer) without rowid")

    def first(self, kind: str, key: bytes, value: int = 0) -> int | None:
        """None where the key is new, and remembers the value; else the value that came with it first."""
        if self._database.execute(f"insert or ignore into {kind} values (?, ?)", (key, value)).rowcount:
            return None
        return self._database.execute(f"select value from {kind} where key = ?", (key,)).fetchone()[0]


class Sorted:
    """Digests that are wanted back in sorted order."""

    def __init__(self) -> None:
        self._database = store()
        self._database.execute("create table digest (value blob)")
        self._waiting: list[tuple[bytes]] = []

    def add(self, digest: bytes) -> None:
        self._waiting.append((digest,))
        if len(self._waiting) >= BATCH:
            self._flush()

    def __iter__(self) -> Iterator[bytes]:
        self._flush()
        return (row[0] for row in self._database.execute("select value from digest order by value"))

    def _flush(self) -> None:
        self._database.executemany("insert into digest values (?)", self._waiting)
        self._waiting = []
