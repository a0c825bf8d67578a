"""Low-rank adapters (LoRA, arXiv 2106.09685) by peft: what learns is a small matrix beside each linear layer, and the optimiser
holds moments for nothing else. Merged into the weights at the end, so that a candidate is a model like any other."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import BadInput


def attach(model: torch.nn.Module, rank: int, alpha: float, seed: int) -> Any:
    """Puts adapters of this rank into every linear layer of the model but its head, in place; only they learn. Returns what
    `merge` needs. Raises BadInput where peft is not installed."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise BadInput("base.lora_rank is set, and peft is not installed", "pip install 'raro-pipelines[adapters]'") from None
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # or it would touch every GPU
        torch.manual_seed(seed)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0))


def merge(attached: Any) -> torch.nn.Module:
    """The model with its adapters added into its weights, and without them."""
    return attached.merge_and_unload()
