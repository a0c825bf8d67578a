"""Rows examined in several processes, and given back in the order they came in: the result does not depend on how many.

One process reads and remembers, the others examine (`examine`), in batches by Python's own ProcessPoolExecutor. They start only
after so many rows that starting them is little beside the work, and what is on its way is bounded by rows and by bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import TracebackType

from ..config import Demonstrations, ShowText
from ..errors import ServiceFailed
from ..memory import keep_freed
from .examine import Examined, Examiner, Refused
from .readers import Row

ALONE = 4096  # rows examined here before other processes are started: some seconds' work, starting them takes one
BATCH, BYTES = 64, 2**20  # rows, and bytes of rows, that are handed over at once
AHEAD = 3  # batches on their way for each process
KEPT = 2**23, 2**24
"""Thresholds of freed memory that is kept, bytes. Each post's HTML is a tree that is built and freed at once: with glibc's own
thresholds each asks the system for its pages anew, an eighth of all the CPU time."""

Results = list[Examined | Refused]

_examiner: Examiner  # in a worker


class Workers:
    """A context in which rows are examined. processes: 1 is this one; of more, all are others, and this one reads and
    remembers. Raises what `Examiner` does."""

    def __init__(self, settings: Demonstrations, show_text: ShowText, forgotten: frozenset[bytes], processes: int):
        keep_freed(*KEPT)
        self.examiner = Examiner(settings, show_text, forgotten)
        self._given, self._processes, self._left = (settings, show_text, forgotten), processes, ALONE
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def examined(self, rows: Iterator[Row]) -> Iterator[tuple[Row, Examined | Refused]]:
        """Each row with what was found of it, in order. Raises ServiceFailed where a process was killed."""
        if self._processes < 2:
            yield from ((row, self.examiner(row)) for row in rows)
            return
        for row in islice(rows, self._left):
            self._left -= 1
            yield row, self.examiner(row)
        waiting: deque[tuple[list[Row], Future[Results]]] = deque()
        for batch, packed in _batches(rows):
            waiting.append((batch, self._submit(packed)))
            if len(waiting) > AHEAD * self._processes:
                yield from _done(*waiting.popleft())
        while waiting:
            yield from _done(*waiting.popleft())

    def _submit(self, packed: list[bytes]) -> Future[Results]:
        if not self._pool:
            # spawn: a fork would copy the locks of threads that it does not copy.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, context, _begin, self._given)
        # Ctrl-C is for this process to act on. A new one inherits what is blocked, from its first instruction on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(_examine, packed)
        except BrokenProcessPool as error:
            raise _killed() from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _batches(rows: Iterator[Row]) -> Iterator[tuple[list[Row], list[bytes]]]:
    """Rows, and the same pickled: so their size is known whatever they hold."""
    batch, packed, size = [], [], 0
    for row in rows:
        batch.append(row)
        packed.append(pickle.dumps(row, pickle.HIGHEST_PROTOCOL))
        size += len(packed[-1])
        if len(batch) == BATCH or size >= BYTES:
            yield batch, packed
            batch, packed, size = [], [], 0
    if batch:
        yield batch, packed


def _done(batch: list[Row], future: Future[Results]) -> Iterator[tuple[Row, Examined | Refused]]:
    try:
        results = future.result()
    except BrokenProcessPool as error:
        raise _killed() from error
    yield from zip(batch, results, strict=True)


def _killed() -> ServiceFailed:
    line = "a process that examines rows was killed, most likely for lack of memory"
    return ServiceFailed(line, "give more memory, or lower resources.ingest_processes")


def _begin(settings: Demonstrations, show_text: ShowText, forgotten: frozenset[bytes]) -> None:
    """A worker's first words. It leaves the group: what stops all of a run is for this process's parent to act on, and a worker
    that dies of it while it hands over a result leaves half of one, for the rest of which the parent would wait for ever."""
    global _examiner
    os.setpgid(0, 0)
    keep_freed(*KEPT)
    _examiner = Examiner(settings, show_text, forgotten)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed tells nobody: its workers would wait for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _examine(packed: list[bytes]) -> Results:
    return [_examiner(pickle.loads(row)) for row in packed]  # this project's own parent packed it
