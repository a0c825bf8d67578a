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
from dataclasses import dataclass
from functools import lru_cache

from ..solver import Problem, solve
from .arithmetic import evaluate

__all__ = ["Attempt", "Problem", "attempts", "correct", "evaluate", "problems", "read_question", "solve"]

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
    """Three numbers combined from left to right: (a o b) o c, every value a whole number in 0..99. What the miniature works
    with."""

    numbers: tuple[int, int, int]
    operators: tuple[str, str]
    middle: int
    value: int

    @property
    def worked(self) -> str:
        """The attempt worked out: `3 + 5 = 8 * 12 = 96`."""
        (a, b, c), (o, p) = self.numbers, self.operators
        return f"{a} {o} {b} = {self.middle} {p} {c} = {self.value}"

    @property
    def answer(self) -> str:
        (a, b, c), (o, p) = self.numbers, self.operators
        return f"( {a} {o} {b} ) {p} {c}"


SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@lru_cache(maxsize=4096)
def attempts(numbers: tuple[int, int, int], highest: int = 99) -> tuple[Attempt, ...]:
    """Every left-to-right attempt at these three numbers whose values stay in 0..highest, in a fixed order."""
    found = []
    for order in sorted(set(itertools.permutations(numbers))):
        for o, p in itertools.product(SIGNS, SIGNS):
            middle = SIGNS[o](order[0], order[1])
            value = SIGNS[p](middle, order[2])
            if 0 <= middle <= highest and 0 <= value <= highest:
                found.append(Attempt(order, (o, p), middle, value))
    return tuple(found)


def problems(largest: int, highest: int = 99) -> dict[tuple[int, int, int], list[Problem]]:
    """All solvable problems of three numbers 1..largest with targets 1..highest, by their numbers."""
    by_numbers: dict[tuple[int, int, int], list[Problem]] = defaultdict(list)
    for numbers in itertools.combinations_with_replacement(range(1, largest + 1), 3):
        for target in sorted({a.value for a in attempts(numbers, highest)} - {0}):
            by_numbers[numbers].append(Problem(numbers, target))
    return by_numbers
