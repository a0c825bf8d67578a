"""Countdown: make a target from given numbers, each used exactly once, with + - * /.

Generator, safe parser and checker; problem and exact solver are in `raro.solver`. Finding is hard, checking is easy; the
checker here is used to measure, and by nothing in the game.
"""

from __future__ import annotations

import ast
import itertools
import operator
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..solver import Problem, solve

__all__ = ["Attempt", "Problem", "attempts", "correct", "evaluate", "problems", "read_question", "solve"]

OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
MAX_CHARS = 400
"""Longer answers are wrong unread: no honest one for six numbers comes near."""


QUESTION = re.compile(r"Make (-?\d+) from (\d+(?:, \d+)*)\.")


def read_question(text: str) -> Problem | None:
    """The problem that a question states, or None."""
    match = QUESTION.search(text)
    return Problem(tuple(sorted(map(int, match[2].split(", ")))), int(match[1])) if match else None


def evaluate(expression: str) -> tuple[Fraction, Counter[int]] | None:
    """(value, numbers used) of an arithmetic expression, exactly; None for anything else. Nothing is ever executed."""
    if len(expression) > MAX_CHARS:
        return None
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        used: Counter[int] = Counter()
        return _value(tree.body, used), used
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.AST, used: Counter[int]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used[node.value] += 1
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        return OPERATIONS[type(node.op)](_value(node.left, used), _value(node.right, used))
    raise ValueError("not arithmetic")


def canonical(expression: str) -> str:
    """One spelling for answers that differ only in brackets and in the order of sums and products; the expression itself where
    it is not arithmetic. What a majority vote counts as the same answer."""
    try:
        return _spelled(ast.parse(expression.partition("=")[0].strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return expression


def _spelled(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return str(node.value)
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATIONS:
        raise ValueError("not arithmetic")
    if isinstance(node.op, ast.Sub | ast.Div):
        return f"({_spelled(node.left)}{'-' if isinstance(node.op, ast.Sub) else '/'}{_spelled(node.right)})"
    return f"({('+' if isinstance(node.op, ast.Add) else '*').join(sorted(_terms(node, type(node.op))))})"


def _terms(node: ast.AST, operation: type) -> list[str]:
    """Operands of a nest of one operation that order does not matter to."""
    if isinstance(node, ast.BinOp) and type(node.op) is operation:
        return _terms(node.left, operation) + _terms(node.right, operation)
    return [_spelled(node)]


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
