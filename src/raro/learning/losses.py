"""The loss seam: functions of per-token log-probabilities, and nothing else.

Each returns one loss per token [N]; the learner multiplies by the sample's weight, divides by its stream's normaliser and sums.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(log-probabilities [N] with gradient, the rollout's log-probabilities [N], advantages [N]) -> losses [N]."""


def policy_gradient(clip_low: float, clip_high: float) -> Loss:
    """The clipped surrogate of PPO (arXiv 1707.06347) with asymmetric bounds (DAPO, arXiv 2503.14476).

    Minimised, so the sign flips: -min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A).
    """

    def loss(logprobs: Tensor, rollout_logprobs: Tensor, advantages: Tensor) -> Tensor:
        ratio = (logprobs - rollout_logprobs).exp()
        return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)

    return loss


def on_policy(logprobs: Tensor, rollout_logprobs: Tensor, advantages: Tensor) -> Tensor:
    """The policy gradient at ratio 1: same gradient as the clipped surrogate for one update per rollout, and needs no old
    log-probabilities. ratio = exp(l - stop(l)) is 1 in value and carries the gradient."""
    return -(logprobs - logprobs.detach()).exp() * advantages


def importance_weighted(loss: Loss, cap: float) -> Loss:
    """Each token's loss times min(p_learner / p_sampler, cap), for rollouts of an engine whose arithmetic is not the learner's:
    truncated importance sampling (Yao et al. 2025, "On the Rollout-Training Mismatch in Modern RL Systems"). The weight carries
    no gradient, and is 1 where p_sampler is not known."""

    def weighted(logprobs: Tensor, rollout_logprobs: Tensor, advantages: Tensor) -> Tensor:
        ratio = (logprobs.detach() - rollout_logprobs).exp().clamp(max=cap)
        return ratio * loss(logprobs, rollout_logprobs, advantages)

    return weighted


def cross_entropy(logprobs: Tensor, rollout_logprobs: Tensor, advantages: Tensor) -> Tensor:
    """Supervised: -log p of the given tokens, times the advantage (1 for a plain demonstration)."""
    return -logprobs * advantages


def kl_to_reference(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Per-token estimate of KL(model || reference), never negative and of low variance ("k3", Schulman 2020): r - 1 - log r
    with r = p_reference / p_model. As a loss on the model's own samples, which is what GRPO makes of it, its expected gradient
    is that of KL(reference || model): each token contributes (1 - r) * grad log p_model."""
    difference = reference - logprobs
    return difference.exp() - 1 - difference
