"""Making a mini base: what a lent machine cuts off goes on as if it never was."""

from __future__ import annotations

import copy
import random
import re
from dataclasses import replace

import pytest
import torch

from raro.benchmarks.countdown import Problem
from raro.errors import BadInput
from raro.learning import checkpoints
from raro.models.make_countdown_mini import Lessons, train
from raro.models.mini_problems import SEVERAL, THREE
from raro.records import Sample
from raro.text import END_THINK, THINK


class Cut(Lessons):
    """Lessons that end with the machine's time, in the fourth step."""

    given = 0

    def critic(self) -> Sample:
        self.given += 1
        if self.given > 7:
            raise KeyboardInterrupt
        return super().critic()


def test_a_base_that_was_cut_off_equals_one_that_never_was(blank, tmp_path):
    def taught(kind: type[Lessons], speaker, folder: str, rate: float = 3e-3) -> list[torch.Tensor]:
        lessons = kind([Problem((2, 3, 4), 10), Problem((1, 5, 6), 12)], speaker, random.Random("lessons-0"), 0.1)
        train(lessons, 6, 4, rate, tmp_path / folder, every=2)
        return list(speaker.model.parameters())

    first, second, third = (replace(blank, model=copy.deepcopy(blank.model)) for _ in range(3))
    never = taught(Lessons, first, "never")
    with pytest.raises(KeyboardInterrupt):
        taught(Cut, second, "cut")
    assert [path.name for path in checkpoints.existing(tmp_path / "cut")] == ["step-000002"]
    with pytest.raises(BadInput, match="belongs to another lessons"):
        taught(Lessons, third, "cut", rate=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(never, taught(Lessons, third, "cut"), strict=True))
    assert not torch.equal(never[0], next(blank.model.parameters()))


@pytest.mark.parametrize("task", [THREE, SEVERAL], ids=["three", "several"])
def test_no_two_attempts_of_a_lesson_begin_with_the_same_signs(blank, task):
    """What a greedy thought lives by: apart by what follows alone, half of its attempts repeated earlier ones."""
    numbers = (2, 3, 9, 9)[: task.numbers]
    lessons = Lessons([Problem(numbers, 98)], blank, random.Random(0), 0.1, task)
    longest = 0
    for _ in range(200):
        text = blank.text(lessons.policy().completion_ids)
        worked = re.findall(r"[^a-z]+(?=ok|no)", text.partition(END_THINK)[0].removeprefix(THINK))
        begun = [tuple(re.findall(r"[+*-]", attempt))[: task.apart] for attempt in worked]
        assert len(begun) == len(set(begun)) <= task.most
        longest = max(longest, len(begun))
    assert longest == task.most
