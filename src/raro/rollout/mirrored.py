"""An engine on a copy of the model that learns, brought up to date before each call: in bfloat16 where the weights that learn
are kept in float32, since updates of 1e-6 vanish in bfloat16; whole where they are sharded over the processes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from ..records import Completion, Prompt, Sampling
from .engine import Engine
from .weights import full_tensor, put


class MirroredEngine:
    """Wraps the engine that `make` builds on the copy. model: the weights that learn, not yet sharded. dtype: the copy's."""

    def __init__(self, model: torch.nn.Module, make: Callable[[torch.nn.Module], Engine], dtype: torch.dtype = torch.bfloat16):
        self.source = model
        copies = {id(p): Parameter(p.detach().to(dtype, copy=True), requires_grad=False) for p in model.parameters()}
        self.copy = copy.deepcopy(model, copies)  # all but the weights as it is: rotary frequencies have no bits to spare
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
            mine.copy_(full_tensor(theirs))
