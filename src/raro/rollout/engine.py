"""The Engine seam: everything that writes tokens or scores them is behind it, and nothing above it knows how.

Noise is keyed by (seed, step, role, group, sample): the n-th sample of a group is the same whatever else is decoded beside it,
in whatever order, in however many slots or processes. One uniform number per token, turned into a token by inverse transform
sampling.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..records import Completion, Prompt, Sampling

SUMS = {"cuda": torch.float64}
"""Where probabilities are added up in another type than their own, by device. A GPU adds in parallel: in float32 the sums over
152 thousand words need not rise from one to the next, and a word of no probability could be taken."""


class Engine(Protocol):
    """What a rollout engine offers: `SlotEngine` (fast), `PlainEngine` (its slow, obvious twin), `VllmEngine` (a server)."""

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress=None) -> list[list[Completion]]:
        """n completions for each prompt, in the prompts' order. progress: called with (finished, all) completions."""
        ...

    def score(self, prompts: Sequence[Prompt], completions: Sequence[tuple[int, ...]], temperature: float) -> list[list[float]]:
        """Natural log-probabilities of each completion's tokens after its prompt."""
        ...

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes other weights of the same shape, for example a frozen critic's."""
        ...


def uniforms(prompt: Prompt, sample: int, sampling: Sampling) -> np.ndarray:
    """The noise of one completion: max_new_tokens numbers in [0, 1), float32."""
    return np.random.default_rng(_key(prompt, sample, sampling)).random(sampling.max_new_tokens, dtype=np.float32)


def seed(prompt: Prompt, sample: int, sampling: Sampling) -> int:
    """A seed for one completion, in 32 bits, where an engine draws its own noise."""
    return int(np.random.SeedSequence(_key(prompt, sample, sampling)).generate_state(1)[0])


def _key(prompt: Prompt, sample: int, sampling: Sampling) -> list[int]:
    return [sampling.seed, sampling.step, zlib.crc32(prompt.role.encode()), prompt.group, sample]


def choose(logits: Tensor, noise: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Tokens [B] and their log-probabilities [B] under softmax(logits / temperature). logits: [B, V]; noise: [B] in [0, 1).

    Temperature 0 takes the likeliest token, its log-probability that of temperature 1.
    """
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    if temperature == 0:
        token = logprobs.argmax(-1)
    else:
        mass = logprobs.exp().cumsum(-1, dtype=SUMS.get(logits.device.type))
        token = torch.searchsorted(mass, (noise * mass[:, -1]).unsqueeze(-1), right=True).squeeze(-1)
        token = token.clamp_(max=logits.shape[-1] - 1)
    return token, logprobs.gather(-1, token.unsqueeze(-1)).squeeze(-1)
