"""One optimiser update from weighted samples.

loss = sum over streams s of  1 / normaliser_s * sum over s's tokens of  weight * (coefficient_s * loss + kl_s * KL)

The learner never learns what a stream is. Each stream is normalised by itself, so that one with more tokens does not drown
another; normaliser_s is a constant (samples x budget: no length bias, Dr. GRPO, arXiv 2503.20783) or the stream's tokens.
Processes share the samples out and sum their gradients, so any number of them makes the same update. Each has the whole model,
or, once it is sharded, a part of it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor

from ..errors import BadInput, RaroError
from ..records import Sample
from ..rollout.rows import Layout, Rows, lay_out
from ..rollout.scoring import exceeded_window, token_logprobs
from ..rollout.weights import full_tensor, local_tensor
from .losses import Loss, kl_to_reference
from .streams import Stream, Sums, Terms, normalisers

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: one of them writes a checkpoint, or starts a server, while they do."""
MESSAGE = 2**26
"""Numbers of a gradient that processes sum at once: 256 MB of float32, beside the gradient."""


class NotFinite(RaroError):
    """The gradient is not finite; the weights are as before."""


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW and its micro-batches. batch_tokens: positions per micro-batch, padding included. half: arithmetic in bfloat16,
    weights, gradients and moments in float32."""

    learning_rate: float
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    batch_tokens: int = 16_384
    layout: Layout = "rows"
    half: bool = False


class Learner:
    """A model, its optimiser, and the frozen reference that KL is measured to (None where no stream asks for it)."""

    def __init__(self, model: torch.nn.Module, reference: torch.nn.Module | None, settings: Optimisation, pad_id: int):
        patient = InitProcessGroupKwargs(timeout=PATIENCE)
        self.accelerator = Accelerator(cpu=next(model.parameters()).device.type == "cpu", kwargs_handlers=[patient])
        self.model, self.reference, self.settings, self.pad_id = model, reference, settings, pad_id
        self.optimiser = _optimiser(model, settings)
        self.is_sharded = False  # told, not asked: between forward and backward torch shows whole parameters
        self._scored, self._anchor = partial(token_logprobs, model), partial(token_logprobs, reference)

    def shard(self) -> None:
        """From now on each process holds a part of the model, of its reference, and of what the optimiser keeps (FSDP2). To be
        called by all of them before the first update, once every copy of the whole model is made."""
        from .sharding import Sharded

        del self.optimiser  # it holds the whole parameters
        self._scored = Sharded(self.model)
        if self.reference is not None:
            self._anchor = Sharded(self.reference)
        self.optimiser, self.is_sharded = _optimiser(self.model, self.settings), True

    def twin(self) -> Learner:
        """A learner of the same settings on a copy of the model, with an optimiser of its own; the reference is shared."""
        return Learner(copy.deepcopy(self.model), self.reference, self.settings, self.pad_id)

    def update(
        self, samples: Sequence[Sample], streams: Mapping[str, Stream], loss: Loss, learning_rate: float
    ) -> dict[str, float]:
        """One update; returns figures: loss, grad_norm, tokens, tokens_per_second, padding, and per stream STREAM/entropy,
        STREAM/kl, STREAM/mismatch (|our log-probability - the rollout's|, of the samples that bring it), means over tokens by
        their samples' weights.

        Samples without any gradient (weight or advantage 0, and no KL) cost nothing; they still count in their stream's
        normaliser. Raises NotFinite where the gradient is not, the weights then as before; BadInput for what outgrows a window.
        """
        started = time.perf_counter()
        sums = self._backward(samples, streams, loss)
        norm = full_tensor(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm or math.inf))
        if not torch.isfinite(norm):
            self.optimiser.zero_grad(set_to_none=True)
            raise NotFinite("the gradient is not finite", "lower the learning rate; the last checkpoint is good")
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        tokens, seconds = float(sums.tokens), time.perf_counter() - started
        figures = {"loss": float(sums.loss), "tokens": tokens, "tokens_per_second": tokens / seconds}
        for stream, (count, entropy, kl, known, apart) in zip(streams, sums.by_stream.tolist(), strict=True):
            if count:
                figures[f"{stream}/entropy"] = entropy / count
                if streams[stream].kl:
                    figures[f"{stream}/kl"] = kl / count
            if known:
                figures[f"{stream}/mismatch"] = apart / known
        return figures | {"grad_norm": float(norm), "padding": sums.padding}

    def gradient(self, samples: Sequence[Sample], streams: Mapping[str, Stream], loss: Loss) -> list[Tensor]:
        """The gradient that an update on these samples would take, before clipping: flat, one tensor per trained parameter, of
        which this process holds a part where the model is sharded, in the machine's memory then; else on the model's device.
        The weights and the optimiser stay as they are."""
        self._backward(samples, streams, loss)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        flat = [local_tensor(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
        self.optimiser.zero_grad(set_to_none=True)
        return [part.cpu() for part in flat] if self.is_sharded else flat

    def dot(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
        """The inner product of two gradients, of all their parts."""
        product = sum(float(torch.dot(a, b)) for a, b in zip(one, other, strict=True))
        if not self.is_sharded:
            return product
        return float(self.accelerator.reduce(torch.tensor(product, device=self.accelerator.device), reduction="sum"))

    def _backward(self, samples: Sequence[Sample], streams: Mapping[str, Stream], loss: Loss) -> Sums:
        """Leaves the samples' gradient in the model, and returns the sums; both are of all processes."""
        normaliser = normalisers(samples, streams)
        trained = [s for s in samples if s.completion_ids and s.weight and (s.advantage or streams[s.stream].kl)]
        window = exceeded_window(self.model, [(s.prompt_ids, s.completion_ids) for s in trained])
        if window and self.settings.layout != "rows":
            line = f"the model attends to the last {window} tokens only, and a sample is longer"
            raise BadInput(line, "set resources.packing=rows, or shorten the budgets")
        mine = self._share(trained)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        layout = lay_out(
            [(s.prompt_ids, s.completion_ids) for s in mine], self.settings.batch_tokens, self.pad_id, self.settings.layout
        )
        terms = Terms.of(mine, streams, normaliser, self.accelerator.device)
        sums = Sums.of(len(streams), self.accelerator.device)
        anchored = self.reference is not None and any(stream.kl for stream in streams.values())
        idle = self._behind(len(layout))
        for rows in layout:
            self._accumulate(rows.to(self.accelerator.device), terms, loss, anchored, sums)
        for _ in range(idle):
            self._keep_pace(anchored)
        sums.padding = sum(rows.padding for rows in layout) / max(1, len(layout))
        self._sum_over_processes(sums)
        return sums

    def _accumulate(self, rows: Rows, terms: Terms, loss: Loss, anchored: bool, sums: Sums) -> None:
        """Adds one micro-batch's gradient, and its figures. anchored: some stream is held to the reference."""
        temperature = terms.temperature[rows.sequence]
        with self._arithmetic():
            logprobs, entropy = self._scored(rows, temperature)
        ours, rollout = logprobs.detach(), terms.rollout_logprobs[rows.sequence, rows.token]
        known = ~rollout.isnan()
        rollout = torch.where(known, rollout, ours)
        losses = loss(logprobs, rollout, terms.advantage[rows.sequence])
        total, kl_scale = (terms.loss_scale[rows.sequence] * losses).sum(), terms.kl_scale[rows.sequence]
        kl = torch.zeros_like(losses)
        if anchored and (self.is_sharded or bool((kl_scale > 0).any())):
            with torch.no_grad(), self._arithmetic():
                reference, _ = self._anchor(rows, temperature)
            kl = kl_to_reference(logprobs, reference)
            total = total + (kl_scale * kl).sum()
        self.accelerator.backward(total)
        sums.loss += total.detach()
        sums.tokens += rows.input_ids.numel() * (1 - rows.padding)
        figures = torch.stack([torch.ones_like(ours), entropy.detach(), kl.detach(), known, (ours - rollout).abs()], dim=1)
        sums.by_stream.index_add_(0, terms.stream[rows.sequence], (figures * terms.weight[rows.sequence, None]).double())

    def _behind(self, batches: int) -> int:
        """How many micro-batches fewer than the process with the most this one has, where all of them must put the layers of a
        sharded model together; else 0."""
        if not self.is_sharded:
            return 0
        return int(self.accelerator.gather(torch.tensor([batches], device=self.accelerator.device)).max()) - batches

    def _keep_pace(self, anchored: bool) -> None:
        """Runs one token, which counts for nothing, through a sharded model."""
        (rows,) = lay_out([((self.pad_id,), (self.pad_id,))], self.settings.batch_tokens, self.pad_id)
        rows = rows.to(self.accelerator.device)
        with self._arithmetic():
            logprobs, _ = self._scored(rows)
        if anchored:
            with torch.no_grad(), self._arithmetic():
                self._anchor(rows)
        self.accelerator.backward(0.0 * logprobs.sum())

    def _arithmetic(self) -> torch.autocast:
        device, sharded = self.accelerator.device.type, self.is_sharded  # whose weights must not stay in a cache, whole
        return torch.autocast(device, torch.bfloat16, enabled=self.settings.half, cache_enabled=not sharded)

    def _share(self, samples: Sequence[Sample]) -> list[Sample]:
        """This process's samples: whole prompts, dealt out in turn, so that samples that share one stay together."""
        if self.accelerator.num_processes == 1:
            return list(samples)
        turn: dict[tuple[int, ...], int] = {}
        for sample in samples:
            turn.setdefault(sample.prompt_ids, len(turn))
        return [s for s in samples if turn[s.prompt_ids] % self.accelerator.num_processes == self.accelerator.process_index]

    def _sum_over_processes(self, sums: Sums) -> None:
        """Sums figures, and gradients where they are not summed already; a parameter without a gradient on one process counts
        as zeros there, and has none where no process has: zeros would let AdamW's momentum move it. Gradients go in messages
        of a bounded size."""
        if self.accelerator.num_processes == 1:
            return
        trained = [] if self.is_sharded else [p for p in self.model.parameters() if p.requires_grad]
        held = sums.loss.new_tensor([p.grad is not None for p in trained])
        figures = torch.cat([sums.loss[None], sums.tokens[None], sums.by_stream.flatten(), held])
        sizes = [1, 1, sums.by_stream.numel(), len(trained)]
        loss, tokens, by_stream, held = self.accelerator.reduce(figures, "sum").split(sizes)
        sums.loss, sums.tokens, sums.by_stream = loss[0], tokens[0], by_stream.view_as(sums.by_stream)
        trained = [p for p, processes in zip(trained, held.tolist(), strict=True) if processes]
        for bucket in _buckets(trained):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
            parts = self.accelerator.reduce(flat, "sum").split([p.numel() for p in bucket])
            for parameter, gradient in zip(bucket, parts, strict=True):
                parameter.grad = gradient.view_as(parameter)


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters in order, so many together as have MESSAGE numbers; a larger one by itself."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > MESSAGE:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _optimiser(model: torch.nn.Module, settings: Optimisation) -> torch.optim.AdamW:
    """AdamW on the trained parameters; weight decay on matrices only."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
