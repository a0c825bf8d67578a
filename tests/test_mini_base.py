"""Making a mini base: what a lent machine cuts off goes on as if it never was."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest
import torch

from raro.benchmarks.countdown import Problem
from raro.errors import BadInput
from raro.learning import checkpoints
from raro.models.make_countdown_mini import Lessons, train
from raro.records import Sample


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
