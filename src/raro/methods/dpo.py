"""Iterative DPO: the expert's answer preferred to the policy's own, in rounds (DPO, arXiv 2305.18290).

Each of the policy's answers is rejected; chosen is the expert's answer after the same thought, so that the two differ in
nothing but the answer. The reference is the policy at the start of the round; both are taken at the temperature that answers
are sampled at, where the paper has 1. Each step's answers are the policy's own of that step; the usual iterative DPO samples a
round's answers once, when it starts. For a pair with margin

    m = beta * [(log p(chosen) - log ref(chosen)) - (log p(rejected) - log ref(rejected))]

the gradient of -log sigmoid(m) is -beta * sigmoid(-m) * (grad log p(chosen) - grad log p(rejected)): two weighted samples,
which is all that the learner knows how to learn from. tests/test_methods.py holds it to TRL's DPO loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..config import Config
from ..learning.checkpoints import Part
from ..learning.losses import cross_entropy
from ..learning.update import Stream
from ..records import Prompt, Sample
from ..rollout.engine import Engine
from .figures import mean, policy_figures
from .method import Answer, Method

Completed = tuple[Prompt, tuple[int, ...]]


@dataclass
class Dpo(Method):
    """round: which round the reference belongs to. was: the engine on the reference, of the policy's own kind and precision, so
    that a round starts with margins of 0."""

    round: int = 0
    was: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.was = self.engine_on(self.learner.reference)

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """One update on this step's answers beside the experts'."""
        self.begin()
        self._begin_round(step)
        answers = self.answer(self.draw(step), step)
        read = [a for a in answers if a.text is not None]
        chosen = [(a.prompt, self._after(a, self.demonstrations[a.item].answer)) for a in read]
        rejected = [(a.prompt, self._after(a, a.text)) for a in read]
        margins = self.margins(chosen, rejected)
        samples = self.weighted(chosen, rejected, margins)
        # 2 / (number of samples): the mean over pairs
        streams = {"policy": Stream(coefficient=2.0, budget=1, temperature=self.config.rollout.temperature)}
        figures = policy_figures(answers, [], samples) | {"policy/margin": mean(margins) or 0.0}
        return figures | self.update(samples, streams, step, cross_entropy), []

    def margins(self, chosen: Sequence[Completed], rejected: Sequence[Completed]) -> list[float]:
        """beta times how much more the policy than its reference prefers each chosen completion."""

        def gains(pairs: Sequence[Completed]) -> list[float]:
            prompts, completions, temperature = [p for p, _ in pairs], [c for _, c in pairs], self.config.rollout.temperature
            own, before = (engine.score(prompts, completions, temperature) for engine in (self.engine, self.was))
            return [sum(a) - sum(b) for a, b in zip(own, before, strict=True)]

        beta = self.config.raro.dpo_beta
        return [beta * (c - r) for c, r in zip(gains(chosen), gains(rejected), strict=True)]

    def weighted(self, chosen: Sequence[Completed], rejected: Sequence[Completed], margins: Sequence[float]) -> list[Sample]:
        """Two samples for each pair, whose cross-entropy has the gradient of DPO."""
        samples = []
        for (prompt, good), (_, bad), margin in zip(chosen, rejected, margins, strict=True):
            push = self.config.raro.dpo_beta / (1 + math.exp(margin))
            samples += [Sample(prompt.ids, good, (), push, 1.0, "policy"), Sample(prompt.ids, bad, (), -push, 1.0, "policy")]
        return samples

    @classmethod
    def needs_reference(cls, config: Config) -> bool:
        return True

    def beside(self) -> dict[str, Part]:
        return {"reference": (self.learner.reference, None)}

    def state(self) -> dict:
        return super().state() | {"round": self.round}

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.round = state["round"]

    def _begin_round(self, step: int) -> None:
        now = int(self.progress(step) * self.config.raro.dpo_rounds)
        if now > self.round:
            self.round = now
            self.learner.reference.load_state_dict(self.learner.model.state_dict())

    def _after(self, answer: Answer, text: str) -> tuple[int, ...]:
        return self.speaker.thinking(answer.thought, text)
