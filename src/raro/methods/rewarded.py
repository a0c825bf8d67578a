"""One step of group-relative policy gradient with a reward for each answer: what the rivals of RARO share that have no critic.

Same questions, same engine, same advantages and update as RARO's policy; only where the reward comes from differs.
"""

from __future__ import annotations

from collections.abc import Sequence

from .figures import policy_figures
from .method import Answer, Method


class Rewarded(Method):
    """A method whose answers earn a reward by themselves. It adds `rewards`."""

    def rewards(self, answers: Sequence[Answer]) -> list[float]:
        """What each well-formed answer earns, in [0, 1]. answers: those with a text."""
        raise NotImplementedError

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """Q questions, K answers each, their rewards, one update."""
        self.begin()
        answers = self.answer(self.draw(step), step)
        earned = self.earned(answers)
        samples = self.policy_samples(answers, earned)
        streams = {"policy": self.stream("policy", 1.0, self.config.raro.kl_pol)}
        return policy_figures(answers, earned, samples) | self.update(samples, streams, step), []

    def earned(self, answers: Sequence[Answer]) -> list[float | None]:
        """What each answer earns (`paid`)."""
        return self.paid(answers, self.rewards([answer for answer in answers if answer.text is not None]))
