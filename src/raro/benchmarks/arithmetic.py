"""A parser of plain arithmetic that executes nothing: whole numbers, brackets and + - * /, exact values.

Precedence climbing over an explicit stack (Dijkstra's shunting yard, 1961), so that no nesting, however deep, reaches the
interpreter's limits. Python's own parser is not used: it takes `1_2` for 12, `0x60` for 96 and remarks after `#`.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

MAX_CHARS = 400
"""Longer answers are wrong unread: no honest one for six numbers comes near."""
MAX_DIGITS = 12
"""Longer numbers are nobody's: sources hold whole numbers below 10^9."""
_TOKEN = re.compile(rf"\s*(?:(0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})(?![0-9])|([-+*/()]))")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_SIGNS = str.maketrans({"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "\u22c5": "*"})


def evaluate(expression: str) -> tuple[Fraction, Counter[int]] | None:
    """(value, numbers used) of an arithmetic expression, exactly; None for anything else: signs before a number, powers,
    names, digits that are not ASCII, a division by zero. Nothing is ever executed."""
    if len(expression) > MAX_CHARS:
        return None
    tokens = _tokens(expression.translate(_SIGNS).rstrip())
    if tokens is None:
        return None
    values: list[Fraction] = []
    waiting: list[str] = []
    used: Counter[int] = Counter()
    operand = True  # whether a number or an opening bracket must come next
    for token in tokens:
        if isinstance(token, int):
            if not operand:
                return None
            values.append(Fraction(token))
            used[token] += 1
            operand = False
        elif token == "(":
            if not operand:
                return None
            waiting.append(token)
        else:
            if operand:
                return None
            least = 0 if token == ")" else _PRECEDENCE[token]
            while waiting and waiting[-1] != "(" and _PRECEDENCE[waiting[-1]] >= least:
                if not _apply(waiting.pop(), values):
                    return None
            if token == ")":
                if not waiting:
                    return None
                waiting.pop()
            else:
                waiting.append(token)
                operand = True
    if operand:
        return None
    while waiting:
        if (sign := waiting.pop()) == "(" or not _apply(sign, values):
            return None
    return values[0], used


def _tokens(text: str) -> list[int | str] | None:
    found: list[int | str] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        found.append(int(match[1]) if match[1] else match[2])
        place = match.end()
    return found


def _apply(sign: str, values: list[Fraction]) -> bool:
    """Combines the last two values; False for a division by zero."""
    right, left = values.pop(), values.pop()
    if sign == "/" and not right:
        return False
    values.append(
        left + right if sign == "+" else left - right if sign == "-" else left * right if sign == "*" else left / right
    )
    return True
