"""How samples enter an update, stream by stream: what each is divided and multiplied by, and what is added up of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..records import Sample


@dataclass(frozen=True, kw_only=True)
class Stream:
    """How one stream enters the update. coefficient: its lambda. kl: beta of its KL to the reference, not multiplied by lambda.
    budget: tokens a sample may have; 0 normalises by the actual tokens, anything else by samples x budget. temperature: of its
    samples."""

    coefficient: float = 1.0
    kl: float = 0.0
    budget: int = 0
    temperature: float = 1.0


def normalisers(samples: Sequence[Sample], streams: Mapping[str, Stream]) -> dict[str, float]:
    """What each stream's sum is divided by; 1 for a stream without samples."""
    totals: Counter[str] = Counter()
    for sample in samples:
        totals[sample.stream] += sample.counts * (streams[sample.stream].budget or len(sample.completion_ids))
    return {stream: float(max(1, totals[stream])) for stream in streams}


@dataclass(frozen=True, slots=True)
class Terms:
    """What each of N samples brings to the sum, one tensor [N] each, made once for all micro-batches of an update.

    weight: its own. loss_scale: weight * coefficient / normaliser. kl_scale: weight * kl / normaliser. advantage. temperature.
    stream: its number among the S streams. rollout_logprobs: [N, T], NaN where a sample brings none.
    """

    weight: Tensor
    loss_scale: Tensor
    kl_scale: Tensor
    advantage: Tensor
    temperature: Tensor
    stream: Tensor
    rollout_logprobs: Tensor

    @classmethod
    def of(
        cls, samples: Sequence[Sample], streams: Mapping[str, Stream], normaliser: Mapping[str, float], device: torch.device
    ) -> Terms:
        def column(values: list) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        names, longest = list(streams), max((len(s.completion_ids) for s in samples), default=0)
        return cls(
            column([s.weight for s in samples]),
            column([s.weight * streams[s.stream].coefficient / normaliser[s.stream] for s in samples]),
            column([s.weight * streams[s.stream].kl / normaliser[s.stream] for s in samples]),
            column([s.advantage for s in samples]),
            column([streams[s.stream].temperature for s in samples]),
            torch.tensor([names.index(s.stream) for s in samples], dtype=torch.long, device=device),
            column([[*s.rollout_logprobs, *[math.nan] * (longest - len(s.rollout_logprobs))] for s in samples]),
        )


@dataclass(slots=True)
class Sums:
    """What an update adds up over its tokens, float64. loss, tokens: []. by_stream: [S, 5], each token by its sample's weight:
    1, entropy, KL, 1 if the rollout's log-probability is known, how far ours is from it."""

    loss: Tensor
    tokens: Tensor
    by_stream: Tensor
    padding: float = 0.0

    @classmethod
    def of(cls, streams: int, device: torch.device) -> Sums:
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in ((), (), (streams, 5))))
