"""Supervised fine-tuning: the plainest rival, SFT on (question, answer), without a thought; and the loop that the warm start
shares with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..config import Config
from ..learning.losses import cross_entropy
from ..learning.update import Learner, Optimisation, Stream
from ..records import Demonstration, Sample
from ..roles import asking
from ..rollout.models import Speaker
from .method import Method

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
        half=config.base.dtype == "bfloat16",
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
        prompt = asking.policy(speaker, item.question, config, "policy", group)
        examples.append(Sample(prompt.ids, speaker.completion(item.answer), (), 1.0, 1.0, "policy"))
    return examples


@dataclass
class Sft(Method):
    """The rival on the loop: each step one update on Q demonstrations. Its tokens are those it was taught."""

    examples: list[Sample] = field(init=False)
    thinks = False

    @classmethod
    def needs_reference(cls, config: Config) -> bool:
        return False

    def __post_init__(self) -> None:
        self.examples = answer_examples(self.speaker, self.demonstrations, self.config)

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """One update on the next Q demonstrations."""
        self.begin()
        samples = [self.examples[item] for item in self.draw(step)]
        self.written += sum(len(sample.completion_ids) for sample in samples)
        return self.update(samples, {"policy": self.stream("policy", 1.0, 0.0)}, step, cross_entropy), []
