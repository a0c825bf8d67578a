"""The table of rewards (docs/algorithm.md, confidence .95): relativistic, zero-sum but for the tie.

| the critic names | critic's reward | policy's reward |
| the expert       | 1               | 0               |
| the policy       | 0               | 1               |
| tie              | tau_crit        | tau_pol         |
| nothing readable | 0               | left out of the policy's mean |
"""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Outcome


def critic_reward(outcome: Outcome, tau_crit: float) -> float:
    """The critic's reward for one verdict, in [0, 1]."""
    return {"expert": 1.0, "policy": 0.0, "tie": tau_crit, "malformed": 0.0}[outcome]


def policy_reward(outcomes: Sequence[Outcome], tau_pol: float) -> float | None:
    """The policy's reward for one answer, in [0, 1]: the mean over the readable verdicts on its fresh pair; None where the
    critic left no readable one, so that the answer was never judged."""
    value = {"expert": 0.0, "policy": 1.0, "tie": tau_pol}
    judged = [value[o] for o in outcomes if o != "malformed"]
    return sum(judged) / len(judged) if judged else None
