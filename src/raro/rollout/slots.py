"""The slot engine: continuous batching over a dense cache, for any transformers decoder.

* The cache is allocated once a call: S slots x the longest sequence, per layer. With grouped-query attention a dense cache is
  small enough (Qwen2.5-1.5B: 28.7 KB a token), so there are no pages. A GPU gets as many slots as its free memory has room for.
* A group's prompt is prefilled once and copied into each of its n slots, all but its last token: that one is decoded like any
  other, so there is one place where logits arise and prefill never needs any.
* Active rows lie at the front. A finished row is overwritten by the last active one (swap-remove), so every step computes on a
  plain slice of the cache, as long as the longest active row; free slots are refilled from the queue.

Its twin on plain `generate` is `plain.PlainEngine`; tests/test_rollout.py holds both to the same tokens.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from ..errors import BadInput
from ..records import Completion, Prompt, Sampling
from .decoding import step_for, window_of
from .engine import choose, uniforms
from .scoring import Scoring

PREFILL = 2**15
"""Positions that one prefill computes at most, padding included: enough to keep a GPU busy, and 0.9 GB of keys and values for
Qwen2.5-1.5B in bfloat16, where 256 prompts padded to one of 900 tokens would take 6.6."""

SHARE = 0.5
"""Of a GPU's free memory, what the cache may take: the rest is for prefills, logits, and what attention copies of a layer."""


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
        length = max(len(p.ids) for p in prompts) + budget
        slots = self._fitting(min(self.slots, total), length)
        self._allocate(slots, length)
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
        self.layers, self.cache = [], None  # while the model learns, the memory is for its activations
        self.model.train(training)

        def completion(r: int) -> Completion:
            end = int(lengths[r])
            return Completion(
                tuple(ids[r, :end].tolist()), tuple(logprobs[r, :end].tolist()), "stop" if stopped[r] else "length"
            )

        return [[completion(g * n + s) for s in range(n)] for g in range(len(prompts))]

    def _fitting(self, slots: int, length: int) -> int:
        """As many of these slots as the GPU has memory for, sequences of this length in each; on a CPU all of them."""
        if self.device.type != "cuda":
            return slots
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)  # torch's own, not in use
        config, dtype = self.model.config.get_text_config(), next(self.model.parameters()).dtype
        return min(slots, slots_within(SHARE * free, length, token_bytes(config, dtype)))

    def _allocate(self, slots: int, length: int) -> None:
        """Makes the cache. Raises BadInput where the sequences outgrow a model's attention window: slots have no windows."""
        if (window := window_of(self.model)) is not None and length > window:
            line = f"the model attends to the last {window} tokens only, and a sequence may have {length}"
            raise BadInput(line, "set rollout.engine=plain and resources.packing=rows, or shorten the budgets")
        self.layers = [SlotLayer(slots, length) for _ in range(self.model.config.get_text_config().num_hidden_layers)]
        self.cache = Cache(layers=self.layers)

    def _prefill(self, prompts: Sequence[Prompt], taken: list, slots: np.ndarray, kept: dict, queue: deque) -> dict:
        """Prefills each group's prompt once, in batches, and copies it into its slots; returns the group that is only partly
        admitted yet."""
        slots_of: dict[int, list[int]] = defaultdict(list)
        for slot, (g, _) in zip(slots, taken, strict=True):
            slots_of[g].append(slot)
        waiting = queue[0][0] if queue and queue[0][0] == taken[-1][0] else None
        for g in kept:
            self._fill([slots_of[g]], kept[g])
        still = {g: layers for g, layers in kept.items() if g == waiting}
        new = [g for g in slots_of if g not in kept and len(prompts[g].ids) > 1]
        for batch in batches([len(prompts[g].ids) - 1 for g in new], PREFILL):
            groups = [new[i] for i in batch]
            longest = max(len(prompts[g].ids) for g in groups) - 1
            padded = [list(prompts[g].ids[:-1]) + [self.pad_id] * (longest + 1 - len(prompts[g].ids)) for g in groups]
            cache = DynamicCache()
            # Padding stands to the right of every prompt: causal attention keeps it out, and its keys are overwritten or
            # masked later.
            self.model.get_decoder()(input_ids=torch.tensor(padded, device=self.device), past_key_values=cache, use_cache=True)
            self._fill([slots_of[g] for g in groups], [(layer.keys, layer.values) for layer in cache.layers])
            if waiting in groups:
                i = groups.index(waiting)  # cloned, since a view would hold the whole batch
                still[waiting] = [(layer.keys[i : i + 1].clone(), layer.values[i : i + 1].clone()) for layer in cache.layers]
        return still

    def _fill(self, slots: Sequence[Sequence[int]], prefilled: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Copies prompt i of each layer's keys and values into every one of slots[i]."""
        target = torch.tensor([slot for some in slots for slot in some], device=self.device)
        source = torch.tensor([i for i, some in enumerate(slots) for _ in some], device=self.device)
        for layer, (keys, values) in zip(self.layers, prefilled, strict=True):
            layer.fill(target, source, keys, values)

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


def slots_within(memory: float, length: int, per_token: int) -> int:
    """How many sequences of this length, in tokens, a cache of so many bytes holds; never none."""
    return max(1, int(memory // (length * per_token)))


def token_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values in all layers of a decoder."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * dim * dtype.itemsize


def batches(lengths: Sequence[int], bound: int) -> list[list[int]]:
    """Prompts that are prefilled together, by their index: at most `bound` positions, padding included (a longer one gets a
    batch of its own), the longest first, so that one among short ones is padded with few. In a batch they keep their order."""
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not found or (len(found[-1]) + 1) * lengths[found[-1][0]] > bound:
            found.append([])
        found[-1].append(i)
    return [sorted(batch) for batch in found]
