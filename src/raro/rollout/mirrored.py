"""An engine that computes in bfloat16 for a model whose weights are kept in float32.

Updates of 1e-6 vanish in bfloat16, so the weights that learn stay in float32; what samples and scores is a copy of them in half
the size, brought up to date before each call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..records import Completion, Prompt, Sampling
from .engine import Engine
from .scoring import put


class MirroredEngine:
    """Wraps the engine that `make` builds on the copy. model: the weights that learn."""

    def __init__(self, model: torch.nn.Module, make: Callable[[torch.nn.Module], Engine]):
        self.source = model
        self.copy = copy.deepcopy(model).requires_grad_(False).to(torch.bfloat16)
        self.engine = make(self.copy)

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Completion]]:
        """n completions for each prompt, in the prompts' order."""
        self._refresh()
        return self.engine.generate(prompts, n, sampling, progress)

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[tuple[int, ...]], temperature: float = 1.0
    ) -> list[list[float]]:
        """Natural log-probabilities of each completion's tokens after its prompt."""
        self._refresh()
        return self.engine.score(prompts, completions, temperature)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes other weights of the same shape, into the model that learns."""
        put(self.source, weights)

    @torch.no_grad()
    def _refresh(self) -> None:
        for mine, theirs in zip(self.copy.parameters(), self.source.parameters(), strict=True):
            mine.copy_(theirs)
