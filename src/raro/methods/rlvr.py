"""RLVR: reinforcement learning with the true checker as the reward (GRPO without its biases: Dr. GRPO, arXiv 2503.20783).

The oracle that RARO is measured against: it needs the verifier that RARO's domains lack.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..benchmarks.scoring import scorer
from .method import Answer
from .rewarded import Rewarded


class Rlvr(Rewarded):
    """The reward is the benchmark's own score."""

    def rewards(self, answers: Sequence[Answer]) -> list[float]:
        items = [self.demonstrations[answer.item] for answer in answers]
        score = scorer(items, self.config)
        return [score(item, answer.text) for item, answer in zip(items, answers, strict=True)]
