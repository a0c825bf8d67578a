"""What a person's own data most likely is: the reader and the mapping, from names of columns and from the first rows.

A guess is made only where one reading stands out: each candidate is tried on the rows that were looked at, and two that both
read them, or none, are an error that names the columns. Nothing is decided by the order of columns.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config import Demonstrations
from ..errors import BadInput
from .columns import NoColumn, missing, undecoded
from .files import SQUAD, Source, claim, format_of, opened, printable, told
from .lettered import bare, lettered, misnamed
from .readers import Refusal, read_rows
from .shapes import READINGS
from .unlike import rowless, unlike

LOOKED_AT = 100  # rows of the first file
MOST = 32 * 2**20  # characters of their text columns, after which no further row is looked at
ENOUGH = 0.2  # share of the rows that a reading must understand; the screens and the data gate judge the rest
SURE = 0.9  # share of rows whose choice must be named
HEAD = 2**16  # bytes in which a SQuAD document shows itself

QUESTIONS = ("question", "prompt", "instruction", "problem", "query", "input", "case_prompt", "user", "questions")
ANSWERS = (
    "answer", "response", "completion", "output", "solution", "final_answer", "expert_answer", "final_diagnosis", "assistant",
    "reply", "answers",
)  # fmt: skip
STEMS = (*QUESTIONS, "context", "stem", "sentence")  # what a multiple choice is about
CHOICES = ("choices", "options", "endings", "candidates", "alternatives")
RIGHT = (
    "answer_idx", "answer_index", "answerkey", "answer_key", "label", "correct", "correct_answer", "correct_option", "gold",
    "cop", "answer", "target",
)  # fmt: skip
LICENCES = ("licence", "license", "content_license")

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the first file. rows: its first whole rows. names: their columns. fixed: settings the person chose."""

    rows: Rows
    names: Sequence[str]
    fixed: frozenset[str]

    def column(self, settings: Demonstrations, key: str) -> list[str]:
        """The column that the person chose for a setting, if one was chosen."""
        return [getattr(settings, key)] if key in self.fixed else []


def guessed(settings: Demonstrations, files: Sequence[Source], fixed: Iterable[str] = ()) -> Demonstrations:
    """The settings with reader and columns as the first file suggests. fixed: names of settings that the person chose; they
    stay as they are. Raises BadInput with one line where the data is unknown or could be read in two ways."""
    source, fixed = files[0], frozenset(fixed)
    settings = _document(settings, source, fixed)
    if _is_document(settings, source):
        return settings
    if not (rows := _looked_at(source)):
        raise rowless(source)
    look = Look(rows, _names(rows), fixed)
    if claim(source.path) == "CSV" and (error := undecoded(source.uri, look.names)):
        raise error
    named = [getattr(settings, key) for key in ("question", "answer", "messages", "choices", "group") if key in fixed]
    if not settings.template and (error := missing(source.uri, named, look.names)):
        raise error
    settings = _licensed(settings, look)
    wanted = settings.reader if "reader" in fixed and settings.reader != "auto" else ""
    for reader in [wanted] if wanted else _GUESSES:
        found = [replace(one, reader=reader) for one in _GUESSES[reader](settings, look)]
        found = [one for one in found if reader == "columns" or _understood(one, rows) >= ENOUGH]
        if reader == "chat" and not wanted:
            found += [replace(one, reader="columns") for one in _columns(settings, look) if found]
        if len(found) > 1:
            line = f"'{source.uri}' can be read in {len(found)} ways: {'; or '.join(map(described, found))}"
            raise BadInput(line, _choose(found))
        if reader == "columns" and found and (error := lettered(source.uri, found[0], rows)):
            raise error
        unasked = reader == "columns" and found and not wanted and not settings.template
        if unasked and bare(found[0], rows) and (error := _misnamed(settings, source, look)):
            raise error
        if found:
            return found[0]
    if wanted in ("", "choice") and (error := _misnamed(settings, source, look)):
        raise error
    if wanted:
        line = f"'{source.uri}' holds nothing that the reader {wanted} understands"
        raise NoColumn(line, look.names, "", "name another demonstrations.reader")
    if not {"question", "answer"} & fixed and (error := unlike(source, rows, look.names)):
        raise error
    line = f"'{source.uri}' has no columns recognised as question and answer"
    raise NoColumn(line, look.names, "", "name them with --question and --answer")


def left_unread(settings: Demonstrations, source: Source) -> list[str]:
    """The columns of the first rows that no setting names; none for a document, which has no columns."""
    if _is_document(settings, source):
        return []
    named = {*READINGS[settings.reader].wants(settings), settings.group, settings.split, settings.licence_column}
    return [name for name in _names(_looked_at(source)) if name not in named]


# ------------------------------------------------------------------------------------------------------------- what is there


def _document(settings: Demonstrations, source: Source, fixed: frozenset[str]) -> Demonstrations:
    """Posts.xml and SQuAD's JSON are known without their rows."""
    if "reader" in fixed and settings.reader != "auto":
        return settings
    if claim(source.path) == "XML":
        return replace(settings, reader="stackexchange")
    if format_of(source.path, "squad") == SQUAD:
        with told(source), opened(source) as (file, _):
            head = file.read(HEAD)
        if re.match(rb"(\xef\xbb\xbf)?\s*\{", head) and re.search(rb'"data"\s*:\s*\[\s*\{', head) and b'"paragraphs"' in head:
            return replace(settings, reader="squad", group=settings.group if "group" in fixed else "title")
    return settings


def _is_document(settings: Demonstrations, source: Source) -> bool:
    return settings.reader == "stackexchange" or claim(source.path) == "XML" or format_of(source.path, settings.reader) == SQUAD


def _looked_at(source: Source) -> list[Mapping[str, Any]]:
    found, size = [], 0
    for row in read_rows(source, claim(source.path), ()):
        if row.values is not None:
            found.append(row.values)
            size += sum(len(value) for value in row.values.values() if isinstance(value, str))
        if len(found) == LOOKED_AT or size > MOST or row.number > 100 * LOOKED_AT:
            break
    return found


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name))


def _understood(settings: Demonstrations, rows: Rows) -> float:
    """The share of rows that become a pair of texts."""
    read = READINGS[settings.reader].read
    pairs = (read(row, settings) for row in rows)
    whole = (not isinstance(pair, Refusal) and all(isinstance(part, str) for part in pair) for pair in pairs)
    return sum(whole) / max(1, len(rows))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def _among(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in names if _plain(name) in known]


def _texts(look: Look) -> list[str]:
    """The columns that hold text in most rows, and not the same in all of them."""
    found = []
    for name in look.names:
        values = [row[name] for row in look.rows if isinstance(row.get(name), str)]
        if len(values) > len(look.rows) / 2 and (len(look.rows) == 1 or len(set(values)) > 1):
            found.append(name)
    return found


def _licensed(settings: Demonstrations, look: Look) -> Demonstrations:
    """With the column of licences, where every row that was looked at names one."""
    if {"licence", "licence_column"} & look.fixed:
        return settings
    full = lambda name: all(isinstance(row.get(name), str) and row[name].strip() for row in look.rows)  # noqa: E731
    found = list(filter(full, _among(look.names, LICENCES)))
    return replace(settings, licence_column=found[0]) if len(found) == 1 else settings


# ------------------------------------------------------------------------------------------------------------ the candidates


def _squad(settings: Demonstrations, look: Look) -> list[Demonstrations]:
    if not {"question", "context", "answers"} <= set(look.names):
        return []
    titled = "title" in look.names and "group" not in look.fixed
    return [replace(settings, group="title") if titled else settings]


def _countdown(settings: Demonstrations, look: Look) -> list[Demonstrations]:
    return [settings] if {"nums", "target"} <= set(look.names) else []


def _chat(settings: Demonstrations, look: Look) -> list[Demonstrations]:
    lists = [name for name in look.names if any(isinstance(row.get(name), list) for row in look.rows)]
    return [replace(settings, messages=name) for name in look.column(settings, "messages") or lists]


def _choice(settings: Demonstrations, look: Look) -> list[Demonstrations]:
    """Columns of choices with a column that names one of them. Two that name the same ones are one candidate."""
    offering = [name for name in look.names if any(isinstance(row.get(name), (list, Mapping)) for row in look.rows)]
    texts = _texts(look)
    stems = look.column(settings, "question") or _among(texts, QUESTIONS) or _among(texts, STEMS) or texts
    naming = look.column(settings, "answer") or sorted(_among(look.names, RIGHT), key=lambda name: RIGHT.index(_plain(name)))
    found: dict[Any, Demonstrations] = {}
    columns = (look.column(settings, "choices") or _among(offering, CHOICES) or offering, naming, stems)
    for choices, answer, question in itertools.product(*columns):
        one = replace(settings, reader="choice", question=question, choices=choices, answer=answer)
        if len({question, choices, answer}) == 3 and _understood(one, look.rows) >= SURE:
            pairs = (READINGS["choice"].read(row, one) for row in look.rows)
            found.setdefault((question, choices, *(pair[1] for pair in pairs if not isinstance(pair, Refusal))), one)
    return list(found.values())


def _misnamed(settings: Demonstrations, source: Source, look: Look) -> BadInput | None:
    lists = [name for name in look.names if any(isinstance(row.get(name), (list, Mapping)) for row in look.rows)]
    choices = look.column(settings, "choices") or _among(lists, CHOICES)
    return misnamed(source.uri, settings, look.rows, choices, look.column(settings, "answer") or _among(look.names, RIGHT))


def _columns(settings: Demonstrations, look: Look) -> list[Demonstrations]:
    """One question and one answer, by name; a single column of text that is left over takes the place of an unknown one."""
    texts = _texts(look)
    answering = look.column(settings, "answer") or _among(texts, ANSWERS) or _among(look.names, ANSWERS)
    if settings.template:
        return [replace(settings, answer=answer) for answer in answering]
    asking = look.column(settings, "question") or _among(texts, QUESTIONS) or _among(look.names, QUESTIONS)
    asking, answering = asking or _left_over(texts, answering), answering or _left_over(texts, asking)
    pairs = [(question, answer) for question in asking for answer in answering if question != answer]
    return [replace(settings, question=question, answer=answer) for question, answer in pairs]


def _left_over(texts: Sequence[str], other: Sequence[str]) -> list[str]:
    left = [name for name in texts if name not in other]
    return left if len(left) == 1 and other else []


_GUESSES: Mapping[str, Callable[[Demonstrations, Look], list[Demonstrations]]] = {
    "squad": _squad,
    "countdown": _countdown,
    "choice": _choice,
    "chat": _chat,
    "columns": _columns,
}


# ------------------------------------------------------------------------------------------------------------------ in words


def described(settings: Demonstrations) -> str:
    """The reading in words."""
    column = lambda key: f"{key} '{printable(getattr(settings, key), 40)}'"  # noqa: E731
    asked = f"template '{printable(settings.template, 60)}'" if settings.template else column("question")
    parts = {
        "columns": [asked, column("answer")],
        "choice": [asked, column("choices"), column("answer")],
        "chat": [column("messages")],
        "squad": ["question, context, answers"],
        "countdown": ["nums, target"],
        "stackexchange": ["accepted or best answers"],
    }[settings.reader]
    return f"reader {settings.reader}: {', '.join(parts)}"


def _choose(found: Sequence[Demonstrations]) -> str:
    if len({one.reader for one in found}) > 1:
        return "choose with --set demonstrations.reader=chat or =columns"
    keys = [key for key in ("question", "answer", "messages", "choices") if len({getattr(one, key) for one in found}) > 1]
    flags = [f"--{key}" if key in ("question", "answer") else f"--set demonstrations.{key}=COLUMN" for key in keys]
    return f"choose with {' and '.join(flags)}"
