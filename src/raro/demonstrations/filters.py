"""Filters: which rows of a data set are taken, written as `column OP value`, for example `difficulty >= 5`.

Both sides are compared as numbers where both are numbers, and as text otherwise; no text is less or more than a number. `null`
is the value of an empty cell, and no other comparison holds for one. Nothing is evaluated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput

_FORM = re.compile(r"\s*(.+?)\s*(==|!=|<=|>=|<|>)\s*(.*?)\s*")
_OPERATIONS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. text: as it was written. operation: one of == != < <= > >=. value: the right side, as text."""

    text: str
    column: str
    operation: str
    value: str

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the row passes. A row without the column has a null there."""
        found = values.get(self.column)
        compare = _OPERATIONS[self.operation]
        if found is None or self.value == "null":
            return self.operation in ("==", "!=") and compare(found is None, self.value == "null")
        left, right = _number(found), _number(self.value)
        if left is not None and right is not None:
            return compare(left, right)
        if right is not None and self.operation not in ("==", "!="):
            return False
        return compare(str(found), self.value)


def filters(written: Sequence[str]) -> list[Filter]:
    """The conditions. Raises BadInput for one that cannot be read."""
    found = []
    for text in written:
        match = _FORM.fullmatch(text)
        if not match:
            raise BadInput(f"demonstrations.filters: '{text}' is not a condition", "write for example: difficulty >= 5")
        value = match[3]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found.append(Filter(text, match[1], match[2], value))
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
