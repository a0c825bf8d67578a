"""The slot engine: continuous batching over a dense cache, for any transformers decoder.

* The cache is allocated once: S slots x the longest sequence, per layer. With grouped-query attention a dense cache is small
  enough (Qwen2.5-1.5B: 28.7 KB a token), so there are no pages.
* A group's prompt is prefilled once and copied into each of its n slots, all but its last token: that one is decoded like any
  other, so there is one place where logits arise and prefill never needs any.
* Active rows lie at the front. A finished row is overwritten by the last active one (swap-remove), so every step computes on a
  plain slice of the cache, as long as the longest active row; free slots are refilled from the queue.

Its twin on plain `generate` is `plain.PlainEngine`; tests/test_rollout.py holds both to the same tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from ..errors import BadInput
from ..records import Completion, Prompt, Sampling
from .decoding import step_for, window_of
from .engine import choose, uniforms
from .scoring import Scoring


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values, [S, heads, L, head_dim] each, written at every row's own position."""

    def __init__(self, slots: int, length: int):
        super().__init__()
        self.slots, self.length = slots, length
        self.rows = self.positions = None
        self.width = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        _, heads, _, dim = key_states.shape
        self.keys = key_states.new_zeros(self.slots, heads, self.length, dim)
        self.values = value_states.new_zeros(self.slots, value_states.shape[1], self.length, value_states.shape[-1])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys[self.rows, :, self.positions] = key_states[:, :, 0]
        self.values[self.rows, :, self.positions] = value_states[:, :, 0]
        active = key_states.shape[0]
        return self.keys[:active, :, : self.width], self.values[:active, :, : self.width]

    def fill(self, slots: Tensor, source: Tensor, keys: Tensor, values: Tensor) -> None:
        """Copies prefilled prompts: row source[i] of keys and values [G, heads, T, head_dim] into slot slots[i]."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys[slots, :, : keys.shape[2]] = keys[source]
        self.values[slots, :, : values.shape[2]] = values[source]

    def move(self, holes: Tensor, tail: Tensor) -> None:
        """Overwrites the slots `holes` with the slots `tail`."""
        self.keys[holes, :, : self.width] = self.keys[tail, :, : self.width]
        self.values[holes, :, : self.width] = self.values[tail, :, : self.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.width, 0

    def get_seq_length(self) -> int:
        return self.width

    def get_max_length(self) -> int:
        return self.length


class SlotEngine(Scoring):
    """Continuous batching in one process, on the very module that is trained: no weights are ever copied."""

    def __init__(self, model: torch.nn.Module, end_ids: Sequence[int], pad_id: int, slots: int = 256):
        self.model, self.pad_id, self.slots = model, pad_id, slots
        self.device = next(model.parameters()).device
        self.end_ids = torch.tensor(sorted(set(end_ids)), device=self.device)
        self.layers: list[SlotLayer] = []
        self.cache: Cache | None = None

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Completion]]:
        """n completions for each prompt, in the prompts' order. Raises ValueError on an empty prompt."""
        if not prompts:
            return []
        if any(len(prompt.ids) < 1 for prompt in prompts):
            raise ValueError("a prompt without tokens cannot be continued")
        training = self.model.training
        self.model.eval()
        budget, total = sampling.max_new_tokens, len(prompts) * n
        slots = min(self.slots, total)
        self._allocate(slots, max(len(p.ids) for p in prompts) + budget)
        decode = step_for(self.model, self.cache, self.layers[0].length)
        queue = deque((g, s) for g in range(len(prompts)) for s in range(n))
        ids = np.zeros((total, budget), dtype=np.int64)
        logprobs = np.zeros((total, budget), dtype=np.float32)
        lengths, stopped = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=bool)
        request = np.zeros(slots, dtype=np.int64)  # of each slot: which completion it writes,
        position = np.zeros(slots, dtype=np.int64)  # where its next input token goes,
        written = np.zeros(slots, dtype=np.int64)  # and how many tokens it has written
        token = torch.zeros(slots, dtype=torch.long, device=self.device)
        noise = np.zeros((slots, budget), dtype=np.float32)
        every_slot = torch.arange(slots, device=self.device)
        active, finished, kept = 0, 0, {}
        while active or queue:
            free = slots - active
            if queue and (free >= min(len(queue), max(1, slots // 4))):
                taken = [queue.popleft() for _ in range(min(free, len(queue)))]
                new = np.arange(active, active + len(taken))
                kept = self._prefill(prompts, taken, new, kept, queue)
                for slot, (g, s) in zip(new, taken, strict=True):
                    request[slot], position[slot], written[slot] = g * n + s, len(prompts[g].ids) - 1, 0
                    noise[slot] = uniforms(prompts[g], s, sampling)
                token[new[0] : new[-1] + 1] = torch.tensor([prompts[g].ids[-1] for g, _ in taken], device=self.device)
                active += len(taken)
            rows = np.arange(active)
            where = torch.from_numpy(position[:active].copy()).to(self.device)
            width = int(position[:active].max()) + 1
            for layer in self.layers:
                layer.rows, layer.positions, layer.width = every_slot[:active], where, width
            logits = decode(token[:active], where, width)
            draw = torch.from_numpy(noise[rows, written[:active]]).to(self.device)
            chosen, logprob = choose(logits, draw, sampling.temperature)
            token[:active] = chosen
            ended = torch.isin(chosen, self.end_ids).cpu().numpy()
            out, at = request[:active], written[:active]
            ids[out, at], logprobs[out, at] = chosen.cpu().numpy(), logprob.cpu().numpy()
            stopped[out] = ended
            written[:active] += 1
            position[:active] += 1
            lengths[out] = written[:active]
            done = ended | (written[:active] >= budget)
            if done.any():
                finished += int(done.sum())
                active = self._compact(done, (request, position, written, noise), token)
                if progress:
                    progress(finished, total)
        self.model.train(training)

        def completion(r: int) -> Completion:
            end = int(lengths[r])
            return Completion(
                tuple(ids[r, :end].tolist()), tuple(logprobs[r, :end].tolist()), "stop" if stopped[r] else "length"
            )

        return [[completion(g * n + s) for s in range(n)] for g in range(len(prompts))]

    def _allocate(self, slots: int, length: int) -> None:
        """Keeps the cache of the last call where it is large enough, so that a training run allocates once per role. Raises
        BadInput where the sequences outgrow a model's attention window: the slots have no windows."""
        if (window := window_of(self.model)) is not None and length > window:
            line = f"the model attends to the last {window} tokens only, and a sequence may have {length}"
            raise BadInput(line, "set rollout.engine=plain and resources.packing=rows, or shorten the budgets")
        if self.layers and self.layers[0].slots >= slots and self.layers[0].length >= length:
            return
        self.layers = [SlotLayer(slots, length) for _ in range(self.model.config.get_text_config().num_hidden_layers)]
        self.cache = Cache(layers=self.layers)

    def _prefill(self, prompts: Sequence[Prompt], taken: list, slots: np.ndarray, kept: dict, queue: deque) -> dict:
        """Prefills each group's prompt once and copies it into its slots; returns the group that is only partly admitted
        yet."""
        groups = [g for g in dict.fromkeys(g for g, _ in taken) if g not in kept and len(prompts[g].ids) > 1]
        filled = dict(kept)
        if groups:
            longest = max(len(prompts[g].ids) for g in groups) - 1
            padded = [list(prompts[g].ids[:-1]) + [self.pad_id] * (longest + 1 - len(prompts[g].ids)) for g in groups]
            cache = DynamicCache()
            # Padding stands to the right of every prompt: causal attention keeps it out, and its keys are overwritten or
            # masked later.
            self.model.get_decoder()(input_ids=torch.tensor(padded, device=self.device), past_key_values=cache, use_cache=True)
            for i, g in enumerate(groups):
                filled[g] = [(layer.keys[i : i + 1], layer.values[i : i + 1]) for layer in cache.layers]
        order = {g: i for i, g in enumerate(filled)}
        rows = [(slot, order[g]) for slot, (g, _) in zip(slots, taken, strict=True) if g in order]
        if rows:
            target = torch.tensor([slot for slot, _ in rows], device=self.device)
            source = torch.tensor([i for _, i in rows], device=self.device)
            for index, layer in enumerate(self.layers):
                layer.fill(
                    target,
                    source,
                    _stacked([f[index][0] for f in filled.values()]),
                    _stacked([f[index][1] for f in filled.values()]),
                )
        waiting = queue[0][0] if queue else None
        return {waiting: filled[waiting]} if waiting in filled and waiting == taken[-1][0] else {}

    def _compact(self, done: np.ndarray, state: tuple[np.ndarray, ...], token: Tensor) -> int:
        """Fills the finished rows' places with rows from the tail; returns how many rows are still active."""
        left = int((~done).sum())
        holes = np.flatnonzero(done[:left])
        if len(holes):
            tail = left + np.flatnonzero(~done[left:])
            for values in state:
                values[holes] = values[tail]
            to, origin = torch.from_numpy(holes).to(self.device), torch.from_numpy(tail).to(self.device)
            token[to] = token[origin]
            for layer in self.layers:
                layer.move(to, origin)
        return left


def _stacked(parts: list[Tensor]) -> Tensor:
    """Keys or values of prompts of different lengths, [G, heads, T, head_dim], zeros to the right."""
    longest = max(part.shape[2] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[2])) for part in parts])
