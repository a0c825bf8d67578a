"""What a model's critic says of given answers beside the experts': both orders of every pair, one verdict each."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import Config
from ..game.prompts import critic_messages
from ..game.verdicts import outcome, read_verdict
from ..records import Demonstration, Outcome, Pair, Sampling
from ..rollout.engine import Engine
from ..rollout.models import Speaker

STEP = 2**31 + 2
"""Its own place in the noise's key, apart from every step of the game."""


def verdicts(
    speaker: Speaker,
    engine: Engine,
    items: Sequence[Demonstration],
    answers: Sequence[str | None],
    config: Config,
    temperature: float = 0.0,
) -> list[Outcome]:
    """Two outcomes for each item that has an answer, the expert shown first and second; none for an item without.
    temperature: 0 asks for the likeliest verdict; that of training, for the one that training met."""
    pairs = [
        Pair(item.question, item.answer, answer, expert_first, 0, i)
        for i, (item, answer) in enumerate(zip(items, answers, strict=True))
        if answer is not None
        for expert_first in (True, False)
    ]
    asked = [speaker.prompt(critic_messages(p, config.prompts.critic), "judging", i) for i, p in enumerate(pairs)]
    sampling = Sampling(temperature, config.rollout.critic_tokens, config.seed, STEP)
    written = engine.generate(asked, 1, sampling) if asked else []
    return [
        outcome(read_verdict(speaker.text(completion.ids), completion.finish == "stop"), pair)
        for pair, (completion,) in zip(pairs, written, strict=True)
    ]


def accuracy(found: Sequence[Outcome]) -> dict[str, float | int | None]:
    """{"accuracy": expert / (expert + policy), None of none decided; "expert", "policy", "tie", "malformed": shares; "n"}."""
    shares = {name: found.count(name) / max(1, len(found)) for name in ("expert", "policy", "tie", "malformed")}
    decided = shares["expert"] + shares["policy"]
    return {"accuracy": shares["expert"] / decided if decided else None} | shares | {"n": len(found)}
