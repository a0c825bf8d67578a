"""From files to splits: every row is read once, screened, placed and written where it belongs. Nothing but digests is held."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from ..config import Demonstrations, ShowText
from ..errors import BadInput
from ..records import Demonstration
from ..storage import writing
from .card import Card
from .contamination import Benchmarks
from .files import Source
from .forgotten import read_forgotten
from .language import Languages
from .likeness import NearDuplicates
from .personal import PersonalData, Shown
from .readers import EXCERPT, Refusal, Row, missing
from .screens import Duplicates, Screened, pair_digest, screen
from .shapes import LEFT_OUT, Reading
from .splits import SPLITS, Splits

QUARANTINE = "quarantine.jsonl"
LOOKED_AT = 1000  # rows without a wanted column whose other columns' names are remembered

_ENCODER = json.JSONEncoder(ensure_ascii=False)

Progress = Callable[[int, int, str], None]


def collect(
    settings: Demonstrations,
    found: Sequence[Source],
    folder: Path,
    show_text: ShowText = ShowText.full,
    progress: Progress | None = None,
) -> Card:
    """Writes train.jsonl, dev.jsonl, test.jsonl and quarantine.jsonl into `folder` and returns the card.

    show_text: whether the quarantine may hold the beginning of a row's text; masked, where demonstrations.personal_data asks
    for anything. progress: called about twice a second with bytes read, bytes in all, and words. Raises BadInput for a file
    that is not what it claims, a column that no row has, a group in two splits, no rows at all.
    """
    reading = Reading(settings)
    sizes = [source.path.stat().st_size for source in found]
    card, names, told = Card(), {}, time.monotonic()
    one_row, shown = _Pass(settings), Shown(settings, show_text)
    with writing(folder), ExitStack() as stack:
        pens = {
            name: stack.enter_context(open(folder / name, "w", encoding="utf-8", errors="backslashreplace", newline="\n"))
            for name in [*(f"{split}.jsonl" for split in SPLITS), QUARANTINE]
        }
        for i, source in enumerate(found):
            before = source.path.stat()
            for row in islice(reading.rows(source), settings.max_rows - card.rows if settings.max_rows else None):
                result = one_row(row)
                if isinstance(result, Refusal) and result.reason in LEFT_OUT:
                    card.leave_out(result.reason)
                elif isinstance(result, Refusal):
                    card.refuse(result.reason)
                    pens[QUARANTINE].write(_quarantined(row, result, settings, shown))
                    if result.reason == "missing_column" and card.reasons["missing_column"] <= LOOKED_AT:
                        names |= dict.fromkeys(row.values)
                else:
                    demonstration, split = result
                    card.keep(demonstration, split)
                    pens[f"{split}.jsonl"].write(_line(demonstration))
                if progress and card.rows % 256 == 0 and time.monotonic() - told > 0.5:
                    told = time.monotonic()
                    progress(sum(sizes[:i]) + row.done, sum(sizes), f"{card.rows:,} rows")
            after = source.path.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise BadInput(f"'{source.uri}' changed while it was read", "start again when nobody writes to it")
    card.personal = one_row.personal
    card.benchmarks = one_row.benchmarks.report if one_row.benchmarks else []
    where = found[0].uri if len(found) == 1 else f"{found[0].uri}' and {len(found) - 1} more files, '{found[-1].uri}"
    if not card.rows:
        raise BadInput(f"'{where}' holds no rows", "give questions and answers")
    if card.reasons["missing_column"] == one_row.whole and (error := missing(where, reading.columns, names)):
        raise error
    if progress:
        progress(sum(sizes), sum(sizes), f"{card.rows:,} rows")
    return card


class _Pass:
    """All screens in their order, and the placing. whole: rows seen that were not broken."""

    def __init__(self, settings: Demonstrations):
        self.settings, self.whole = settings, 0
        self.personal: Counter[str] = Counter()
        self._splits, self._duplicates = Splits(settings), Duplicates()
        # Each of these costs time or a library, and is made only where it is asked for.
        self._forgotten = read_forgotten(settings.forget) if settings.forget else frozenset()
        self._personal = PersonalData(settings.personal_data, settings.phone_region) if settings.personal_data else None
        self._languages = Languages(settings.languages) if settings.languages else None
        self._near = NearDuplicates(settings.near_duplicates) if settings.near_duplicates else None
        self.benchmarks = Benchmarks(settings) if settings.benchmarks else None

    def __call__(self, row: Row) -> tuple[Demonstration, str] | Refusal:
        self.whole += row.values is not None
        screened = screen(row, self.settings, self._personal)
        if not isinstance(screened, Screened):
            return screened
        one = screened.demonstration
        if self._forgotten and pair_digest(one) in self._forgotten:
            return Refusal("forgotten", "withdrawn")
        refusal = (self._languages and self._languages.refuse(one)) or (self.benchmarks and self.benchmarks.refuse(one))
        if refusal:
            return refusal
        split = self._splits.place(one, screened.split)
        if isinstance(split, Refusal):
            return split
        # Last, for they remember the row: one that is refused elsewhere must not refuse another.
        refusal = self._duplicates.refuse(one) or (self._near and self._near.refuse(one, split))
        if refusal:
            return refusal
        self.personal.update(screened.personal)
        return one, split


def _line(demonstration: Demonstration) -> str:
    fields = {name: getattr(demonstration, name) for name in ("question", "answer", "source", "licence", "group")}
    if demonstration.attribution:
        fields["attribution"] = demonstration.attribution
    return _ENCODER.encode(fields) + "\n"


def _quarantined(row: Row, refusal: Refusal, settings: Demonstrations, shown: Shown) -> str:
    record = {"row": row.number, "reason": refusal.reason, "detail": refusal.detail, "source": row.source}
    if shown:
        names = (settings.question, settings.answer)
        text = {name: shown(str(row.values.get(name)))[:EXCERPT] for name in names} if row.values else shown(row.text)
        record["text"] = text
    return _ENCODER.encode(record) + "\n"
