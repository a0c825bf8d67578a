"""A model's weights, whole or sharded over the processes that train it (learning/sharding.py), each of which holds a part.

What makes a sharded tensor whole or shards one is done by all processes together, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only its part of it: one of torch's DTensors, which are not imported to ask."""
    return hasattr(tensor, "full_tensor")


def full_tensor(tensor: Tensor) -> Tensor:
    """All of a tensor that is sharded; any other as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def local_tensor(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that is sharded; any other as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def sharded_like(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor that every process has, sharded as `like` is, on its device."""
    value = value.to(like.device)
    if not is_sharded(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def put(model: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into the model's parameters of the same names. Raises ValueError for a name that it lacks."""
    known = dict(model.named_parameters())
    if unknown := sorted(set(weights) - set(known)):
        raise ValueError(f"the model has no parameter '{unknown[0]}'")
    for name, value in weights.items():
        known[name].copy_(sharded_like(value, known[name]))


def full_tensors(named: Iterable[tuple[str, Tensor]], keep: bool = True) -> dict[str, Tensor]:
    """Whole tensors by name, in the machine's memory and not the accelerator's; {} for a process that does not `keep` them."""
    found = {}
    for name, tensor in named:
        tensor = full_tensor(tensor.detach())
        if keep:
            found[name] = tensor.cpu().contiguous()
    return found


def unsharded(model: torch.nn.Module, keep: bool = True) -> torch.nn.Module:
    """A model that is not sharded as it is; of one that is, a whole copy to be saved, in the machine's memory, without values
    for a process that does not `keep` it. Nothing is computed with the copy."""
    if not any(map(is_sharded, model.parameters())):
        return model
    weights = full_tensors(model.named_parameters(), keep)
    with torch.device("meta"):
        made = type(model)(model.config)
    made.load_state_dict(weights, strict=False, assign=True)
    made.tie_weights()
    made.generation_config = model.generation_config
    return made
