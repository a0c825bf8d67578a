"""What the critic wrote about a pair, read: the verdict, and what it could have been.

A verdict is one word behind a thought. With `raro.verdict: expected` the word is not left to chance: how probable each of the
three words was after that very thought is computed, both players are paid what they would earn on average, and the critic is
taught by each word with its probability as weight. Same expectation, less noise (Rao-Blackwell): two answers that are equally
good cost or earn nobody anything by the toss of a coin.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ..config import Config
from ..game.verdicts import outcome, together
from ..records import Completion, Outcome, OutcomeProbs, Pair, Prompt, Verdict
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from ..text import split_thought
from .judging import parse_verdict, words_of

LONGEST = 8
"""Tokens that a verdict's word may take."""
RARE = 1e-3
"""A word less probable than this teaches nothing."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One critic rollout, read. probs: of what was said, or could have been. words: the completion with each outcome's
    word at its end."""

    pair: Pair
    prompt: Prompt
    completion: Completion
    verdict: Verdict
    outcome: Outcome
    thought: str
    probs: OutcomeProbs
    words: dict[Outcome, tuple[int, ...]]


def read_all(
    shown: Sequence[Pair],
    asked: Sequence[Prompt],
    written: Sequence[Sequence[Completion]],
    speaker: Speaker,
    engine: Engine,
    config: Config,
) -> list[Judgement]:
    """All completions on each pair, those of a pair together, as `raro.verdict` wants them. engine: the critic's that wrote."""
    found = [
        read(pair, prompt, completion, speaker, config)
        for pair, prompt, completions in zip(shown, asked, written, strict=True)
        for completion in completions
    ]
    return with_expected_verdicts(found, speaker, engine, config) if config.raro.verdict == "expected" else found


def by_question(judged: Sequence[Sequence[Judgement]]) -> list[list[Judgement]]:
    """The verdicts on each question's fresh pairs together; those on replayed pairs, of many questions, in one group."""
    groups: dict[str | None, list[Judgement]] = {}
    for judgement in chain.from_iterable(judged):
        groups.setdefault(judgement.pair.question if judgement.pair.age == 0 else None, []).append(judgement)
    return list(groups.values())


def by_rollout(judged: Sequence[Sequence[Judgement]]) -> dict[int, list[OutcomeProbs]]:
    """What the critic said of each fresh rollout, by its index: the verdicts on its pair; where both orders were judged, what
    the two say together, the n-th verdict of one with the n-th of the other."""
    orders: dict[int, list[list[OutcomeProbs]]] = {}
    for group in judged:
        if group[0].pair.age == 0 and group[0].pair.rollout_id >= 0:
            orders.setdefault(group[0].pair.rollout_id, []).append([j.probs for j in group])
    return {i: list(map(together, *said)) if len(said) == 2 else said[0] for i, said in orders.items()}


def dealt(said: Mapping[int, list[OutcomeProbs]], rng: random.Random) -> dict[int, list[OutcomeProbs]]:
    """What was said of each rollout, dealt out among them at random (a control)."""
    return dict(zip(said, rng.sample(list(said.values()), len(said)), strict=True))


def read(pair: Pair, prompt: Prompt, completion: Completion, speaker: Speaker, config: Config) -> Judgement:
    """A critic's completion as it was said."""
    raw = speaker.text(completion.ids)
    verdict = parse_verdict(speaker, completion, config)
    thought, _ = split_thought(raw) or (raw, "")
    said = outcome(verdict, pair)
    return Judgement(pair, prompt, completion, verdict, said, thought, {said: 1.0}, {said: completion.ids})


def with_expected_verdicts(
    judgements: Sequence[Judgement], speaker: Speaker, engine: Engine, config: Config
) -> list[Judgement]:
    """The same with the chances of each word after its thought; what is malformed, or spelt so that no other word fits its
    place, stays as it was said."""
    words = words_of(config)
    found = {i: other for i, j in enumerate(judgements) if (other := _other_words(j, speaker, words))}
    asked = [(i, name, ids) for i, other in found.items() for name, ids in other.items()]
    start = {i: _shared(list(other.values())) for i, other in found.items()}
    before = [Prompt((*judgements[i].prompt.ids, *ids[: start[i]]), "", 0) for i, _, ids in asked]
    told = engine.score(before, [ids[start[i] :] for i, _, ids in asked], config.rollout.judging_temperature)
    mass: dict[int, dict[Outcome, float]] = {}
    for (i, name, _), logprobs in zip(asked, told, strict=True):
        mass.setdefault(i, {})[name] = math.exp(sum(logprobs))

    def with_chances(i: int, judgement: Judgement) -> Judgement:
        if i not in mass:
            return judgement
        total = sum(mass[i].values())
        probs = {name: m / total for name, m in mass[i].items()}
        return replace(judgement, probs=probs, words={n: ids for n, ids in found[i].items() if probs[n] >= RARE})

    return [with_chances(i, judgement) for i, judgement in enumerate(judgements)]


def _other_words(judgement: Judgement, speaker: Speaker, words: Sequence[Verdict]) -> dict[Outcome, tuple[int, ...]]:
    """The completion with each of the words in the verdict's place; empty where that cannot be had token by token."""
    ids, verdict = judgement.completion.ids, judgement.verdict
    if verdict == "malformed":
        return {}
    end = len(ids) - 1  # the end token
    for start in range(end - 1, max(-1, end - 1 - LONGEST), -1):
        said = speaker.tokenizer.decode(ids[start:end])
        if said.strip() != verdict:
            continue
        spelt = {word: speaker.tokenizer.encode(said.replace(verdict, word), add_special_tokens=False) for word in words}
        if tuple(spelt[verdict]) != ids[start:end]:
            return {}
        return {outcome(word, judgement.pair): (*ids[:start], *spelt[word], ids[end]) for word in words}
    return {}


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    return next((k for k, column in enumerate(zip(*sequences, strict=False)) if len(set(column)) > 1), 0)
