"""A similarity reward: how like the expert's answer is this one, by words and signs (F1) and their order (ROUGE-L), half each.

The plainest reward that needs no verifier and no critic. It knows one right answer and pays for its words, not for being right.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..benchmarks.held_out import likeness
from .method import Answer
from .rewarded import Rewarded


class Similarity(Rewarded):
    """Mean of F1 and ROUGE-L to the demonstration."""

    def rewards(self, answers: Sequence[Answer]) -> list[float]:
        experts = [self.demonstrations[a.item].answer for a in answers]
        return [likeness(a.text, expert) for a, expert in zip(answers, experts, strict=True)]
