"""What is measured beside the game every so many steps (config.Probes), and never learnt from.

Nothing here draws from the noise of training, whose key names role and step, and the optimiser is not touched: a run with
probes has the weights of one without, bit by bit. The time they take is logged as time/probes, in seconds.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config import Config
from ..game.rewards import EVEN
from ..learning.losses import Loss
from ..learning.update import Learner, Stream
from ..records import Demonstration, Sample
from ..roles.judgements import Judgement
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from .health import HealthSet
from .matrix import against_each, written
from .retest import groups, retest_share, retested

RETESTS = 8
"""Retests in a row from the step where the policy starts to learn: what goes wrong there goes wrong at once (O)."""


@dataclass
class Probes:
    """The probes of one run. seconds: what they took in the step that is being made. older: of where the policy started
    to play and of each snapshot since, {"step", "answers", "rival" (game/older, or None)}."""

    config: Config
    speaker: Speaker
    held_out: Sequence[Demonstration]
    seconds: float = field(default=0.0, init=False)
    older: list[dict[str, Any]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.health_set = HealthSet(self.config, self.held_out)

    def health(self, critic: Engine, step: int) -> dict[str, float]:
        """The critic's health (probes/health.py), where a look is due. step: counted from 0."""
        if not _due(self.config.probes.health_every, step):
            return {}
        started = time.perf_counter()
        found = self.health_set.look(self.speaker, critic)
        self.seconds += time.perf_counter() - started
        return found

    def retest(
        self,
        critic: Engine,
        judged: Sequence[Sequence[Judgement]],
        judged_as: Sequence[int],
        earned: Sequence[float | None],
        step: int,
        opened: int | None,
    ) -> dict[str, float]:
        """game/retest: of what the best and the worst paid answers are worth apart when the critic is asked again, the part
        that goes to the best paid (probes/retest.py), a lottery at one half; game/retested: over how many questions. opened:
        the step after which the policy began to play; None: with the first. Called where it plays; empty where no look is due,
        or nothing to compare."""
        every, played = self.config.probes.retest_every, step - (-1 if opened is None else opened)
        if not every or (played > RETESTS and not _due(every, step)):
            return {}
        started = time.perf_counter()
        paid = groups(judged, judged_as, earned, self.config.raro.rollouts)
        found = retested(self.speaker, critic, paid, self.config, step)
        self.seconds += time.perf_counter() - started
        share = retest_share(found)
        return {} if share is None else {"game/retest": share, "game/retested": float(len(found))}

    def look_back(self, policy: Engine, critic: Engine, step: int) -> dict[str, float]:
        """game/older: what the best older snapshot's answers get beside the present policy's, to the same held-out questions,
        in the present critic's eyes, ties half. Above .5 the policy was better before: it goes in a circle, or down. Called
        where a snapshot is taken; empty at the first."""
        started = time.perf_counter()
        items = self.held_out[: self.config.probes.older_items]
        answers = written(self.speaker, policy, items, self.config) if items else []
        older = self.older if items else []
        got = against_each(self.speaker, critic, items, [one["answers"] for one in older], [answers] * len(older), self.config)
        rival = best_of(got) if got else None
        self.older.append({"step": step + 1, "answers": answers, "rival": rival})
        self.seconds += time.perf_counter() - started
        return {} if rival is None else {"game/older": rival}

    def stalled(self) -> int:
        """Snapshots in a row, the last one included, that were no better than an older one."""
        better = [i for i, one in enumerate(self.older) if one["rival"] is None or one["rival"] < EVEN]
        return len(self.older) - 1 - better[-1] if better else 0

    def angle(
        self, learner: Learner, samples: Sequence[Sample], streams: Mapping[str, Stream], loss: Loss, step: int
    ) -> dict[str, float]:
        """learn/role_cosine: cosine between the gradients that the update's streams would take each for itself, over some
        samples of each; STREAM/grad_norm: their norms. Below 0 what one role learns undoes what the other does. Empty where
        none is due, or only one stream has a gradient."""
        if not _due(self.config.probes.gradients_every, step):
            return {}
        started = time.perf_counter()
        some = {name: self._some(samples, name, stream, step) for name, stream in streams.items()}
        gradients = {name: learner.gradient(own, streams, loss) for name, own in some.items() if own}
        norms = {f"{name}/grad_norm": math.sqrt(learner.dot(gradient, gradient)) for name, gradient in gradients.items()}
        cosine = {}
        if len(norms) == 2 and (product := math.prod(norms.values())):
            cosine["learn/role_cosine"] = learner.dot(*gradients.values()) / product
        self.seconds += time.perf_counter() - started
        return norms | cosine

    def taken(self) -> dict[str, float]:
        """time/probes: seconds since this was asked last; empty for none."""
        seconds, self.seconds = self.seconds, 0.0
        return {"time/probes": seconds} if seconds else {}

    def _some(self, samples: Sequence[Sample], name: str, stream: Stream, step: int) -> list[Sample]:
        """At most `probes.gradient_samples` of a stream's samples that carry a gradient, in their order."""
        own = [s for s in samples if s.stream == name and s.completion_ids and s.weight and (s.advantage or stream.kl)]
        drawn = random.Random(f"gradients-{self.config.seed}-{step}").sample(
            range(len(own)), min(len(own), self.config.probes.gradient_samples)
        )
        return [own[i] for i in sorted(drawn)]


def best_of(got: Sequence[Sequence[float]]) -> float:
    """What the best of several gets a question, 0 to 1: each half of the questions is asked about the one that is best on the
    other half, since the best of many is best by luck as well on the questions that it was chosen by. got: [which][question],
    some of each."""
    halves = slice(0, None, 2), slice(1, None, 2)
    total = sum(sum(max(got, key=lambda one: sum(one[other]))[half]) for half, other in (halves, halves[::-1]))
    return total / len(got[0])


def _due(every: int, step: int) -> bool:
    """Whether it is time: after the first step, and after every so many."""
    return every > 0 and (step == 0 or (step + 1) % every == 0)
