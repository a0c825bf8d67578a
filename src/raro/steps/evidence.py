"""What an evaluation shows beside its scores, gathered while each arm's model is open: evidence without checker or judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..benchmarks import critics, likelihood, telling
from ..benchmarks.measure import Measured
from ..config import Config
from ..methods import method_of
from ..records import Demonstration
from ..rollout.models import Speaker, open_model

FROZEN = ("warmstart", "candidate")
"""Arms whose critics judge all arms: one that trained against none of them, and the one that trained longest."""
Progress = Callable[[int, int, str], None]


class Evidence:
    """take: called once for each arm. report: afterwards, for evaluation.json."""

    def __init__(self, items: Sequence[Demonstration], config: Config):
        self.items, self.config = items[: config.evaluation.experts], config
        self._likelihood: dict[str, likelihood.Likelihood] = {}
        self._answers: dict[str, Sequence[str]] = {}

    def take(self, arm: str, speaker: Speaker, greedy: Measured, thinking: bool) -> None:
        """What can only be asked of the open model, and its answers. greedy: of all items, in their order."""
        if not self.items:
            return
        n = len(self.items)
        self._answers[arm] = greedy.answers[:n]
        self._likelihood[arm] = likelihood.likelihood(speaker, self.items, greedy.thoughts[:n], self.config, thinking)

    def report(self, folders: Mapping[str, Path], progress: Progress) -> dict[str, Any]:
        """{"experts": {"n", "logprob", "paired", "prefers", "told_apart", "critics"}}; nothing where it is not asked for."""
        if not self.items:
            return {}
        resamples, seed = self.config.evaluation.bootstrap, self.config.seed
        found = {"n": len(self.items), **likelihood.compared(self._likelihood, resamples, seed)}
        experts = [item.answer for item in self.items]
        found["told_apart"] = {
            features: {
                arm: telling.told_apart(experts, given, features, resamples, seed) for arm, given in self._answers.items()
            }
            for features in telling.FEATURES
        }
        found["critics"] = self._critics(folders, progress)
        return {"experts": found}

    def _critics(self, folders: Mapping[str, Path], progress: Progress) -> dict[str, Any]:
        """By the arm whose critic it is; empty for a method whose model judges nothing."""
        if not method_of(self.config.method).thinks:
            return {}
        found = {}
        for done, arm in enumerate(FROZEN):
            progress(done, len(FROZEN), f"the frozen critic of {arm}")
            found[arm] = critics.ruled(open_model(folders[arm], self.config), self.items, self._answers, self.config)
        return found
