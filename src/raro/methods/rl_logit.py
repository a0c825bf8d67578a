"""RL-Logit: a thought is worth how likely it makes the expert's answer (the paper's strongest rival on DeepMath).

The policy's own answer does not matter, only its thought. The reward is linear in the mean log-probability of the expert's
tokens after that thought, 1 at certainty and 0 at FLOOR nats and below, so that a malformed rollout, which has no thought, is
the worst there is.
"""

from __future__ import annotations

from collections.abc import Sequence

from .method import Answer, Method
from .rewarded import Rewarded

FLOOR = -10.0
"""Nats per token: e^-10 is rarer than any token of an answer that a trained model has an idea of."""


class RlLogit(Rewarded):
    """The expert's answer, scored after each thought."""

    def rewards(self, answers: Sequence[Answer]) -> list[float]:
        found = expert_logprobs(self, answers)
        return [1 - max(sum(values) / len(values), FLOOR) / FLOOR for values in found]


def expert_logprobs(method: Method, answers: Sequence[Answer]) -> list[list[float]]:
    """Log-probabilities of the expert's tokens, the end token included, after each answer's own thought."""
    speaker = method.speaker
    before = [speaker.after(a.prompt, a.thought) for a in answers]
    experts = [speaker.answer(method.demonstrations[a.item].answer) for a in answers]
    return method.engine.score(before, experts, method.config.rollout.temperature)
