"""The slow, obvious twin of the slot engine: transformers' own `generate`, left-padded, every row to the end of its batch.

The keyed noise enters through a logits processor that leaves `generate` one choice, and what the model's folder says of
generation (penalties, cuts) is set aside meanwhile: what is sampled is the model's own distribution, which the learner learns.
Nothing else differs from anyone's first rollout loop. It is what the slot engine is tested against and measured beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from ..records import Completion, Prompt, Sampling
from .engine import choose, uniforms
from .scoring import Scoring


class KeyedChoice(LogitsProcessor):
    """Replaces the logits by the one token that the keyed noise chooses, and notes its log-probability."""

    def __init__(self, noise: Tensor, temperature: float):
        self.noise, self.temperature = noise, temperature
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token, logprob = choose(scores, self.noise[:, len(self.logprobs)], self.temperature)
        self.logprobs.append(logprob)
        return torch.full_like(scores, -torch.inf).scatter_(1, token[:, None], 0.0)


class PlainEngine(Scoring):
    """`generate` in batches of `slots` rows."""

    def __init__(self, model: torch.nn.Module, end_ids: Sequence[int], pad_id: int, slots: int = 256):
        self.model, self.end_ids, self.pad_id, self.slots = model, sorted(set(end_ids)), pad_id, slots

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Completion]]:
        """n completions for each prompt, in the prompts' order."""
        training = self.model.training
        self.model.eval()
        rows = [(prompt, sample) for prompt in prompts for sample in range(n)]
        done: list[Completion] = []
        for start in range(0, len(rows), self.slots):
            done += self._batch(rows[start : start + self.slots], sampling)
            if progress:
                progress(len(done), len(rows))
        self.model.train(training)
        return [done[i : i + n] for i in range(0, len(done), n)]

    def _batch(self, rows: list[tuple[Prompt, int]], sampling: Sampling) -> list[Completion]:
        device = next(self.model.parameters()).device
        longest = max(len(prompt.ids) for prompt, _ in rows)
        padded = torch.tensor([[self.pad_id] * (longest - len(p.ids)) + list(p.ids) for p, _ in rows], device=device)
        mask = torch.tensor([[0] * (longest - len(p.ids)) + [1] * len(p.ids) for p, _ in rows], device=device)
        noise = torch.from_numpy(np.stack([uniforms(prompt, sample, sampling) for prompt, sample in rows])).to(device)
        choice = KeyedChoice(noise, sampling.temperature)
        with self._undisturbed():
            written = self.model.generate(
                input_ids=padded,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=sampling.max_new_tokens,
                eos_token_id=self.end_ids,
                pad_token_id=self.pad_id,
                logits_processor=LogitsProcessorList([choice]),
            )[:, longest:].tolist()
        logprobs = torch.stack(choice.logprobs, dim=1).tolist()
        completions = []
        for ids, values in zip(written, logprobs, strict=True):
            end = next((i + 1 for i, token in enumerate(ids) if token in self.end_ids), None)
            length = end or len(ids)
            completions.append(Completion(tuple(ids[:length]), tuple(values[:length]), "stop" if end else "length"))
        return completions

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Sets the model's own generation_config aside: `generate` takes from it whatever another leaves open."""
        own, self.model.generation_config = self.model.generation_config, GenerationConfig()
        try:
            yield
        finally:
            self.model.generation_config = own
