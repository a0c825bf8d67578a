"""A model sharded over the processes that train it (FSDP2, torch's `fully_shard`): each keeps its part of every weight, of its
gradient and of its moments, and a layer is put together where it is computed.

Only what learns is sharded, and the reference beside it. What samples is a whole copy in each process (rollout/mirrored.py).
"""

from __future__ import annotations

import warnings

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from ..rollout.rows import Rows
from ..rollout.scoring import token_logprobs


class Sharded(torch.nn.Module):
    """`token_logprobs` of a model that it shards, in place: layer by layer, as the model's own `_no_split_modules` names them,
    and what is left as one more. Gradients are summed over the processes. Every process must call it equally often, and
    backward too."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model
        mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
        layers = [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]
        learns = any(parameter.requires_grad for parameter in model.parameters())
        for module in (*reversed(layers), self):  # those within others first
            fully_shard(module, mesh=mesh, reshard_after_forward=None if learns else True)
            module.set_gradient_divide_factor(1.0)  # the sum, not the mean
            module.set_force_sum_reduction_for_comms(True)  # gloo can do nothing else
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")  # nobody writes into it

    def forward(self, rows: Rows, temperature: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
        """(log-probabilities [N], entropies [N]) of the micro-batch's completion tokens."""
        return token_logprobs(self.model, rows, temperature)
