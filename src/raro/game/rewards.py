"""The table of rewards (docs/method.md, confidence .95): relativistic, zero-sum but for the tie.

| the critic names | critic's reward | policy's reward |
| the expert       | 1               | 0               |
| the policy       | 0               | 1               |
| tie              | tau_crit        | tau_pol         |
| nothing readable | 0               | left out of the policy's mean |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import Outcome, OutcomeProbs

EVEN = 0.5
"""What a tie is worth in a win rate."""


def critic_reward(verdict: OutcomeProbs, tau_crit: float) -> float:
    """The critic's reward for one verdict, in [0, 1]; the mean over its chances where it is known by them."""
    return _mean(verdict, {"expert": 1.0, "tie": tau_crit})


def policy_reward(verdicts: Sequence[OutcomeProbs], tau_pol: float, ceiling: float = 1.0) -> float | None:
    """The policy's reward for one answer, in [0, 1]: the mean over the readable verdicts on its fresh pair, none of which pays
    more than the ceiling; None where the critic left no readable one, so that the answer was never judged. An expected
    verdict is held to the ceiling by its mean, not word by word, which would pay less."""
    readable = [verdict for verdict in verdicts if "malformed" not in verdict]
    judged = [min(ceiling, _mean(verdict, {"policy": 1.0, "tie": tau_pol})) for verdict in readable]
    return sum(judged) / len(judged) if judged else None


def win(outcome: Outcome) -> float:
    """What one verdict is worth to the policy's answer in a win rate: a tie and an unreadable verdict are half a win."""
    return {"policy": 1.0, "expert": 0.0}.get(outcome, EVEN)


def _mean(verdict: OutcomeProbs, value: Mapping[Outcome, float]) -> float:
    return sum(p * value.get(outcome, 0.0) for outcome, p in verdict.items())
