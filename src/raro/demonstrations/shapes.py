"""What a row means: each reader turns the columns of its format into a question and an expert's answer.

A reader is one function from a row's values to (question, answer), with the columns it wants; READINGS has them all. What it
cannot understand is a refusal, which is quarantined under its reason; what the settings do not want (LEFT_OUT) is counted.
Sources: docs/data.md names a public data set for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Demonstrations
from ..errors import BadInput
from ..solver import Problem, solve
from .documents import read_squad
from .files import SQUAD, Source, check, format_of, told
from .filters import filters
from .html import as_text
from .posts import POSTS, read_posts
from .readers import READERS, Refusal, Row
from .windows import windowed

# Rows that are whole but not asked for: counted in the data card, never quarantined. reason: what it means
LEFT_OUT: Mapping[str, str] = {
    "filter": "a condition of demonstrations.filters does not hold",
    "unanswered": "no accepted answer, none with enough score, or marked as impossible",
    "forgotten": "withdrawn: its digest is in the file of demonstrations.forget",
    "unsolvable": "the solver proves that no expression reaches the target",
}
LARGEST_PROBLEM = 6  # numbers that the solver takes

Pair = tuple[Any, Any]  # question and answer; screens hold that both are text


# -------------------------------------------------------------------------------------------------------- plain and choice

_PLACE = re.compile(r"\{([^{}?]+)(\??)\}")  # {column}, or {column?}: a row may have nothing there


def _asked(values: Mapping[str, Any], settings: Demonstrations) -> Any:
    """The question column, or the template with its places filled; Refusal where a place has nothing to fill it."""
    if not settings.template:
        return values.get(settings.question, _absent(settings.question))
    filled = {}
    for name, optional in _PLACE.findall(settings.template):
        value = values.get(name)
        if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
            value = ", ".join(value)
        nothing = value is None or value == "" or (isinstance(value, float) and value != value)
        if nothing and optional:
            value = ""
        elif nothing or isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return _absent(name) if name not in values else Refusal("unfilled", f"column '{name}' has nothing for the template")
        filled[name] = str(value)
    if not any(filled.values()):
        return Refusal("unfilled", "nothing fills the template")
    return _PLACE.sub(lambda match: filled[match[1]], settings.template)


def _absent(column: str) -> Refusal:
    return Refusal("missing_column", f"the row has no column '{column}'")


def columns(values: Mapping[str, Any], settings: Demonstrations) -> Pair | Refusal:
    """One column, or a template of several, asks; another answers."""
    asked = _asked(values, settings)
    return asked if isinstance(asked, Refusal) else (asked, values.get(settings.answer, _absent(settings.answer)))


def choice(values: Mapping[str, Any], settings: Demonstrations) -> Pair | Refusal:
    """Multiple choice to free form: the right choice's text is the answer, the other choices are not shown."""
    asked = _asked(values, settings)
    if isinstance(asked, Refusal):
        return asked
    found = offered(values, settings)
    return found if isinstance(found, Refusal) else (asked, found[0][found[1]])


def offered(values: Mapping[str, Any], settings: Demonstrations) -> tuple[list[Any], int] | Refusal:
    """(the choices, the place of the right one).

    Choices: a list, an object of letters, a list of {"key", "value"}, or lists of "label" and "text". The answer names one by
    its place from 0, by its letter, or by its text (CaseHOLD, MedQA, ARC).
    """
    named, found = values.get(settings.answer), values.get(settings.choices)
    if isinstance(found, list) and found and all(isinstance(one, Mapping) and {"key", "value"} <= set(one) for one in found):
        found = {one["key"]: one["value"] for one in found}
    if isinstance(found, Mapping) and set(found) == {"label", "text"} and all(map(_is_list, found.values())):
        found = dict(zip(found["label"], found["text"], strict=False))
    if isinstance(found, list):
        found = {"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place]: text for place, text in enumerate(found[:26])}
    if not isinstance(found, Mapping) or not found:
        return Refusal("no_choice", f"column '{settings.choices}' holds no list or object of choices")
    letters, texts = list(found), list(found.values())
    if isinstance(named, str) and named.strip() in found:
        return texts, letters.index(named.strip())
    if isinstance(named, str) and named in texts:
        return texts, texts.index(named)
    place = int(named) if isinstance(named, str) and re.fullmatch(r"\d{1,2}", named.strip()) else named
    if isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(texts):
        return texts, place
    return Refusal("no_choice", f"column '{settings.answer}' names none of {len(texts)} choices")


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


# ------------------------------------------------------------------------------------------------------------------- chat

_ROLES = {"user": "User", "human": "User", "prompter": "User", "assistant": "Assistant", "gpt": "Assistant", "bot": "Assistant"}


def chat(values: Mapping[str, Any], settings: Demonstrations) -> Pair | Refusal:
    """A conversation: the last assistant's message is the answer, what was said before it the question.

    Messages are {"role", "content"} or ShareGPT's {"from", "value"}; content is text or a list of text parts. A system message
    is left away, it speaks to another model. Several turns are written out as `User: ...` and `Assistant: ...`.
    """
    if settings.messages not in values:
        return _absent(settings.messages)
    messages, turns = values[settings.messages], []
    if not isinstance(messages, list):
        return Refusal("not_a_chat", f"column '{settings.messages}' holds no list of messages")
    for number, message in enumerate(messages, 1):
        role = (message.get("role") or message.get("from")) if isinstance(message, Mapping) else None
        if role in ("system", "developer"):
            continue
        text = _content(message) if role in _ROLES else None
        if text is None:
            return Refusal("not_a_chat", f"message {number} is not text of a user or an assistant")
        turns.append((_ROLES[role], text))
    while turns and turns[-1][0] == "User":
        turns.pop()  # a question that nobody answered
    if len(turns) < 2 or turns[0][0] != "User" or turns[-2][0] != "User":
        return Refusal("not_a_chat", "no assistant's message follows a user's")
    asked = turns[0][1] if len(turns) == 2 else "\n\n".join(f"{who}: {text}" for who, text in turns[:-1])
    return asked, turns[-1][1]


def _content(message: Mapping[str, Any]) -> str | None:
    content = message.get("content", message.get("value"))
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in content]
        return "\n".join(parts) if all(isinstance(part, str) for part in parts) else None
    return content if isinstance(content, str) else None


# ------------------------------------------------------------------------------------------------------ squad and countdown


def squad(values: Mapping[str, Any], settings: Demonstrations) -> Pair | Refusal:
    """SQuAD's rows (question, context, answers): the part of the context around the answer, then the question (CUAD)."""
    for name in ("question", "context"):
        if name not in values:
            return _absent(name)
        if not isinstance(values[name], str):
            return Refusal("not_text", f"column '{name}' holds no text")
    answers = values.get("answers")
    if not isinstance(answers, Mapping):
        return Refusal("not_squad", "column 'answers' holds no {text, answer_start}")
    texts, starts = answers.get("text"), answers.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        return Refusal("not_squad", "column 'answers' holds no lists of text and answer_start of one length")
    if not texts:
        return Refusal("unanswered", "marked as impossible")
    found = windowed(values["context"], texts, starts, settings.window)
    if found is None:
        return Refusal("not_squad", "an answer does not stand in the context where answer_start says")
    shown, answer = found
    return f"{shown}\n\n{values['question']}", answer


def countdown(values: Mapping[str, Any], settings: Demonstrations) -> Pair | Refusal:
    """A Countdown problem (`nums` and `target`) without its solution: the exact solver is the expert."""
    for name in ("nums", "target"):
        if name not in values:
            return _absent(name)
    numbers, target = values["nums"], values["target"]
    whole = lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9  # noqa: E731
    if not isinstance(numbers, list) or not 1 <= len(numbers) <= LARGEST_PROBLEM or not all(map(whole, [*numbers, target])):
        return Refusal("not_countdown", f"nums holds no 1 to {LARGEST_PROBLEM} whole numbers above 0, or target none")
    problem = Problem(tuple(sorted(numbers)), target)
    # Uncached: the parts of problems repeat and are cached, whole problems rarely do and would fill the memory.
    answer = solve.__wrapped__(problem.numbers).get(target)
    return (problem.question, answer) if answer else Refusal("unsolvable", "no expression reaches the target")


def posts(values: Mapping[str, Any], settings: Demonstrations) -> Pair | Refusal:
    """A dump's question and its answer (`posts.read_posts`): title and body ask, both bodies without their HTML."""
    return f"{values['title']}\n\n{as_text(values['asked'])}", as_text(values["said"])


# ------------------------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class Meaning:
    """A reader: its function, and the columns it wants of a file."""

    read: Callable[[Mapping[str, Any], Demonstrations], Pair | Refusal]
    wants: Callable[[Demonstrations], Sequence[str]]


def _asking(settings: Demonstrations) -> list[str]:
    return [name for name, _ in _PLACE.findall(settings.template)] if settings.template else [settings.question]


READINGS: Mapping[str, Meaning] = {
    "columns": Meaning(columns, lambda s: [*_asking(s), s.answer]),
    "choice": Meaning(choice, lambda s: [*_asking(s), s.choices, s.answer]),
    "chat": Meaning(chat, lambda s: [s.messages]),
    "squad": Meaning(squad, lambda s: ["question", "context", "answers"]),
    "countdown": Meaning(countdown, lambda s: ["nums", "target"]),
    POSTS: Meaning(posts, lambda s: []),
}


class Reading:
    """The settings as a reader of files.

    columns: the names that files must have; those beside question and answer (group, split, licence, and `also`) pass
    through. Raises BadInput where the settings cannot be followed.
    """

    def __init__(self, settings: Demonstrations, also: Sequence[str] = ()):
        self.settings = settings
        if settings.reader in ("auto", "columns", "choice"):
            _check_columns(settings)
        self.filters = filters(settings.filters)
        if settings.reader == POSTS:
            _check_posts(settings)
        self.meaning = READINGS.get(settings.reader, READINGS["columns"])
        more = [settings.group, settings.split, settings.licence_column, *(one.column for one in self.filters), *also]
        self.columns = list(dict.fromkeys(name for name in [*self.meaning.wants(settings), *more] if name))
        # What is read as it stands needs no second look at each row.
        self._plain = self.meaning.read is columns and not settings.template and not self.filters

    def rows(self, source: Source) -> Iterator[Row]:
        """The source's rows in order, as they stand in it; `understood` says what each means.

        Raises BadInput where the file is not what its name claims, is damaged, or is empty.
        """
        kind = format_of(source.path, self.settings.reader)
        if self.settings.reader == POSTS and kind != "XML":
            raise BadInput(f"'{source.uri}' is {kind}, the reader stackexchange reads Posts.xml", "name the dump's Posts.xml")
        if kind == "XML" and self.settings.reader not in ("auto", POSTS):
            raise BadInput(
                f"'{source.uri}' is XML, the reader {self.settings.reader} reads none",
                "set demonstrations.reader: stackexchange",
            )
        with told(source):
            check(source, kind)
            if kind == "XML":
                _check_posts(self.settings)
                yield from read_posts(source, self.settings)
            else:
                yield from read_squad(source) if kind == SQUAD else READERS[kind](source, self.columns)

    def understood(self, row: Row) -> Row:
        """The row with question and answer under the names the settings give them; or with a reason, where a filter does not
        hold or it cannot be understood."""
        if row.values is None or row.reason or (self._plain and not row.reader):
            return row
        if lost := next((one for one in self.filters if not one.holds(row.values)), None):
            return row._replace(reason="filter", detail=lost.text)
        meaning = READINGS[row.reader] if row.reader else self.meaning
        pair = meaning.read(row.values, self.settings)
        for part in [pair] if isinstance(pair, Refusal) else pair:
            if isinstance(part, Refusal):
                return row._replace(reason=part.reason, detail=part.detail)
        return row._replace(values={**row.values, self.settings.question: pair[0], self.settings.answer: pair[1]})


def _check_posts(settings: Demonstrations) -> None:
    if settings.filters or settings.split or settings.licence_column:
        line = f"the reader {POSTS} has no columns for demonstrations.filters, .split or .licence_column"
        raise BadInput(line, "leave them empty; licences and min_score choose among posts")


def _check_columns(settings: Demonstrations) -> None:
    if settings.question == settings.answer:
        raise BadInput(f"demonstrations.question and .answer both name column '{settings.question}'", "name two columns")
    for key in ("question", "answer"):
        if not getattr(settings, key):
            raise BadInput(f"demonstrations.{key} is empty", "name the column that holds it")
