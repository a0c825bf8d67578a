"""The table of rewards (docs/method.md, confidence .95): relativistic, zero-sum but for the tie.

| the critic names | critic's reward | policy's reward |
| the expert       | 1               | 0               |
| the policy       | 0               | 1               |
| tie              | tau_crit        | tau_pol         |
| nothing readable | 0               | left out of the policy's mean |
"""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Chances


def critic_reward(verdict: Chances, tau_crit: float) -> float:
    """The critic's reward for one verdict, in [0, 1]; the mean over its chances where it is known by them."""
    value = {"expert": 1.0, "tie": tau_crit}
    return sum(p * value.get(outcome, 0.0) for outcome, p in verdict.items())


def policy_reward(verdicts: Sequence[Chances], tau_pol: float) -> float | None:
    """The policy's reward for one answer, in [0, 1]: the mean over the readable verdicts on its fresh pair; None where the
    critic left no readable one, so that the answer was never judged."""
    value = {"policy": 1.0, "tie": tau_pol}
    judged = [sum(p * value.get(outcome, 0.0) for outcome, p in chances.items()) for chances in verdicts if readable(chances)]
    return sum(judged) / len(judged) if judged else None


def readable(chances: Chances) -> bool:
    """Whether a verdict said anything."""
    return "malformed" not in chances
