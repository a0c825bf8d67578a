"""Low-rank adapters (LoRA, arXiv 2106.09685) by peft: what learns is a small matrix beside each linear layer, and the optimiser
holds moments for nothing else. Merged into the weights at the end, so that a candidate is a model like any other."""

from __future__ import annotations

import copy

import torch

from ..errors import BadInput


def attach(model: torch.nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Puts adapters of this rank into every linear layer of the model but its head, in place; only they learn. At first they
    change nothing. Raises BadInput where peft is not installed."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise BadInput("base.lora_rank is set, and peft is not installed", "pip install 'raro-pipelines[adapters]'") from None
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # or it would touch every GPU
        torch.manual_seed(seed)
        get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0))


def frozen_copy(model: torch.nn.Module, shares: bool) -> torch.nn.Module:
    """The model as it is now, which nothing trains. shares: it holds the model's own parameters, which stay as they are where
    adapters are attached to the model afterwards: no memory for a second set. Until `merge`."""
    memo = {id(parameter): parameter for parameter in model.parameters()} if shares else {}
    return copy.deepcopy(model, memo).requires_grad_(False).eval()


def merge(model: torch.nn.Module) -> torch.nn.Module:
    """The model, its adapters added into its weights and taken out, in place; as it is where it has none."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "lora_A"):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    vars(model).pop("peft_config", None)
    return model
