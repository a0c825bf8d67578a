"""How likely the experts' own answers are to a model, and whether it finds them likelier than the same made worse.

A thinking model is asked behind its own greedy thought, as it would answer: one draw of the sum over thoughts, and so a lower
bound of the answer's probability on average (Jensen).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Config
from ..records import Demonstration, Prompt
from ..roles import asking
from ..rollout.models import Speaker
from .corruption import KINDS, corrupt
from .statistics import mean_interval, paired_difference

SAME_LENGTH = tuple(kind for kind in KINDS if kind != "truncated")
"""A broken off answer may be likelier by the token for no merit of its own."""


@dataclass(frozen=True)
class Likelihood:
    """One arm's. experts: of each item's answer, nats a token, its end included. prefers: of each item whose answer could be
    made worse, 1 where the expert's is likelier by the token than that, else 0."""

    experts: list[float]
    prefers: list[float]


def worse_answers(items: Sequence[Demonstration], seed: int, kinds: Sequence[str] = ()) -> list[tuple[str, str] | None]:
    """(kind, text) of each item's answer made worse, the same for every arm; None where nothing takes hold of it."""
    rng, experts, found = random.Random(f"health-{seed}"), [item.answer for item in items], []
    drawn = list(kinds or KINDS)
    for i, item in enumerate(items):
        others = rng.sample(experts, min(8, len(experts)))
        made = corrupt(item.answer, others, rng, [drawn[i % len(drawn)]]) or corrupt(item.answer, others, rng, drawn)
        found.append((made.kind, made.text) if made else None)
    return found


def likelihood(
    speaker: Speaker, items: Sequence[Demonstration], thoughts: Sequence[str | None], config: Config, thinking: bool = True
) -> Likelihood:
    """One arm's, its thoughts given (None: malformed, taken as empty)."""
    worse = worse_answers(items, config.seed, SAME_LENGTH)
    prompts = [asking.policy(speaker, item.question, config, "likelihood", i) for i, item in enumerate(items)]
    if thinking:
        prompts = [speaker.after(prompt, thought or "") for prompt, thought in zip(prompts, thoughts, strict=True)]

    def by_token(asked: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        spoken = [speaker.answer(text) if thinking else speaker.completion(text) for text in texts]
        return [sum(one) / len(one) for one in speaker.engine(config).score(asked, spoken, 1.0)]

    own = by_token(prompts, [item.answer for item in items])
    places = [i for i, one in enumerate(worse) if one]
    other = by_token([prompts[i] for i in places], [worse[i][1] for i in places])
    return Likelihood(own, [float(own[i] > theirs) for i, theirs in zip(places, other, strict=True)])


def compared(found: Mapping[str, Likelihood], resamples: int, seed: int) -> dict[str, Any]:
    """{"logprob": {arm: interval}, "paired": {"candidate-ARM": interval}, "prefers": {arm: interval}}."""
    ours = found["candidate"]
    return {
        "logprob": {arm: mean_interval(one.experts, resamples, seed) for arm, one in found.items()},
        "paired": {
            f"candidate-{arm}": paired_difference(ours.experts, one.experts, resamples, seed)
            for arm, one in found.items()
            if arm != "candidate"
        },
        "prefers": {arm: mean_interval(one.prefers, resamples, seed) for arm, one in found.items() if one.prefers},
    }
