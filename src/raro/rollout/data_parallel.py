"""An engine over several processes: each writes its share of the groups, all of them get everything.

Noise is keyed by group and sample, so the result is the one process's, whatever the number of processes; the game above it runs
the same in each of them and never notices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch.distributed as dist
from torch import Tensor

from ..records import Completion, Prompt, Sampling
from .engine import Engine


class DataParallelEngine:
    """Wraps each process's own engine. Every process must make the same calls in the same order."""

    def __init__(self, engine: Engine, rank: int, processes: int):
        self.engine, self.rank, self.processes = engine, rank, processes

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Completion]]:
        """n completions for each prompt, in the prompts' order, on every process."""
        return self._woven(self.engine.generate(prompts[self.rank :: self.processes], n, sampling, progress), len(prompts))

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[tuple[int, ...]], temperature: float = 1.0
    ) -> list[list[float]]:
        """Log-probabilities of each completion's tokens, in the given order, on every process."""
        share = slice(self.rank, None, self.processes)
        return self._woven(self.engine.score(prompts[share], completions[share], temperature), len(prompts))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Each process loads the same weights."""
        self.engine.load(weights)

    def _woven(self, own: list, total: int) -> list:
        shares: list[list | None] = [None] * self.processes
        dist.all_gather_object(shares, own)
        return [shares[i % self.processes][i // self.processes] for i in range(total)]
