"""What a model's critic says of given answers beside the experts': both orders of every pair, one verdict each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..config import Config
from ..game.verdicts import WORDS, outcome, read_verdict
from ..records import Completion, Demonstration, Outcome, Pair, Sampling, Verdict
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from ..rollout.places import Place
from . import asking


def parse_verdict(speaker: Speaker, completion: Completion, config: Config) -> Verdict:
    """The verdict of a critic's completion; a tie is none where the game has no ties."""
    verdict = read_verdict(speaker.text(completion.ids), completion.finish == "stop", config.raro.reasoning)
    return verdict if verdict in words_of(config) else "malformed"


def words_of(config: Config) -> tuple[Verdict, ...]:
    """The words that a verdict may be."""
    return WORDS if config.raro.tie else WORDS[:2]


def verdicts(
    speaker: Speaker,
    engine: Engine,
    items: Sequence[Demonstration],
    answers: Sequence[str | None],
    config: Config,
    temperature: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Two outcomes for each item that has an answer, the expert shown first and second (before an absolute critic: each of the
    two answers alone); none for an item without.
    temperature: 0 asks for the likeliest verdict; that of training, for the one that training met. progress: is told how many
    of how many are written."""
    pairs = [
        Pair(item.question, item.answer, answer, expert_first, 0, i, config.raro.critic == "absolute")
        for i, (item, answer) in enumerate(zip(items, answers, strict=True))
        if answer is not None
        for expert_first in (True, False)
    ]
    prompts = [asking.critic(speaker, pair, config, "judging", i) for i, pair in enumerate(pairs)]
    # The likeliest answer to the same question is the same.
    keys = [i if temperature else prompt.ids for i, prompt in enumerate(prompts)]
    asked = dict(zip(keys, prompts, strict=True))
    sampling = Sampling(temperature, config.rollout.critic_tokens, config.seed, Place.JUDGING)
    written = dict(zip(asked, engine.generate(list(asked.values()), 1, sampling, progress), strict=True)) if asked else {}
    return [outcome(parse_verdict(speaker, written[key][0], config), pair) for key, pair in zip(keys, pairs, strict=True)]


def accuracy(found: Sequence[Outcome]) -> dict[str, float | int | None]:
    """{"accuracy": expert / (expert + policy), None of none decided; "expert", "policy", "tie", "malformed": shares; "n"}."""
    shares = {name: found.count(name) / max(1, len(found)) for name in ("expert", "policy", "tie", "malformed")}
    decided = shares["expert"] + shares["policy"]
    return {"accuracy": shares["expert"] / decided if decided else None} | shares | {"n": len(found)}
