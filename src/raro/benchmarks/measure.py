"""One arm on one split: answers written, read and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..config import Config
from ..records import Completion, Demonstration, Sampling
from ..roles import asking
from ..rollout.models import Speaker
from ..text import normalise
from .scoring import Scorer, scorer


@dataclass(frozen=True)
class Measured:
    """One arm's answers. scores: one per item, the mean over its samples. answers, first: answer and score of each item's first
    sample, '' and 0 where malformed. well_formed: share of rollouts that could be read. tokens: written in all. each: one list
    per item, its samples' scores. thoughts: of each item's first sample, None where malformed or without one."""

    scores: list[float]
    answers: list[str]
    first: list[float]
    well_formed: float
    tokens: int
    each: list[list[float]]
    thoughts: list[str | None] = field(default_factory=list)


def measure(
    speaker: Speaker,
    items: Sequence[Demonstration],
    config: Config,
    temperature: float,
    samples: int = 1,
    thinking: bool = True,
    progress: Callable[[int, int], None] | None = None,
    score: Scorer | None = None,
) -> Measured:
    """Answers to every item at this temperature (0: greedy, one sample), scored. A malformed answer scores 0.

    thinking: False for a model that was taught to answer at once; its whole completion is the answer. The noise is keyed by
    the item, so that two arms are compared on the same luck. score: `scorer` of these items, where it was made before.
    """
    asked = [asking.policy(speaker, item.question, config, "evaluation", i) for i, item in enumerate(items)]
    sampling = Sampling(temperature, config.rollout.policy_tokens, config.seed, 0)
    written = speaker.engine(config).generate(asked, samples if temperature else 1, sampling, progress)
    read = [[_answer(speaker, c, thinking) for c in completions] for completions in written]
    score = score or scorer(items, config)
    each = [
        [0.0 if answer is None else score(item, answer) for answer in answers]
        for item, answers in zip(items, read, strict=True)
    ]
    return Measured(
        scores=[sum(scores) / len(scores) for scores in each],
        answers=[answers[0] or "" for answers in read],
        first=[scores[0] for scores in each],
        well_formed=sum(answer is not None for answers in read for answer in answers) / max(1, sum(map(len, read))),
        tokens=sum(len(c.ids) for completions in written for c in completions),
        each=each,
        thoughts=[_thought(speaker, completions[0]) if thinking else None for completions in written],
    )


def _thought(speaker: Speaker, completion: Completion) -> str | None:
    parts = speaker.read(completion)
    return parts[0] if parts else None


def _answer(speaker: Speaker, completion: Completion, thinking: bool) -> str | None:
    if thinking:
        parts = speaker.read(completion)
        return parts[1] if parts else None
    return (normalise(speaker.text(completion.ids)) or None) if completion.finish == "stop" else None
