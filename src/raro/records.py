"""The types that travel between the floors of the house. The bottom floor: frozen dataclasses, no torch, nothing imported.

Legend of dimensions used in names and docstrings everywhere: Q questions of a step, K rollouts per question, P pairs, V
verdicts per pair, T tokens, B rows of a batch, S slots of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["policy", "critic"]
Finish = Literal["stop", "length"]
Verdict = Literal["first", "second", "tie", "malformed"]
Outcome = Literal["expert", "policy", "tie", "malformed"]
OutcomeProbs = Mapping[Outcome, float]
"""The probability of each outcome of a verdict; {outcome: 1.0} of one that was said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration:
    """One expert pair. No thought, no score, no preference.

    question, answer: normalised text. source: where the row came from (URI and row number). licence: SPDX id or the source's
    own words. group: what must stay on one side of a split (near-identical questions share it). attribution: address and
    author, where the licence asks for them.
    """

    question: str
    answer: str
    source: str
    licence: str
    group: str
    attribution: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt. ids: T token ids. role: who answers it. group: its number within the step; with the step it names the
    noise."""

    ids: tuple[int, ...]
    role: str
    group: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine wrote. ids: T tokens, the end token included where it was written. logprobs: T natural logarithms under
    the sampled (temperature-scaled) distribution. finish: `stop` at an end token, `length` at the budget."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish


@dataclass(frozen=True, slots=True)
class Pair:
    """What the critic is asked. expert_first: the order shown. age: steps since the policy wrote its answer (0: fresh).
    rollout_id: index of the policy's rollout in the step, -1 where the verdict pays no rollout (a replayed answer, an expert's
    alone). alone: the critic sees the first answer only (the absolute critic, an ablation)."""

    question: str
    expert: str
    policy: str
    expert_first: bool
    age: int
    rollout_id: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """What the learner trains on. It knows no role: stream is an opaque name, and each stream is normalised by itself.

    prompt_ids: T_p. completion_ids: T_c. rollout_logprobs: T_c, empty of what was not sampled. advantage: multiplies the
    log-probability gradient. weight: 0 leaves the sample out of the gradient, but not out of its stream's normaliser.
    counts: as how much of a sample it counts there, less than 1 where several stand for one rollout.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    rollout_logprobs: tuple[float, ...]
    advantage: float
    weight: float
    stream: str
    counts: float = 1.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the engine samples. temperature: 0 is greedy. max_new_tokens: the budget. seed, step: with role, group and sample
    they key the noise."""

    temperature: float
    max_new_tokens: int
    seed: int
    step: int
