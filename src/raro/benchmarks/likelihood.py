"""How likely the experts' own answers are to a model, and whether it finds them likelier than the same made worse.

A thinking model is asked behind its own greedy thought, as it would answer: one draw of the sum over thoughts, and so a lower
bound of the answer's probability on average (Jensen).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..records import Demonstration
from ..roles import asking
from .corruption import KINDS, corrupt
from .statistics import mean_interval, paired_with_others

if TYPE_CHECKING:
    from ..rollout.models import Speaker

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


def scoring(
    speaker: Speaker, items: Sequence[Demonstration], thoughts: Sequence[str | None], config: Config, thinking: bool
) -> Callable[[Sequence[tuple[int, str]]], list[float]]:
    """Gives (place of an item, answer to it) its log-probability by the token, its end included. A thinking model is asked
    behind its own thought (None: malformed, taken as empty)."""
    prompts = [asking.policy(speaker, item.question, config, "likelihood", i) for i, item in enumerate(items)]
    if thinking:
        prompts = [speaker.after(prompt, thought or "") for prompt, thought in zip(prompts, thoughts, strict=True)]

    def by_token(answers: Sequence[tuple[int, str]]) -> list[float]:
        spoken = [speaker.answer(text) if thinking else speaker.completion(text) for _, text in answers]
        scored = speaker.engine(config).score([prompts[i] for i, _ in answers], spoken, 1.0)
        return [sum(one) / len(one) for one in scored]

    return by_token


def likelihood(
    speaker: Speaker, items: Sequence[Demonstration], thoughts: Sequence[str | None], config: Config, thinking: bool = True
) -> Likelihood:
    """One arm's, its thoughts given."""
    worse = worse_answers(items, config.seed, SAME_LENGTH)
    by_token = scoring(speaker, items, thoughts, config, thinking)
    own = by_token([(i, item.answer) for i, item in enumerate(items)])
    places = [i for i, one in enumerate(worse) if one]
    other = by_token([(i, worse[i][1]) for i in places])
    return Likelihood(own, [float(own[i] > theirs) for i, theirs in zip(places, other, strict=True)])


def compared(found: Mapping[str, Likelihood], resamples: int, seed: int) -> dict[str, Any]:
    """{"logprob": {arm: interval}, "paired": {"candidate-ARM": interval}, "prefers": {arm: interval}}."""
    experts = {arm: one.experts for arm, one in found.items()}
    return {
        "logprob": {arm: mean_interval(own, resamples, seed) for arm, own in experts.items()},
        "paired": paired_with_others(experts, resamples, seed),
        "prefers": {arm: mean_interval(one.prefers, resamples, seed) for arm, one in found.items() if one.prefers},
    }
