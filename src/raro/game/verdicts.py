"""What the critic said, and what it means for the two players."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

from ..records import Outcome, OutcomeProbs, Pair, Verdict
from ..text import split_thought

WORDS: tuple[Verdict, ...] = ("first", "second", "tie")


def read_verdict(text: str, finished: bool, reasoned: bool = True) -> Verdict:
    """The verdict of a critic's completion: the one word after its thought, anything else is malformed.

    text: the decoded completion. finished: False where it ran out of budget, which is malformed too. reasoned: whether a
    thought is asked for; without one the whole completion is the verdict (an ablation of the paper).
    """
    if not finished:
        return "malformed"
    if reasoned:
        parts = split_thought(text)
        if parts is None:
            return "malformed"
        text = parts[1]
    word = text.strip().strip(".").lower()
    return word if word in WORDS else "malformed"


def consistent(one: Outcome, other: Outcome) -> Outcome:
    """What two verdicts on one pair, the expert first and second, say together: what both say; a tie where they contradict each
    other; the readable one where the other is not."""
    if "malformed" in (one, other):
        return other if one == "malformed" else one
    return one if one == other else "tie"


def together(one: OutcomeProbs, other: OutcomeProbs) -> OutcomeProbs:
    """The same of two verdicts that are known by their chances only."""
    joint: defaultdict[Outcome, float] = defaultdict(float)
    for (a, p), (b, q) in product(one.items(), other.items()):
        joint[consistent(a, b)] += p * q
    return dict(joint)


def outcome(verdict: Verdict, pair: Pair) -> Outcome:
    """Whom the verdict names: the expert, the policy, neither (tie), or nothing readable."""
    if verdict in ("tie", "malformed"):
        return verdict
    return "expert" if (verdict == "first") == pair.expert_first else "policy"
