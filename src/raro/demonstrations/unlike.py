"""Data that no reader takes as it stands: what it looks like, and what would make it readable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BadInput
from .files import Source, claim, printable
from .readers import read_rows
from .screens import REASONS

_JSON = re.compile(r"\s*\[\s*\{\s*\"")


def rowless(source: Source) -> BadInput:
    """The error for a file without a whole row: why its first is broken, where it has one."""
    first = next(read_rows(source, claim(source.path), ()), None)
    if first is None:
        return BadInput(f"'{source.uri}' holds no row that can be read", "give a file with rows below its header")
    line = f"'{source.uri}' holds no row that can be read: the one in line {first.number} is {first.reason}, {first.detail}"
    return BadInput(line, REASONS[first.reason])


def unlike(source: Source, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> BadInput | None:
    """The error for rows that hold a SQuAD document, chats that no reader understands, or such as text."""
    first = lambda name: next((row[name] for row in rows if row.get(name)), None)  # noqa: E731
    if any("paragraphs" in one for one in _mappings(first("data"))):
        return BadInput(f"'{source.uri}' is one SQuAD document, not one row a line", "name it .json")
    for name in names:
        value = first(name)
        shown = f"column '{printable(name, 40)}' of '{source.uri}' holds"
        if any({"role", "from"} & set(one) for one in _mappings(value)):
            return BadInput(f"{shown} messages, but hardly a chat that can be read", REASONS["not_a_chat"])
        if isinstance(value, str) and _JSON.match(value):
            return BadInput(f"{shown} lists that are written as text", "write them as JSON in a JSONL file, not as text")
    return None


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; none of anything else."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
