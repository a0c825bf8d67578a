"""The problems and demonstrations of the mini bases. Numbers are split into four disjoint sets: a base's own training, and the
demonstrations' train, dev and test."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..benchmarks.countdown import Attempt, Problem, attempts, problems

SHARES = {"base": 0.27, "train": 0.34, "dev": 0.06, "test": 0.33}


@dataclass(frozen=True)
class Task:
    """Countdown with so many `numbers` from 1 to `largest`. most: attempts of a trace at most. apart: so many of their signs,
    from the first, are no two attempts' of a trace. several: right answers with so many different series of signs at least.
    problems: at most so many of a split; one that is not named is taken whole."""

    numbers: int
    largest: int
    most: int
    apart: int
    several: int = 1
    problems: Mapping[str, int] = field(default_factory=dict)


THREE = Task(3, 15, 9, apart=2)
"""The miniature's. Nine attempts: one for each pair of signs, and what 104 tokens hold."""
FOUR = Task(4, 13, 16, apart=3, problems={"train": 20_000, "dev": 500, "test": 2_000})
"""For a GPU. Sixteen attempts at 27 triples of signs, what 238 tokens hold; one attempt in 34 hits."""
SEVERAL = Task(4, 13, 9, apart=2, several=4, problems={"test": 2_000})
"""Where likeness to the expert's answer misleads, since others are right as well. Nine attempts: one for each pair of first
signs, and what 140 tokens hold. Apart by all three signs, which so small a base learns in part, half the attempts of its greedy
thoughts were repeated ones (docs/mini-base.md)."""
TASKS = {"three": THREE, "four": FOUR, "several": SEVERAL}


def split_problems(task: Task = THREE) -> dict[str, list[Problem]]:
    """All problems, split by their numbers, so that none of these multisets stands in two splits; of the demonstrations' splits
    no more than the task wants. The same for every seed of the base: none of them may have met a held-out problem."""
    by_numbers = {
        numbers: wanted
        for numbers, found in problems(task.largest, count=task.numbers).items()
        if (wanted := [p for p in found if task.several == 1 or several(p) >= task.several])
    }
    multisets, rng = sorted(by_numbers), random.Random("splits-0")
    rng.shuffle(multisets)
    result, start = {}, 0
    for i, (name, share) in enumerate(SHARES.items()):
        end = len(multisets) if i == len(SHARES) - 1 else start + round(share * len(multisets))
        found = [p for numbers in multisets[start:end] for p in by_numbers[numbers]]
        wanted = task.problems.get(name, len(found))
        result[name] = rng.sample(found, wanted) if wanted < len(found) else found
        start = end
    return result


def right(problem: Problem) -> list[Attempt]:
    """All attempts that hit the target."""
    return [attempt for attempt in attempts(problem.numbers) if attempt.value == problem.target]


def several(problem: Problem) -> int:
    """How many different series of signs its right answers have."""
    return len({attempt.operators for attempt in right(problem)})


def demonstrations(splits: dict[str, list[Problem]]) -> list[dict[str, str]]:
    """One row per problem of train, dev and test: the question and one valid answer, drawn at random. No thought."""
    rng = random.Random("experts-0")
    rows = []
    for split in ("train", "dev", "test"):
        for problem in splits[split]:
            expert = rng.choice(right(problem))
            group = "-".join(map(str, problem.numbers))
            rows.append({"question": problem.question, "answer": expert.answer, "group": group, "split": split})
    rng.shuffle(rows)
    return rows
