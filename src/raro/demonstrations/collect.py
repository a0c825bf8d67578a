"""From files to splits: every row is read once, examined (`examine`), placed among the others and written where it belongs.
Nothing but digests is held."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from ..config import Demonstrations, ShowText
from ..errors import BadInput
from ..storage import writing
from .card import Card
from .columns import missing
from .contamination import Benchmarks
from .examine import ENCODER, Examined, Refused
from .files import Found, Source
from .forgotten import read_forgotten
from .likeness import NearDuplicates
from .readers import Refusal, Row
from .screens import Duplicates
from .seen import remembering
from .shapes import LEFT_OUT, Reading
from .splits import SPLITS, Splits
from .workers import Workers

QUARANTINE = "quarantine.jsonl"
LOOKED_AT = 1000  # rows without a wanted column whose other columns' names are remembered

Progress = Callable[[int, int, str], None]


def collect(
    settings: Demonstrations,
    found: Sequence[Source],
    folder: Path,
    show_text: ShowText = ShowText.full,
    progress: Progress | None = None,
    processes: int = 1,
) -> Card:
    """Writes train.jsonl, dev.jsonl, test.jsonl and quarantine.jsonl into `folder` and returns the card.

    show_text: whether the quarantine may hold the beginning of a row's text; masked, where demonstrations.personal_data asks
    for anything. progress: called about twice a second with bytes read, bytes in all, and words on rows and their rate.
    processes: how many examine rows, once there are many; what is written does not depend on it. Raises BadInput for a file
    that is not what it claims, a column that no row has, a group in two splits, no rows at all; ServiceFailed for a full disk.
    """
    reading = Reading(settings)
    sizes = [source.path.stat().st_size for source in found]
    card, names, whole = Card(), {}, 0
    tell = _Telling(progress, sum(sizes))
    forgotten = read_forgotten(settings.forget) if settings.forget else frozenset()
    place = _Placing(settings)
    with writing(folder), remembering(), ExitStack() as stack:
        workers = stack.enter_context(Workers(settings, show_text, forgotten, processes))
        pens = {
            name: stack.enter_context(open(folder / name, "w", encoding="utf-8", errors="backslashreplace", newline="\n"))
            for name in [*(f"{split}.jsonl" for split in SPLITS), QUARANTINE]
        }
        for i, source in enumerate(found):
            before = source.path.stat()
            rows = islice(reading.rows(source), settings.max_rows - card.rows if settings.max_rows else None)
            for row, one in workers.examined(rows):
                whole += row.values is not None
                split = place(one) if isinstance(one, Examined) else ""
                if isinstance(split, Refusal):
                    one = workers.examiner.refused(one.demonstration, split)
                if isinstance(one, Examined):
                    card.keep(one.demonstration, split, one.words)
                    card.personal.update(one.personal)
                    pens[f"{split}.jsonl"].write(one.line)
                elif one.reason in LEFT_OUT:
                    card.leave_out(one.reason)
                else:
                    card.refuse(one.reason)
                    pens[QUARANTINE].write(_quarantined(row, one))
                    if one.reason == "missing_column" and card.reasons["missing_column"] <= LOOKED_AT:
                        names |= dict.fromkeys(row.values)
                if card.rows % 256 == 0:
                    tell(sum(sizes[:i]) + row.done, card.rows)
            after = source.path.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise BadInput(f"'{source.uri}' changed while it was read", "start again when nobody writes to it")
    card.benchmarks = place.benchmarks.report if place.benchmarks else []
    card.unread = list(found.unread) if isinstance(found, Found) else []
    where = found[0].uri if len(found) == 1 else f"{found[0].uri}' and {len(found) - 1} more files, '{found[-1].uri}"
    if not card.rows:
        raise BadInput(f"'{where}' holds no rows", "give questions and answers")
    if whole and card.reasons["missing_column"] == whole and (error := missing(where, reading.columns, names)):
        raise error
    tell(sum(sizes), card.rows, at_once=True)
    return card


class _Telling:
    """Tells about twice a second how far the work is, and how fast it goes."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._total = progress, total
        self._began = self._told = time.monotonic()

    def __call__(self, done: int, rows: int, at_once: bool = False) -> None:
        now = time.monotonic()
        if self._progress and (at_once or now - self._told > 0.5):
            self._told = now
            self._progress(done, self._total, f"{rows:,} rows, {rows / max(now - self._began, 1e-3):,.0f} a second")


class _Placing:
    """Where a row belongs among those before it: the screens that need them, in their order, and the splits."""

    def __init__(self, settings: Demonstrations):
        self._splits, self._duplicates = Splits(settings), Duplicates()
        self._near = NearDuplicates(settings.near_duplicates) if settings.near_duplicates else None
        self.benchmarks = Benchmarks(settings) if settings.benchmarks else None

    def __call__(self, one: Examined) -> str | Refusal:
        if self.benchmarks and (refusal := self.benchmarks.refuse(one.demonstration, one.likeness)):
            return refusal
        split = self._splits.place(one.demonstration, one.split)
        if isinstance(split, Refusal):
            return split
        # Last, for they remember the row: one that is refused elsewhere must not refuse another.
        return self._duplicates.refuse(one.pair) or (self._near and self._near.refuse(one.likeness, split)) or split


def _quarantined(row: Row, refused: Refused) -> str:
    record = {"row": row.number, "reason": refused.reason, "detail": refused.detail, "source": row.source}
    return ENCODER.encode(record | ({} if refused.text is None else {"text": refused.text})) + "\n"
