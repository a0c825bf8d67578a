"""Countdown: make a target from given numbers, each used exactly once, with + - * /.

The checker and the miniature's attempts. The safe parser is in `arithmetic`, seeded problem sets in `countdown_sets`, problem
and exact solver in `raro.solver`. Finding is hard, checking is easy; the checker here is used to measure, and by nothing in
the game.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

from ..solver import Problem
from .arithmetic import evaluate

QUESTION = re.compile(r"Make (-?[0-9]+) from ([0-9]+(?:, [0-9]+)*)\.")


def read_question(text: str) -> Problem | None:
    """The problem that a question states, or None."""
    match = QUESTION.search(text)
    return Problem(tuple(sorted(map(int, match[2].split(", ")))), int(match[1])) if match else None


def correct(problem: Problem, answer: str) -> bool:
    """Whether the answer uses each number exactly once and reaches the target exactly. `... = target` at its end is allowed."""
    expression, equals, right = answer.partition("=")
    if equals and right.strip() != str(problem.target):
        return False
    result = evaluate(expression)
    return result is not None and result[0] == problem.target and result[1] == Counter(problem.numbers)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Numbers combined from left to right, ((a o b) p c) ..., each value a whole number in 0..99: how the miniature works.

    numbers: n of them, in the order of the attempt. operators, values: n - 1, the last value being the attempt's.
    """

    numbers: tuple[int, ...]
    operators: tuple[str, ...]
    values: tuple[int, ...]

    @property
    def value(self) -> int:
        return self.values[-1]

    @property
    def worked(self) -> str:
        """The attempt worked out: `3 + 5 = 8 * 12 = 96`."""
        first, *others = self.numbers
        steps = zip(self.operators, others, self.values, strict=True)
        return " ".join([str(first), *(f"{sign} {number} = {value}" for sign, number, value in steps)])

    @property
    def answer(self) -> str:
        """As an expression: `( 3 + 5 ) * 12`."""
        return chained(self.numbers, self.operators)


def chained(numbers: Sequence[int], operators: Sequence[str]) -> str:
    """The expression that combines n numbers from left to right by n - 1 signs: `( ( 3 + 5 ) * 12 ) - 1`."""
    first, *others = map(str, numbers)
    return reduce(lambda left, step: f"{_wrapped(left)} {step[0]} {step[1]}", zip(operators, others, strict=True), first)


def _wrapped(expression: str) -> str:
    return expression if expression.isdigit() else f"( {expression} )"


SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@lru_cache(maxsize=4096)
def attempts(numbers: tuple[int, ...], highest: int = 99) -> tuple[Attempt, ...]:
    """Every left-to-right attempt at these numbers whose values stay in 0..highest, in a fixed order."""
    found = []
    for order in sorted(set(itertools.permutations(numbers))):
        for signs in itertools.product(SIGNS, repeat=len(order) - 1):
            values = tuple(_values(order, signs))
            if all(0 <= value <= highest for value in values):
                found.append(Attempt(order, signs, values))
    return tuple(found)


def _values(numbers: tuple[int, ...], operators: tuple[str, ...]) -> Iterator[int]:
    value = numbers[0]
    for sign, number in zip(operators, numbers[1:], strict=True):
        value = SIGNS[sign](value, number)
        yield value


def problems(largest: int, highest: int = 99, count: int = 3) -> dict[tuple[int, ...], list[Problem]]:
    """All problems of `count` numbers 1..largest with targets 1..highest that an attempt solves, by their numbers."""
    by_numbers: dict[tuple[int, ...], list[Problem]] = defaultdict(list)
    for numbers in itertools.combinations_with_replacement(range(1, largest + 1), count):
        for target in sorted({a.value for a in attempts(numbers, highest)} - {0}):
            by_numbers[numbers].append(Problem(numbers, target))
    return by_numbers
