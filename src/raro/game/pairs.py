"""Pairs of an expert's and the policy's answer, in balanced order.

Order is balanced by construction, not by chance: of a step's fresh pairs half show the expert first, and of its replayed ones;
what the critic is trained on is a random part of them. A fixed order is learnt as a shortcut; an unbalanced one biases the
policy's reward.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from ..records import Pair
from .replay import Replayed


def balanced_order(n: int, seed: int, step: int, what: str) -> list[bool]:
    """n booleans, as many True as False (one more of either where n is odd), shuffled by (seed, step, what)."""
    rng = random.Random(f"order-{seed}-{step}-{what}")
    order = [i % 2 == 0 for i in range(n)]
    if n % 2 and rng.random() < 0.5:
        order = [not x for x in order]
    rng.shuffle(order)
    return order


def fresh_pairs(
    questions: Sequence[str], experts: Sequence[str], answers: Sequence[str | None], seed: int, step: int, both: bool = False
) -> list[Pair]:
    """One pair per well-formed policy answer, or with `both` one in each order; None (malformed, never shown to the critic)
    gives none.

    questions, experts, answers: one entry per rollout; the entry's index becomes the pair's rollout_id.
    """
    shown = [i for i, answer in enumerate(answers) if answer is not None]
    order = balanced_order(len(shown), seed, step, "fresh")
    return [
        Pair(questions[i], experts[i], answers[i], expert_first, 0, i)
        for i, first in zip(shown, order, strict=True)
        for expert_first in ((first, not first) if both else (first,))
    ]


def single_answer_pairs(fresh: Sequence[Pair]) -> list[Pair]:
    """What the absolute critic is asked instead: each answer alone: the policy's (as the first of a pair in which the expert's
    would be second), and the expert's, whose verdict pays no rollout."""
    return [
        replace(pair, expert_first=expert_first, rollout_id=-1 if expert_first else pair.rollout_id, alone=True)
        for pair in fresh
        for expert_first in (False, True)
    ]


def replayed_pairs(
    entries: Sequence[Replayed], questions: Sequence[str], experts: Sequence[str], seed: int, step: int, alone: bool = False
) -> list[Pair]:
    """One pair per replayed answer. entries, questions, experts: one of each per pair. alone: half of them show the expert's
    answer only, half the replayed one."""
    order = balanced_order(len(entries), seed, step, "replay")
    return [
        Pair(question, expert, entry.answer, first, step - entry.step, -1, alone)
        for entry, question, expert, first in zip(entries, questions, experts, order, strict=True)
    ]
