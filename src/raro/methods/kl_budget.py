"""Selection among the snapshots that have not gone too far from the warm start: `raro.kl_budget`, nats a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safetensors.torch import load_file

from ..config import Config
from ..records import Demonstration
from ..rollout.models import Speaker
from .selection import Alarmed, Selection, Snapshots, Tick, select


def select_under(
    speaker: Speaker,
    snapshots: Snapshots,
    kl: Mapping[int, float],
    held_out: Sequence[Demonstration],
    config: Config,
    progress: Tick = None,
    alarmed: Alarmed = None,
) -> Selection | None:
    """What `select` chooses among the snapshots under the budget. If there are not two: the last of them, given a budget; else
    None. kl: {step: KL of the policy to the warm start}. The speaker's model is left with the chosen weights."""
    budget = config.raro.kl_budget
    known = under_budget(snapshots, kl, budget)
    if held_out and len(known) > 1:
        return select(speaker, known, held_out, config, progress=progress, alarmed=alarmed)
    if not budget or not known:
        return None
    step, path = known[-1]
    speaker.engine(config).load(load_file(path))
    least = f"the snapshot of the least KL: all are above raro.kl_budget, {budget:g}"
    last = f"the last snapshot within raro.kl_budget, {budget:g}: no two could be compared"
    return Selection([step], [], [[]], step, instead=least if kl_at(step, kl) > budget else last)


def under_budget(snapshots: Snapshots, kl: Mapping[int, float], budget: float) -> Snapshots:
    """The snapshots whose KL is within the budget; where none is, the one of the least KL. budget: 0 for none."""
    if not budget or not snapshots:
        return list(snapshots)
    near = [one for one in snapshots if kl_at(one[0], kl) <= budget]
    return near or [min(snapshots, key=lambda one: kl_at(one[0], kl))]


def kl_at(step: int, kl: Mapping[int, float]) -> float:
    """The KL of a step's policy: its own, or the last one known before; 0 where none is."""
    return kl[max(known)] if (known := [at for at in kl if at <= step]) else 0.0
