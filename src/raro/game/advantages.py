"""Group-relative advantages without the two biases that Dr. GRPO names: no division by the group's deviation, none by
length."""

from __future__ import annotations

from collections.abc import Sequence

ROUNDING = 1e-9
"""Far below what any two verdicts are worth apart, far above what sums of them are off by."""


def centred(rewards: Sequence[float]) -> list[float]:
    """Each reward less the mean of its own group; a group of equal rewards gives zeros, and so no gradient. Equal means
    within ROUNDING, since the mean of equal rewards may be off by that."""
    mean = sum(rewards) / len(rewards) if rewards else 0.0
    return [0.0 if abs(reward - mean) < ROUNDING else reward - mean for reward in rewards]


def leave_one_out(rewards: Sequence[float]) -> list[float]:
    """Each reward less the mean of the others (RLOO, arXiv 2402.14740): a baseline independent of the reward itself, so
    unbiased even where the group's members answer different prompts. A group of one gives zero."""
    n = len(rewards)
    return [0.0] * n if n < 2 else [advantage * n / (n - 1) for advantage in centred(rewards)]
