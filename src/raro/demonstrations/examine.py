"""What can be said of a row without knowing any other: how it is understood, whether the screens let it pass, what it is
like. All of it depends on the row and the settings alone, so that it may happen in any process (`workers`).

What needs the other rows, such as duplicates and splits, comes after it and in order (`collect`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..config import Demonstrations, ShowText
from ..records import Demonstration
from .card import buckets
from .language import Languages
from .likeness import Likeness, likeness
from .personal import PersonalData
from .readers import EXCERPT, Refusal, Row
from .screens import Screened, pair_digest, screen
from .shapes import LEFT_OUT, Reading
from .shown import Shown

ENCODER = json.JSONEncoder(ensure_ascii=False)
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')  # of JSON


class Examined(NamedTuple):
    """A row that passed by itself. split: as its column names it. personal: what was masked or kept, by kind. pair: the digest
    of question and answer. likeness: None where nothing asks for it. line: of the split's file. words: their buckets, for the
    card."""

    demonstration: Demonstration
    split: str
    personal: Mapping[str, int]
    pair: bytes
    likeness: Likeness | None
    line: str
    words: bytes


class Refused(NamedTuple):
    """A row that did not. text: what quarantine may show of it, by column; of a broken row its beginning; None: nothing."""

    reason: str
    detail: str
    text: str | dict[str, str] | None


class Examiner:
    """Everything that looks at one row. Each part costs time or a library, and is made only where it is asked for.

    forgotten: digests of pairs that were withdrawn. Raises BadInput where a library is missing or a setting means nothing.
    """

    def __init__(self, settings: Demonstrations, show_text: ShowText, forgotten: frozenset[bytes]):
        self.settings, self.forgotten = settings, forgotten
        self._reading, self._shown = Reading(settings), Shown(settings, show_text)
        self._personal = PersonalData.of(settings)
        self._languages = Languages(settings.languages) if settings.languages else None

    def __call__(self, row: Row) -> Examined | Refused:
        row = self._reading.understood(row)
        found = self._judged(row)
        return found if isinstance(found, Examined) else Refused(*found, self._text(row, found))

    def _judged(self, row: Row) -> Examined | Refusal:
        screened = screen(row, self.settings, self._personal)
        if not isinstance(screened, Screened):
            return screened
        one, settings = screened.demonstration, self.settings
        pair = pair_digest(one)
        if pair in self.forgotten:
            return Refusal("forgotten", "withdrawn")
        if self._languages and (refusal := self._languages.refuse(one)):
            return refusal
        like = likeness(one, bool(settings.near_duplicates)) if settings.near_duplicates or settings.benchmarks else None
        return Examined(one, screened.split, screened.personal, pair, like, as_line(one), buckets(one))

    def _text(self, row: Row, refusal: Refusal) -> str | dict[str, str] | None:
        if refusal.reason in LEFT_OUT:
            return None
        if not row.values:
            return self.excerpt(_unescaped(row.text) if self._shown.masks else row.text)
        names = (self.settings.question, self.settings.answer)
        return {name: self.excerpt(str(self._within(row.values.get(name)))) for name in names} if self._shown else None

    def _within(self, value: Any) -> Any:
        """Lists and objects with their texts as they may be shown: written out, a line's end in them would be a letter that
        stands before an identifier and hides it."""
        if isinstance(value, Mapping):
            return {self._within(key): self._within(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._within(one) for one in value]
        return self._shown(value) if isinstance(value, str) else value

    def refused(self, one: Demonstration, refusal: Refusal) -> Refused:
        """A refusal for the sake of other rows, of a row that had passed by itself."""
        texts = {self.settings.question: one.question, self.settings.answer: one.answer}
        shown = {name: self.excerpt(text) for name, text in texts.items()} if self._shown else None
        return Refused(*refusal, shown)

    def excerpt(self, text: str) -> str | None:
        """The beginning of a text as quarantine may show it, with escapes for bytes that were not UTF-8."""
        return self._shown(text)[:EXCERPT].encode("utf-8", "backslashreplace").decode() if self._shown else None


def _unescaped(text: str) -> str:
    """What a broken line of JSON says, its escapes resolved: identifiers are looked for in that."""
    if not text.startswith(("{", "[", '"')):
        return text
    plain = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else plain.get(found[2], found[2]), text)


def as_line(demonstration: Demonstration) -> str:
    """As a split's file has it."""
    fields = {name: getattr(demonstration, name) for name in ("question", "answer", "source", "licence", "group")}
    if demonstration.attribution:
        fields["attribution"] = demonstration.attribution
    return ENCODER.encode(fields) + "\n"
