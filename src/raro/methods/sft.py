"""Supervised fine-tuning: the plainest rival, SFT on (question, answer), and the loop that the warm start shares with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ..config import Config
from ..game.prompts import policy_messages
from ..learning.losses import cross_entropy
from ..learning.update import Learner, Optimisation, Stream
from ..records import Demonstration, Sample
from ..rollout.models import Speaker

Report = Callable[[int, int, dict[str, float]], None]
"""Called after each update with (done, all, figures)."""


def supervise(
    speaker: Speaker,
    examples: Sequence[Sample],
    config: Config,
    steps: int,
    batch: int,
    learning_rate: float,
    report: Report | None = None,
) -> None:
    """`steps` updates of `batch` examples each, in whole shuffled epochs, learning rate falling linearly to a tenth."""
    settings = Optimisation(
        learning_rate=learning_rate,
        batch_tokens=config.resources.batch_tokens,
        layout=config.resources.packing,
        temperature=1.0,
    )
    learner = Learner(speaker.model, None, settings, speaker.pad_id)
    streams = {stream: Stream() for stream in sorted({s.stream for s in examples})}
    rng, queue = random.Random(f"supervise-{config.seed}"), []
    for step in range(steps):
        while len(queue) < batch:
            queue += rng.sample(range(len(examples)), len(examples))
        taken, queue = queue[:batch], queue[batch:]
        rate = learning_rate * (1 - 0.9 * step / max(1, steps - 1))
        figures = learner.update([examples[i] for i in taken], streams, cross_entropy, rate)
        if report:
            report(step + 1, steps, figures)


def answer_examples(speaker: Speaker, demonstrations: Sequence[Demonstration], config: Config) -> list[Sample]:
    """(question, expert's answer) without a thought, as plain SFT sees them."""
    examples = []
    for group, item in enumerate(demonstrations):
        prompt = speaker.prompt(policy_messages(item.question, config.prompts.policy), "policy", group)
        examples.append(Sample(prompt.ids, speaker.completion(item.answer), (), 1.0, 1.0, "policy"))
    return examples
