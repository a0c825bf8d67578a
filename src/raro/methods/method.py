"""What every method on the loop shares: questions drawn, answers written and read, group-relative samples, one update.

A method is one file: a class with `step`, and whatever state it keeps between steps. docs/methods.md shows how to add one.
Dimensions: Q questions a step, K rollouts each.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

import torch

from ..config import Config
from ..game import advantages
from ..learning.checkpoints import Part
from ..learning.losses import Loss, importance_weighted, on_policy, policy_gradient
from ..learning.update import Learner, Optimisation, Stream
from ..records import Completion, Demonstration, Prompt, Sample, Sampling
from ..roles import asking
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from .selection import Alarmed, Selection, Snapshots, Tick

FIGURES = ("tokens", "tokens_per_second", "loss", "grad_norm", "padding")
"""What the learner tells of an update as a whole; shown as learn/NAME."""
ROUNDING = 1e-9
"""By how much a product of progress and marks may fall short of the whole number that it is: 29 / 100 * 100 is 28.999..."""


Baseline = Callable[[Sequence[float]], list[float]]
"""Rewards of a group -> their advantages."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One policy rollout, read. text, thought: None and the raw text where it is malformed."""

    item: int
    prompt: Prompt
    completion: Completion
    text: str | None
    thought: str


def alike(answers: Sequence[Answer]) -> list[int]:
    """For each rollout the first that gave the same answer to its question, word for word."""
    first: dict[tuple[int, str | None], int] = {}
    return [first.setdefault((answer.item, answer.text), i) for i, answer in enumerate(answers)]


class Written(Protocol):
    """A rollout of either role."""

    prompt: Prompt
    completion: Completion


@dataclass
class Method:
    """A method's state between steps: what a checkpoint must hold beside weights and optimiser.

    damping: what a guard multiplies the learning rate by (steps/guarding.py).
    written: rollout tokens of all roles so far, the currency in which methods are compared. thinks: whether its model answers
    after a thought; one that was taught to answer at once does not. snapshots:
    tells the (step, file) of the weights kept so far. held_out: the dev split, for probes and selection; never learnt from.
    """

    config: Config
    speaker: Speaker
    engine: Engine
    learner: Learner
    demonstrations: Sequence[Demonstration]
    written: int = field(default=0, init=False)
    damping: float = field(default=1.0, init=False)
    _clock: list = field(default_factory=lambda: [0, 0.0], init=False, repr=False)  # tokens written in this step, and seconds
    snapshots: Callable[[], Sequence[tuple[int, Path]]] = field(default=tuple)
    held_out: Sequence[Demonstration] = field(default=())
    thinks: ClassVar[bool] = True

    def step(self, step: int) -> tuple[dict[str, float], list[dict]]:
        """One step and its update. Returns its figures, and judged pairs to be looked at where the method has any."""
        raise NotImplementedError

    def progress(self, step: int) -> float:
        """How much of the training lies behind before `step`, 0 to 1: of its steps, or of its tokens where they end first."""
        settings = self.config.raro
        return max(step / settings.steps, self.written / settings.tokens if settings.tokens else 0.0)

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to be gained, before all steps are made."""
        return False

    def draw(self, step: int) -> list[int]:
        """Q demonstrations: whole shuffled epochs, one after another, so that the place in the data follows from the step
        alone."""
        n, start = len(self.demonstrations), step * self.config.raro.questions
        epochs: dict[int, list[int]] = {}
        for position in range(start, start + self.config.raro.questions):
            if position // n not in epochs:
                epochs[position // n] = random.Random(f"epoch-{self.config.seed}-{position // n}").sample(range(n), n)
        return [epochs[p // n][p % n] for p in range(start, start + self.config.raro.questions)]

    def answer(self, items: Sequence[int], step: int) -> list[Answer]:
        """K policy rollouts for each question, read: Q * K answers, those of a question together."""
        asked = [
            asking.policy(self.speaker, self.demonstrations[item].question, self.config, "policy", group)
            for group, item in enumerate(items)
        ]
        completions = self.write(asked, self.config.raro.rollouts, "policy", step)
        answers = []
        for item, prompt, completion in ((i, p, c) for i, p, cs in zip(items, asked, completions, strict=True) for c in cs):
            thought, text = self.speaker.read(completion) or (self.speaker.text(completion.ids), None)
            answers.append(Answer(item, prompt, completion, text, thought))
        return answers

    def write(
        self, asked: Sequence[Prompt], n: int, role: str, step: int, engine: Engine | None = None
    ) -> list[list[Completion]]:
        """n completions for each prompt, by this method's own engine or another; counts tokens and time."""
        started = time.perf_counter()
        completions = (engine or self.engine).generate(asked, n, self._sampling(role, step)) if asked else []
        tokens = sum(len(c.ids) for group in completions for c in group)
        self.written += tokens
        self._clock[0] += tokens
        self._clock[1] += time.perf_counter() - started
        return completions

    def policy_samples(self, answers: Sequence[Answer], earned: Sequence[float | None]) -> list[Sample]:
        """The policy's stream: what each answer earned, less the mean over its question's answers."""
        k = self.config.raro.rollouts
        groups = [slice(i, i + k) for i in range(0, len(answers), k)]
        return [sample for group in groups for sample in self.centred(answers[group], earned[group], "policy")]

    def centred(
        self, group: Sequence[Written], earned: Sequence[float | None], stream: str, baseline: Baseline = advantages.centred
    ) -> list[Sample]:
        """Samples with group-relative advantages; None (filtered, or never judged) has weight 0 and no part in the mean."""
        centred = iter(baseline([reward for reward in earned if reward is not None]))
        return [
            Sample(
                member.prompt.ids,
                member.completion.ids,
                member.completion.logprobs,
                0.0 if reward is None else next(centred),
                0.0 if reward is None else 1.0,
                stream,
            )
            for member, reward in zip(group, earned, strict=True)
        ]

    def paid(self, answers: Sequence[Answer], rewards: Sequence[float | None]) -> list[float | None]:
        """What each answer earns: its reward, 0 where it is malformed, None where it is filtered. rewards: of those with a
        text, in order."""
        rewarded = iter(rewards)
        earned = [0.0 if answer.text is None else next(rewarded) for answer in answers]
        return [None if self.filtered(answer) else reward for answer, reward in zip(answers, earned, strict=True)]

    def filtered(self, written: Written) -> bool:
        """Whether an over-long rollout is left out of the gradient."""
        return self.config.raro.overlong == "filter" and written.completion.finish == "length"

    def begin(self) -> None:
        """Starts the clock of a step."""
        self._clock = [0, 0.0]

    def update(
        self,
        samples: Sequence[Sample],
        streams: Mapping[str, Stream],
        step: int,
        loss: Loss | None = None,
        learner: Learner | None = None,
    ) -> dict[str, float]:
        """The step's update (or updates), and the figures that every method has. loss: the policy gradient unless given.
        learner: another than the policy's."""
        settings = self.config.raro
        rate = learning_rate(
            settings.learning_rate * self.damping, step, self.progress(step), settings.lr_warmup, settings.decay
        )
        loss = loss or self.loss()
        for _ in range(settings.updates):
            learned = (learner or self.learner).update(samples, streams, loss, rate)
        figures = {f"learn/{name}" if name in FIGURES else name: value for name, value in learned.items()}
        tokens, seconds = self._clock
        speed = {"engine/generate_tokens_per_second": tokens / seconds} if tokens else {}
        return figures | speed | {"learn/rate": rate, "game/written": float(self.written)}

    def loss(self) -> Loss:
        """The policy gradient. Where each rollout is learnt from once it needs no old log-probabilities, but to correct for
        another engine's arithmetic."""
        settings, cap = self.config.raro, self.config.rollout.importance_cap
        if settings.updates > 1:
            return policy_gradient(settings.clip_low, settings.clip_high)
        return importance_weighted(on_policy, cap) if cap else on_policy

    def stream(self, role: str, coefficient: float, kl: float) -> Stream:
        """How a role's samples enter the update."""
        sampling = self._sampling(role, 0)
        budget = sampling.max_new_tokens if self.config.raro.normalise == "constant" else 0
        return Stream(coefficient=coefficient, kl=kl, budget=budget, temperature=sampling.temperature)

    @property
    def plays_from(self) -> int | None:
        """The first step, counted from 1, in which the policy learns from what it is paid; None: it still waits."""
        return 1

    @property
    def gate_opened(self) -> int | None:
        """The step, counted from 0, after which a gate opened for the policy; None where there was none, or it stayed shut."""
        return None

    @classmethod
    def needs_reference(cls, config: Config) -> bool:
        """Whether anything is measured to, or judged by, the model as it was before training."""
        return config.raro.kl_pol > 0

    def select(
        self, snapshots: Snapshots, held_out: Sequence[Demonstration], progress: Tick = None, alarmed: Alarmed = None
    ) -> Selection | None:
        """Chooses the candidate among the snapshots and leaves the model with it. alarmed: since when something may be
        wrong. None: the last step's it is."""
        return None

    def engine_on(self, model: torch.nn.Module) -> Engine:
        """An engine like the policy's on another model of its kind."""
        return replace(self.speaker, model=model).engine(self.config)

    def beside(self) -> dict[str, Part]:
        """What a checkpoint must hold beside the model and its optimiser, by name."""
        return {}

    def state(self) -> dict:
        """The method's state as plain JSON."""
        return {"written": self.written}

    def restore(self, state: dict) -> None:
        self.written = state["written"]

    def _sampling(self, role: str, step: int) -> Sampling:
        rollout = self.config.rollout
        if role == "critic":
            return Sampling(rollout.judging_temperature, rollout.critic_tokens, self.config.seed, step)
        return Sampling(rollout.temperature, rollout.policy_tokens, self.config.seed, step)


def optimisation_of(config: Config) -> Optimisation:
    """How the settings ask for updates of the loop."""
    return Optimisation(
        learning_rate=config.raro.learning_rate,
        weight_decay=config.raro.weight_decay,
        max_grad_norm=config.raro.max_grad_norm,
        batch_tokens=config.resources.batch_tokens,
        layout=config.resources.packing,
        half=config.base.dtype == "bfloat16",
    )


def crossed_mark(before: float, now: float, marks: int) -> bool:
    """Whether training went past one of `marks` even marks on its way, the last of which is its end."""
    return math.floor(min(1.0, now) * marks + ROUNDING) > math.floor(before * marks + ROUNDING)


def learning_rate(peak: float, step: int, progress: float, warmup: int, decay: str) -> float:
    """The learning rate at `step`: linear warm-up, then constant or linear to a tenth of the peak. progress: 0 to 1."""
    rate = peak * min(1.0, (step + 1) / warmup) if warmup else peak
    return rate if decay == "constant" else rate * (1 - 0.9 * min(1.0, progress))
