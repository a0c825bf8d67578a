"""The critic's health: its verdicts where the right one is known without a verifier.

An expert's answer beside itself made worse (benchmarks/corruption.py) must be named the expert's; beside itself it must be a
tie. A critic at one half on the policy's answers may mean that the policy is the experts' equal, or that the critic knows
nothing: the two differ here. Nothing is learnt from it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ..benchmarks.likelihood import worse_answers
from ..config import Config
from ..game.rewards import win
from ..records import Demonstration, Outcome
from ..roles.judging import verdicts
from ..rollout.engine import Engine
from ..rollout.models import Speaker


@dataclass(frozen=True)
class HealthSet:
    """The same demonstrations, and the same corruptions, at every look: `probes.health_items` of those held out."""

    config: Config
    held_out: Sequence[Demonstration]

    @cached_property
    def items(self) -> list[Demonstration]:
        """Those looked at, drawn once."""
        wanted = min(self.config.probes.health_items, len(self.held_out))
        return random.Random(f"health-{self.config.seed}").sample(list(self.held_out), wanted)

    @cached_property
    def worse(self) -> list[str | None]:
        """Each item's answer made worse; None where nothing could be done to it."""
        return [made and made[1] for made in worse_answers(self.items, self.config.seed)]

    def accuracy(self, speaker: Speaker, engine: Engine) -> float | None:
        """What the expert's answer gets beside itself made worse, both orders, a tie or an unreadable verdict counting half, so
        that chance is one half whatever the share of ties. Likeliest verdicts. None of nothing to ask."""
        return _told(verdicts(speaker, engine, self.items, self.worse, self.config))

    def look(self, speaker: Speaker, engine: Engine) -> dict[str, float]:
        """health/accuracy: as above. health/tie: share of ties beside itself; left out before a critic that sees one answer
        alone, or may not say tie. Empty of nothing to ask."""
        ties = self.config.raro.tie and self.config.raro.critic == "relativistic"
        same = [item.answer for item in self.items] if ties else []
        said = verdicts(speaker, engine, [*self.items, *self.items[: len(same)]], [*self.worse, *same], self.config)
        of_worse, of_same = said[: len(said) - 2 * len(same)], said[len(said) - 2 * len(same) :]
        found = {"health/accuracy": _told(of_worse)} if of_worse else {}
        return found | ({"health/tie": of_same.count("tie") / len(of_same)} if of_same else {})


def _told(said: Sequence[Outcome]) -> float | None:
    return 1 - sum(map(win, said)) / len(said) if said else None
