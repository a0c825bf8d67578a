"""Problem sets for Countdown, seeded: which split a problem belongs to follows from its numbers alone.

    python -m raro.benchmarks.countdown_sets --split test --count 1000 --sizes 3,4,5,6 --output test.jsonl
    python -m raro.benchmarks.countdown_sets --split train --count 2000 --sizes 4 --target 24 --largest 13 --output train.jsonl

Two sets of different splits share no multiset of numbers, whatever their seeds, sizes and targets: disjoint by construction,
not by a later check. The rows are demonstrations as the reader `columns` takes them, with `group` and `split`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import BadInput, RaroError
from ..solver import Problem, find, solutions, ways
from ..storage import write_atomic

SPLITS = ("train", "dev", "test")
SHARES = (0.8, 0.9)
"""Of all multisets of numbers: train below the first, dev between them, test above."""
SIZES = (3, 4, 5, 6)
BANDS = {"hard": 2, "medium": 10}
"""Solutions at most; a problem with more is easy."""
TRIES = 200
"""Draws without a new problem after which the set is said to be impossible."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A problem of a set. expression: one that solves it. ways: how many there are (`solver.ways`)."""

    problem: Problem
    expression: str
    ways: int

    @property
    def row(self) -> dict[str, Any]:
        """As a line of JSONL: question, answer, and what splits and strata need."""
        numbers = ", ".join(map(str, self.problem.numbers))
        return {
            "question": self.problem.question,
            "answer": self.expression,
            "group": numbers,
            "split": split_of(self.problem.numbers),
            "numbers": len(self.problem.numbers),
            "solutions": self.ways,
            "difficulty": band(self.ways),
        }


def split_of(numbers: Sequence[int]) -> str:
    """The one split that every problem of these numbers belongs to, whoever poses it."""
    key = "countdown-sets " + " ".join(map(str, sorted(numbers)))
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return SPLITS[sum(place >= share for share in SHARES)]


def band(count: int) -> str:
    """The difficulty of a problem with so many solutions: hard, medium, easy, or unsolvable."""
    return "unsolvable" if not count else next((name for name, most in BANDS.items() if count <= most), "easy")


def generate(
    split: str,
    count: int,
    seed: int = 0,
    sizes: Sequence[int] = SIZES,
    target: int = 0,
    largest: int = 25,
    targets: tuple[int, int] = (10, 100),
) -> list[Posed]:
    """`count` different solvable problems of one split, their sizes in turn.

    target: the one target of all of them (24, as the game of that name); 0: each problem's own, drawn among the whole numbers
    in `targets` that its numbers reach. largest: numbers are 1 to this. Raises BadInput where there are not so many.
    """
    _check(split, count, sizes, target, largest, targets)
    rng = random.Random(f"countdown-sets {split} {seed} {sorted(sizes)} {target} {largest} {targets}")
    found: dict[Problem, Posed] = {}
    fruitless = 0
    while len(found) < count:
        if fruitless >= TRIES:
            line = f"there are no {count} problems of split {split} with these settings: {len(found)} were found"
            raise BadInput(line, "ask for fewer, or for larger numbers or more targets")
        fruitless += 1
        numbers = tuple(sorted(rng.randint(1, largest) for _ in range(sizes[len(found) % len(sizes)])))
        if split_of(numbers) != split:
            fruitless -= 1  # not this set's numbers: no try at all
            continue
        posed = _posed(numbers, target or None, targets, rng)
        if posed and posed.problem not in found:
            found[posed.problem] = posed
            fruitless = 0
    return list(found.values())


def _posed(numbers: tuple[int, ...], target: int | None, targets: tuple[int, int], rng: random.Random) -> Posed | None:
    if target is None and len(numbers) < 6:
        reached = sorted(int(v) for v in ways(numbers) if v.denominator == 1 and targets[0] <= v <= targets[1])
        target = rng.choice(reached) if reached else None
    elif target is None:  # all values of six numbers would take minutes: nearly every small target can be made
        target = rng.randint(*targets)
    if target is None:
        return None
    problem = Problem(numbers, target)
    count = solutions(problem)
    return Posed(problem, find(numbers, Fraction(target)), count) if count else None


def _check(split: str, count: int, sizes: Sequence[int], target: int, largest: int, targets: tuple[int, int]) -> None:
    if split not in SPLITS:
        raise BadInput(f"split '{split}' is not known", f"choose one of {', '.join(SPLITS)}")
    if not sizes or not set(sizes) <= set(SIZES):
        raise BadInput(f"sizes {', '.join(map(str, sizes))} are not among 3 to 6", "for example --sizes 3,4")
    if count < 1 or target < 0 or largest < 2 or not 0 < targets[0] <= targets[1]:
        raise BadInput("count, target, largest and targets must be above 0, the least target first", "correct the value")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a set as JSONL. Exit code 2 for what cannot be made."""
    parser = argparse.ArgumentParser(
        description="A seeded problem set of Countdown, disjoint from other splits by construction."
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", default="3,4", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--target", type=int, default=0, help="one target for all, such as 24; 0: each problem its own")
    parser.add_argument("--largest", type=int, default=25)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        posed = generate(given.split, given.count, given.seed, given.sizes, given.target, given.largest)
    except RaroError as error:
        parser.exit(error.code, f"{error.line}\n  remedy: {error.remedy}\n")
    write_atomic(given.output, "".join(json.dumps(one.row) + "\n" for one in posed))
    return 0


if __name__ == "__main__":
    main()
