"""Log-probabilities of completion tokens: the one forward pass that scoring and learning share.

Logits are computed only where a completion token is predicted, and in chunks that are recomputed in the backward pass where the
vocabulary is large: 32 thousand tokens x 152 thousand words in float32 would be 20 GB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..records import Prompt
from .decoding import window_of
from .rows import Layout, Rows, Sequences, lay_out
from .weights import put

CHUNK = 2**27
"""Logits (tokens x vocabulary) above which they are computed in chunks: 512 MiB in float32."""


def token_logprobs(model: torch.nn.Module, rows: Rows, temperature: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """(log-probabilities [N], entropies [N]) of the micro-batch's completion tokens, in nats, under softmax(logits /
    temperature); temperature: one for all, or [N].

    Entropies carry no gradient.
    """
    mask = rows.mask
    positions = {} if mask is None else {"position_ids": rows.position_ids, "attention_mask": _bias(mask, _dtype(model))}
    hidden = model.get_decoder()(input_ids=rows.input_ids, use_cache=False, **positions).last_hidden_state
    hidden = hidden.flatten(0, 1)[rows.logit_positions]
    head = model.get_output_embeddings()
    temperature = torch.as_tensor(temperature, device=hidden.device).expand(len(hidden))
    per_chunk = max(1, CHUNK // head.weight.shape[0])
    if len(hidden) <= per_chunk:
        return _from_hidden(head, hidden, rows.target_ids, temperature)
    parts = [
        checkpoint(
            _from_hidden,
            head,
            hidden[i : i + per_chunk],
            rows.target_ids[i : i + per_chunk],
            temperature[i : i + per_chunk],
            use_reentrant=False,
        )
        for i in range(0, len(hidden), per_chunk)
    ]
    return torch.cat([p for p, _ in parts]), torch.cat([e for _, e in parts])


def _bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What a mask adds to attention's scores: nothing, or minus infinity. Of a bool mask each layer would make its own and keep
    it for the backward pass: 15 GB for 28 layers and a row of 16 thousand tokens in bfloat16. And each would copy one whose
    rows are not whole 16 numbers apart, as a GPU's kernel wants them."""
    width = mask.shape[-1]
    bias = mask.new_zeros(*mask.shape[:-1], -(-width // 16) * 16, dtype=dtype)[..., :width]
    return bias.masked_fill_(~mask, -torch.inf)


def _dtype(model: torch.nn.Module) -> torch.dtype:
    """Of the arithmetic of its attention."""
    weight = next(model.parameters())
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _from_hidden(head: torch.nn.Module, hidden: Tensor, target_ids: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    logprobs = torch.log_softmax(head(hidden).float() / temperature[:, None], dim=-1)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(-1, target_ids.unsqueeze(-1)).squeeze(-1), entropy


def exceeded_window(model: torch.nn.Module, sequences: Sequences) -> int | None:
    """The model's attention window in tokens where one of these sequences is longer, else None. Where several share a row their
    mask stands in the window's place, and a long one would see too much."""
    if (window := window_of(model)) is None:
        return None
    longest = max((len(prompt) + len(completion) for prompt, completion in sequences), default=0)
    return window if longest > window else None


@torch.no_grad()
def disagreement(model: torch.nn.Module) -> float:
    """The largest difference, in nats, of `token_logprobs`, and of a prompt shared by two completions in one row, from the
    model's own forward on one completion at a time: rounding, unless the model rescales its logits or mixes neighbours in
    a row."""
    device, words = next(model.parameters()).device, model.get_output_embeddings().weight.shape[0]
    ids = [place * words // 13 for place in range(1, 13)]
    prompt, completions = ids[:6], [ids[6:9], ids[9:]]
    (rows,) = lay_out([(prompt, completion) for completion in completions], len(ids), 0, "shared")
    ours, _ = token_logprobs(model, rows := rows.to(device))
    told = torch.tensor([[*prompt, *completion] for completion in completions], device=device)
    logits = torch.cat([model(input_ids=one[None], use_cache=False).logits for one in told])[:, len(prompt) - 1 : -1]
    theirs = logits.float().log_softmax(-1).gather(-1, told[:, len(prompt) :, None]).squeeze(-1)
    return float((ours - theirs[rows.sequence, rows.token]).abs().max())


@torch.inference_mode()
def score(
    model: torch.nn.Module,
    prompts: Sequence[Prompt],
    completions: Sequence[tuple[int, ...]],
    temperature: float,
    pad_id: int,
    batch_tokens: int = 16_384,
    layout: Layout = "shared",
) -> list[list[float]]:
    """Natural log-probabilities of each completion's tokens after its prompt, in the given order; an empty completion gives
    []. Where one outgrows the model's attention window each has a row of its own, whatever the layout."""
    device = next(model.parameters()).device
    sequences = [(prompt.ids, completion) for prompt, completion in zip(prompts, completions, strict=True)]
    layout = "rows" if exceeded_window(model, sequences) else layout
    chosen = [i for i, (_, completion) in enumerate(sequences) if completion]
    result: list[list[float]] = [[0.0] * len(completion) for completion in completions]
    for rows in lay_out([sequences[i] for i in chosen], batch_tokens, pad_id, layout):
        logprobs, _ = token_logprobs(model, rows.to(device), temperature or 1.0)
        for sequence, token, value in zip(rows.sequence.tolist(), rows.token.tolist(), logprobs.tolist(), strict=True):
            result[chosen[sequence]][token] = value
    return result


class Scoring:
    """What every engine that holds the model in this process offers beside `generate`."""

    model: torch.nn.Module
    pad_id: int

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[tuple[int, ...]], temperature: float = 1.0
    ) -> list[list[float]]:
        """Natural log-probabilities of each completion's tokens after its prompt."""
        return score(self.model, prompts, completions, temperature, self.pad_id)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes other weights of the same shape, by the parameters' names; tied ones come once, and those of a
        frozen base under adapters not at all."""
        put(self.model, weights)
