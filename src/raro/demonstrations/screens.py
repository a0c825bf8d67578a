"""What a row must pass to become a demonstration. Whoever fails is quarantined under one of REASONS, never dropped in silence.

The screens look at the text as the game will see it, after `raro.text.normalise`; all but two, encoding and tags, which
normalising would hide. An answer that carries our tags or a chat template's control tokens could end the expert's turn and
speak for the critic: it is taken for an injection, in a question too.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b, sha256
from typing import Any, NamedTuple

from ..config import Demonstrations
from ..records import Demonstration
from ..text import _INVISIBLE, _TAGS, normalise
from .columns import RECODE
from .personal import PersonalData
from .readers import Refusal, Row
from .seen import Seen

# reason: what a person can do about it
REASONS: Mapping[str, str] = {
    "not_json": "write one JSON object per line",
    "not_an_object": "write one JSON object per line",
    "duplicate_key": "name each column once per row",
    "duplicate_id": "give each post an Id of its own",
    "not_csv": "quote fields that hold the delimiter, a quote or a line break, and double the quotes inside",
    "missing_column": "fill the column in every row",
    "not_a_chat": "write messages as [{role, content}], text only, an assistant's after a user's",
    "no_choice": "give a list or an object of choices, and an answer that names one of them",
    "not_squad": "give question, context and answers as {text, answer_start}, each answer where its start says",
    "not_countdown": "give nums, a list of whole numbers above 0, and target, another such number",
    "unfilled": "fill the column in every row, or write {column?} in demonstrations.template where one may leave it empty",
    "not_text": "write questions and answers as text, numbers in quotes",
    "encoding": RECODE,
    "empty": "remove rows without a question or an answer",
    "too_long": "shorten them, or raise demonstrations.max_question_chars or max_answer_chars",
    "tags": "remove <think>, <verdict> and chat control tokens, and thoughts with them",
    "answer_in_question": "take the answer out of the question",
    "duplicate": "remove repeated rows",
    "near_duplicate": "remove rows that hardly differ, or raise demonstrations.near_duplicates",
    "personal_data": "take it out, or let demonstrations.personal_data mask it",
    "language": "give rows in the languages wanted, or name more in demonstrations.languages",
    "licence": "give rows you may use, or name their licence in demonstrations.licences",
    "contaminated": "remove questions of the benchmarks",
    "unknown_split": "name the splits train, dev and test",
    "split_leak": "put equal questions into one group",
}
RAW = 8  # times the allowed length that a text may have before it is normalised: blanks may go

# Qwen's and Llama's tokens; Mistral's, Llama 2's and Gemma's.
_CONTROL = re.compile(r"<\|[^\s<>|]{1,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>")
# Lone surrogates: bytes that were not UTF-8; U+FFFD: lost earlier; C1 but U+0085: Windows-1252 that was taken for Latin-1.
_UNDECODED = re.compile("[\ud800-\udfff\ufffd\x80-\x84\x86-\x9f]")


class Screened(NamedTuple):
    """A row that passed. split: the split column's value, empty where none is configured. personal: what was masked or kept of
    personal data, by kind."""

    demonstration: Demonstration
    split: str
    personal: Mapping[str, int]


def screen(row: Row, settings: Demonstrations, personal: PersonalData | None = None) -> Screened | Refusal:
    """The row as a demonstration, or the first reason against it. Looks at this row alone. personal: masks or refuses."""
    if row.reason:
        return Refusal(row.reason, row.detail)
    texts = {}
    limits = {"question": settings.max_question_chars, "answer": settings.max_answer_chars}
    for part, limit in limits.items():
        column = getattr(settings, part)
        text = _text(row.values, column)
        if isinstance(text, Refusal):
            return text
        if not text.isascii() and _UNDECODED.search(text):
            return Refusal("encoding", f"column '{column}' holds characters that were not UTF-8")
        too_long = Refusal("too_long", f"column '{column}' has {len(text):,} characters, {limit:,} are allowed")
        if len(text) > RAW * limit:
            return too_long
        if _tagged(text):
            return Refusal("tags", f"column '{column}' holds tags or control tokens of a chat")
        texts[part] = normalise(text)
        if not texts[part]:
            return Refusal("empty", f"column '{column}' is empty")
        if len(texts[part]) > limit:
            return too_long
    found: Counter[str] = Counter()
    for part in texts if personal else ():
        texts[part], seen, dropped = personal.clean(texts[part])
        if dropped:
            kind = dropped.replace("_", " ")
            return Refusal("personal_data", f"column '{getattr(settings, part)}' holds personal data: {kind}")
        found.update(seen)
    question, answer = texts["question"], texts["answer"]
    # In a contract or an article that is read for an answer, the answer stands: that is no leak.
    asked_alone = settings.leak_chars and settings.reader != "squad"
    if asked_alone and len(answer) > settings.leak_chars and answer.casefold() in question.casefold():
        return Refusal("answer_in_question", f"the question holds the whole answer of {len(answer):,} characters")
    group, split = _key(question), ""
    if settings.group:
        value = _label(row.values, settings.group)
        if isinstance(value, Refusal):
            return value
        group = value
    if settings.split:
        value = _label(row.values, settings.split)
        if isinstance(value, Refusal):
            return value
        split = value
    licence = row.licence or settings.licence
    if settings.licence_column:
        value = _label(row.values, settings.licence_column)
        if isinstance(value, Refusal):
            return value
        licence = value
    if settings.licences and not set(licence.split(" AND ")) <= set(settings.licences):
        return Refusal("licence", f"licence '{licence[:60]}' is not in demonstrations.licences")
    made = Demonstration(
        question=question, answer=answer, source=row.source, licence=licence, group=group, attribution=row.attribution
    )
    return Screened(made, split, found)


class Duplicates:
    """Remembers which (question, answer) pairs were seen, by 15 bytes of digest each, on disk."""

    def __init__(self) -> None:
        self._seen = Seen("pairs")

    def refuse(self, pair: bytes) -> Refusal | None:
        """A refusal where the pair (its `pair_digest`) was seen before; otherwise it is remembered."""
        if self._seen.first("pairs", pair) is None:
            return None
        return Refusal("duplicate", "question and answer equal those of an earlier row")


def pair_digest(demonstration: Demonstration) -> bytes:
    """15 bytes that stand for question and answer together."""
    return short_digest(f"{demonstration.question}\0{demonstration.answer}")


def short_digest(text: str) -> bytes:
    """15 bytes that stand for the text. No two of a billion texts share them."""
    return blake2b(text.encode(), digest_size=15).digest()


def _key(question: str) -> str:
    """The group of a question by itself: equal for questions that differ only in case, spacing or the mark at their end."""
    return sha256(" ".join(question.casefold().split()).rstrip(" .?!:;").encode()).hexdigest()[:16]


def _text(values: Mapping[str, Any], column: str) -> str | Refusal:
    if column not in values:
        return Refusal("missing_column", f"the row has no column '{column}'")
    value = values[column]
    return value if isinstance(value, str) else Refusal("not_text", f"column '{column}' holds {_kind(value)} instead of text")


def _label(values: Mapping[str, Any], column: str) -> str | Refusal:
    """A group's or split's name: text, or a whole number such as an id."""
    value = values.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(values, column)
    if isinstance(text, Refusal):
        return text
    if _UNDECODED.search(text):
        return Refusal("encoding", f"column '{column}' holds characters that were not UTF-8")
    return normalise(text) or Refusal("empty", f"column '{column}' is empty")


def _kind(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, float) and value != value:
        return "NaN"
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object", bytes: "bytes"}
    return names.get(type(value), f"a {type(value).__name__}")


def _tagged(text: str) -> bool:
    """Whether our tags or a control token are in the text, as they would be read once it is normalised."""
    if "<" not in text and "[" not in text and text.isascii():
        return False
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return bool(_TAGS.search(plain) or _CONTROL.search(plain))
