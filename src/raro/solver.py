"""Countdown's problem and its exact solver: pure arithmetic, shared by the reader of problem sets and by the benchmark."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """numbers: ascending. target: to be reached."""

    numbers: tuple[int, ...]
    target: int

    @property
    def question(self) -> str:
        return f"Make {self.target} from {', '.join(map(str, self.numbers))}."


@lru_cache(maxsize=4096)
def solve(numbers: tuple[int, ...]) -> dict[Fraction, str]:
    """Every value that can be made from all of the numbers, each exactly once, with one fully parenthesised expression for it.

    Exact and complete: all ways to cut the multiset in two, recursively. numbers: ascending, at most six.
    """
    if len(numbers) == 1:
        return {Fraction(numbers[0]): str(numbers[0])}
    made: dict[Fraction, str] = {}
    for size in range(1, len(numbers)):
        for chosen in itertools.combinations(range(len(numbers)), size):
            left = tuple(numbers[i] for i in chosen)
            right = tuple(numbers[i] for i in range(len(numbers)) if i not in chosen)
            for a, b in itertools.product(solve(left).items(), solve(right).items()):
                for sign, value in _combined(a[0], b[0]):
                    made.setdefault(value, f"{_wrapped(a[1])} {sign} {_wrapped(b[1])}")
    return made


def _wrapped(expression: str) -> str:
    return expression if expression.isdigit() else f"( {expression} )"


def _combined(a: Fraction, b: Fraction) -> list[tuple[str, Fraction]]:
    values = [("+", a + b), ("-", a - b), ("*", a * b)]
    return [*values, ("/", a / b)] if b else values
