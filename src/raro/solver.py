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


def ways(numbers: tuple[int, ...]) -> dict[Fraction, int]:
    """For every value that can be made from all of the numbers: in how many ways. numbers: ascending, at most five.

    Two expressions are one way where they differ only in the order of a sum's or a product's two sides, or in which of two
    equal numbers is which; (a + b) + c and a + (b + c) are two. Remembered; of five numbers and more only the last few, for
    each of them holds some 100 thousand values.
    """
    return _few(numbers) if len(numbers) < 5 else _many(numbers)


def _counted(numbers: tuple[int, ...]) -> dict[Fraction, int]:
    if len(numbers) == 1:
        return {Fraction(numbers[0]): 1}
    made: dict[Fraction, int] = {}
    for left, right in _cuts(numbers):
        for (a, m), (b, n) in itertools.product(ways(left).items(), ways(right).items()):
            for value in (a - b, *([b - a] if left != right else []), *([a / b] if b else [])):
                made[value] = made.get(value, 0) + m * n
            if left != right and a:
                made[b / a] = made.get(b / a, 0) + m * n
            if left == right and a > b:  # the same two sides come again the other way round
                continue
            same = left == right and a == b
            for value in (a + b, a * b):
                made[value] = made.get(value, 0) + (m * (m + 1) // 2 if same else m * n)
    return made


_few, _many = lru_cache(maxsize=512)(_counted), lru_cache(maxsize=12)(_counted)


def solutions(problem: Problem) -> int:
    """How many ways reach the target, counted as `ways` counts; 0 for a problem that cannot be solved. At most six numbers:
    the last operation is sought from its smaller side, so that six numbers take seconds, not minutes."""
    numbers, target = problem.numbers, Fraction(problem.target)
    if len(numbers) == 1 or not target:
        return ways(numbers).get(target, 0)
    found = 0
    for left, right in _cuts(numbers):
        few, many = sorted((ways(left), ways(right)), key=len)
        alike = left == right  # either order of a difference comes by itself, and a sum or product twice
        for a, m in few.items():
            ordered = [a - target, a / target] if a else [-target]  # b of a - b, a / b
            if not alike:
                ordered += [target + a, target * a] if a else [target]  # b of b - a, b / a
            found += m * sum(many.get(b, 0) for b in ordered)
            for b in [target - a, target / a] if a else [target]:
                if alike and b == a:
                    found += m * (m + 1) // 2
                elif not alike or b > a:
                    found += m * many.get(b, 0)
    return found


def find(numbers: tuple[int, ...], target: Fraction) -> str:
    """One fully parenthesised expression that makes the target of all of the numbers. numbers: ascending, at most six. The
    parts' values are sought from above, so that expressions are written for one way only. Raises ValueError where
    there is none."""
    if len(numbers) == 1 and numbers[0] == target:
        return str(numbers[0])
    for left, right in _cuts(numbers) if len(numbers) > 1 else ():
        others = ways(right)
        for a in ways(left):
            sought = [("+", target - a, False), ("-", a - target, False), ("-", target + a, True)]
            if a:
                sought += [("*", target / a, False), ("/", target * a, True)]
                sought += [("/", a / target, False)] if target else []
            elif not target:  # nought times anything
                sought += [("*", next(iter(others)), False)]
            for sign, b, turned in sought:
                if b in others and not (sign == "/" and not turned and not b):
                    first, second = ((right, b), (left, a)) if turned else ((left, a), (right, b))
                    return f"{_wrapped(find(*first))} {sign} {_wrapped(find(*second))}"
    raise ValueError(f"no expression of {', '.join(map(str, numbers))} makes {target}")


def _cuts(numbers: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every way to cut the multiset in two parts, without regard to which is first; equal numbers are not told apart."""
    cuts = set()
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in itertools.combinations(range(len(numbers)), size):
            left = tuple(numbers[i] for i in chosen)
            right = tuple(numbers[i] for i in range(len(numbers)) if i not in chosen)
            cuts.add((left, right) if (len(left), left) <= (len(right), right) else (right, left))
    return sorted(cuts)
