"""One decoding step of the slot engine: a token for each active row in, logits out. Two ways to the same logits.

ModuleStep  any transformers decoder, through its own forward.
LeanStep    Llama and its kin: the same arithmetic on the same weights in a third of the operations. A step computes little and
            so waits mostly for Python and for small operations: on the mini model this halves it.

`step_for` takes the lean way where it knows the model to be of that kind; tests/test_rollout.py holds both to the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import Cache

DecodeStep = Callable[[Tensor, Tensor, int], Tensor]
"""(tokens [A], their positions [A], width: one more than the largest) -> logits [A, vocabulary] of A active rows."""

LEAN = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "MistralForCausalLM")
STATIC_ROPE = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone."""


def step_for(model: torch.nn.Module, cache: Cache, length: int) -> DecodeStep:
    """The fastest step known for this model. length: the longest sequence."""
    return LeanStep(model, cache, length) if is_lean(model) else ModuleStep(model, cache)


def is_lean(model: torch.nn.Module) -> bool:
    """Whether `LeanStep` is this model's arithmetic: a known class, with every option that would change it left at rest."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        type(model).__name__ in LEAN
        and config.hidden_act == "silu"
        and rope.get("rope_type", "default") in STATIC_ROPE
        and window_of(model) is None
    )


def window_of(model: torch.nn.Module) -> int | None:
    """How many tokens back the model's narrowest layer sees; None where all of its layers see everything."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [])
    windowed = bool(kinds - {"full_attention"}) if kinds else getattr(config, "use_sliding_window", True)
    return getattr(config, "sliding_window", None) if windowed else None


class ModuleStep:
    """Through the model's own forward, with the slots as its cache."""

    def __init__(self, model: torch.nn.Module, cache: Cache):
        self.model, self.cache = model, cache

    def __call__(self, tokens: Tensor, positions: Tensor, width: int) -> Tensor:
        seen = torch.arange(width, device=tokens.device) <= positions[:, None]
        return self.model(
            input_ids=tokens[:, None],
            attention_mask=seen[:, None, None, :],
            position_ids=positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]


class LeanStep:
    """Written out: norm, rotary attention over the slots with grouped queries, norm, gated feed-forward. Projections are the
    model's own modules, so biases and adapters count."""

    def __init__(self, model: torch.nn.Module, cache: Cache, length: int):
        self.model, self.cache = model, cache
        self.decoder = model.get_decoder()
        weight = self.decoder.embed_tokens.weight
        every = torch.arange(length, device=weight.device)[None]
        cos, sin = self.decoder.rotary_emb(weight.new_zeros(1), every)
        self.cos, half = cos[0], sin.shape[-1] // 2
        # rotate_half(x) * sin is roll(x, half) * sin with the sign of sin's first half turned.
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
        self.half = half

    def __call__(self, tokens: Tensor, positions: Tensor, width: int) -> Tensor:
        unseen = torch.arange(width, device=tokens.device) > positions[:, None]
        hidden = self.decoder.embed_tokens(tokens)
        mask = hidden.new_zeros(unseen.shape, dtype=torch.float32).masked_fill_(unseen, -torch.inf)[:, None, None]
        angles = self.cos[positions][:, None], self.sin[positions][:, None]
        for block, slots in zip(self.decoder.layers, self.cache.layers, strict=True):
            hidden = hidden + self._attend(block.self_attn, _normed(block.input_layernorm, hidden), angles, mask, slots)
            inner, mlp = _normed(block.post_attention_layernorm, hidden), block.mlp
            hidden = hidden + mlp.down_proj(F.silu(mlp.gate_proj(inner)) * mlp.up_proj(inner))
        return self.model.lm_head(_normed(self.decoder.norm, hidden))

    def _attend(self, attention, hidden: Tensor, angles: Sequence[Tensor], mask: Tensor, slots) -> Tensor:
        """[A, width of the model] to the same. A key's head serves a group of query heads, which stand side by side."""
        rows, dim = len(hidden), attention.head_dim
        query, key, value = (
            project(hidden).view(rows, -1, dim) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):  # Qwen3
            query, key = _normed(attention.q_norm, query), _normed(attention.k_norm, key)
        query, key = self._turned(query, angles), self._turned(key, angles)
        keys, values = slots.update(key[:, :, None], value[:, :, None])  # [A, key heads, width, dim]
        query = query.reshape(rows, keys.shape[1], -1, dim) * attention.scaling
        weights = torch.softmax(query @ keys.transpose(2, 3) + mask, dim=-1, dtype=torch.float32)
        return attention.o_proj((weights.to(values.dtype) @ values).reshape(rows, -1))

    def _turned(self, heads: Tensor, angles: Sequence[Tensor]) -> Tensor:
        cos, sin = angles
        return heads * cos + heads.roll(self.half, -1) * sin


def _normed(norm: torch.nn.Module, hidden: Tensor) -> Tensor:
    return F.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
