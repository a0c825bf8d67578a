"""One arm on one split: answers written, read and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..config import Config
from ..game.prompts import policy_messages
from ..records import Completion, Demonstration, Sampling
from ..rollout.models import Speaker
from ..text import normalise
from . import countdown
from .held_out import token_f1

Scorer = Callable[[Demonstration, str], float]


def countdown_score(item: Demonstration, answer: str) -> float:
    """1 where the expression reaches the target with each number used once, else 0."""
    problem = countdown.read_question(item.question)
    return float(problem is not None and countdown.correct(problem, answer))


SCORERS: dict[str, Scorer] = {"countdown": countdown_score, "held_out": lambda item, answer: token_f1(answer, item.answer)}


CHECKED = ("countdown",)
"""Benchmarks whose score says right or wrong."""


@dataclass(frozen=True)
class Measured:
    """One arm's answers. scores: one per item, the mean over its samples. answers, first: answer and score of each item's first
    sample, '' and 0 where malformed. well_formed: share of rollouts that could be read. tokens: written in all."""

    scores: list[float]
    answers: list[str]
    first: list[float]
    well_formed: float
    tokens: int


def measure(
    speaker: Speaker,
    items: Sequence[Demonstration],
    config: Config,
    temperature: float,
    samples: int = 1,
    thinking: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Answers to every item at this temperature (0: greedy, one sample), scored. A malformed answer scores 0.

    thinking: False for a model that was taught to answer at once; its whole completion is the answer. The noise is keyed by
    the item, so that two arms are compared on the same luck.
    """
    asked = [
        speaker.prompt(policy_messages(item.question, config.prompts.policy), "evaluation", i) for i, item in enumerate(items)
    ]
    sampling = Sampling(temperature, config.rollout.policy_tokens, config.seed, 0)
    written = speaker.engine(config).generate(asked, samples if temperature else 1, sampling, progress)
    score = SCORERS[config.evaluation.benchmark]
    scores, answers, first, readable, tokens = [], [], [], 0, 0
    for item, completions in zip(items, written, strict=True):
        read = [_answer(speaker, c, thinking) for c in completions]
        readable += sum(answer is not None for answer in read)
        tokens += sum(len(c.ids) for c in completions)
        given = [0.0 if answer is None else score(item, answer) for answer in read]
        scores.append(sum(given) / len(read))
        answers.append(read[0] or "")
        first.append(given[0])
    return Measured(scores, answers, first, readable / max(1, sum(map(len, written))), tokens)


def _answer(speaker: Speaker, completion: Completion, thinking: bool) -> str | None:
    if thinking:
        parts = speaker.read(completion)
        return parts[1] if parts else None
    return (normalise(speaker.text(completion.ids)) or None) if completion.finish == "stop" else None
