"""What an evaluation shows beside its scores, gathered while each arm's model is open: evidence without checker or judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..benchmarks import choices, critics, exposure, general, likelihood, rubrics, telling
from ..benchmarks.measure import Measured, measure
from ..config import Config
from ..demonstrations import canaries
from ..methods import method_of
from ..records import Demonstration
from ..rollout.models import Speaker, open_model
from .train import CRITIC

Progress = Callable[[int, int, str], None]


def critics_of(folders: Mapping[str, Path], config: Config) -> dict[str, Path]:
    """By arm, the models that were taught to judge: the warm start's, which trained against no arm, and the candidate's where
    its run trained a critic and kept it, which trained longest. A rival's model learns to answer alone."""
    found = {"warmstart": folders["warmstart"]}
    own = folders["candidate"]
    if config.raro.critic_model == "separate":
        own = own.with_name(CRITIC)
    trained = config.method == "raro" and config.raro.lambda_crit > 0
    return found | ({"candidate": own} if trained and own.is_dir() else {})


class Evidence:
    """take: called once for each arm. report: afterwards, for evaluation.json. cases, to_cases: those with rubrics, and every
    arm's answers to them, for the judge."""

    def __init__(self, items: Sequence[Demonstration], data: Path, config: Config):
        """data: the ingest folder."""
        self.items, self.config = items[: config.evaluation.experts], config
        self._canaries = canaries.load(data)
        self._exposed: dict[str, Any] = {}
        self._general: dict[str, list[str]] = {}
        self._likelihood: dict[str, likelihood.Likelihood] = {}
        self._answers: dict[str, Sequence[str]] = {}
        self._choosing = list(items) if config.evaluation.benchmark == "choice" else []
        self._offered = choices.read(items, config) if self._choosing else {}
        self._likeliest: dict[str, list[float]] = {}
        self.cases = rubrics.cases_of(config)
        self.to_cases: dict[str, list[str]] = {}

    def take(self, arm: str, speaker: Speaker, greedy: Measured, thinking: bool) -> None:
        """What can only be asked of the open model, and its answers. greedy: of all items, in their order."""
        if self.config.asks_general:
            self._general[arm] = general.answers(speaker, general.items(), self.config)
        if self._canaries:
            self._exposed[arm] = exposure.exposure(speaker, self._canaries, self.config, thinking)
        if self._choosing:
            given = (self._choosing, self._offered, greedy.thoughts, self.config, thinking)
            self._likeliest[arm] = choices.likeliest(speaker, *given)
        if self.cases:
            asked = [Demonstration(question=c.question, answer="", source="", licence="", group="") for c in self.cases]
            self.to_cases[arm] = measure(
                speaker, asked, self.config, 0.0, thinking=thinking, score=lambda item, answer: 0.0
            ).answers
        if not self.items:
            return
        n = len(self.items)
        self._answers[arm] = greedy.answers[:n]
        self._likelihood[arm] = likelihood.likelihood(speaker, self.items, greedy.thoughts[:n], self.config, thinking)

    def report(self, folders: Mapping[str, Path], progress: Progress) -> dict[str, Any]:
        """{"general", "canaries": {arm: ...}, "choice", "experts": {"n", "logprob", "paired", "prefers", "told_apart",
        "critics"}}, but for what is not asked for."""
        resamples, seed = self.config.evaluation.bootstrap, self.config.seed
        found: dict[str, Any] = {"canaries": self._exposed} if self._exposed else {}
        if self._general:
            found["general"] = general.compared(self._general, resamples, seed)
        if self._likeliest:
            offers = [self._offered[item.source] for item in self._choosing]
            found["choice"] = choices.compared(self._likeliest, offers, resamples, seed)
        return found | ({"experts": self._experts(folders, progress, resamples, seed)} if self.items else {})

    def _experts(self, folders: Mapping[str, Path], progress: Progress, resamples: int, seed: int) -> dict[str, Any]:
        found: dict[str, Any] = {"n": len(self.items), **likelihood.compared(self._likelihood, resamples, seed)}
        experts = [item.answer for item in self.items]
        found["told_apart"] = {
            features: {
                arm: telling.told_apart(experts, given, features, resamples, seed) for arm, given in self._answers.items()
            }
            for features in telling.FEATURES
        }
        found["critics"] = self._critics(folders, progress)
        return found

    def _critics(self, folders: Mapping[str, Path], progress: Progress) -> dict[str, Any]:
        """By the arm whose critic it is; empty for a method whose model judges nothing."""
        if not method_of(self.config.method).thinks:
            return {}
        found, judges = {}, critics_of(folders, self.config)
        for done, (arm, folder) in enumerate(judges.items()):
            progress(done, len(judges), f"the frozen critic of {arm}")
            found[arm] = critics.ruled(open_model(folder, self.config), self.items, self._answers, self.config)
        return found
