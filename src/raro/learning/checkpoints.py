"""Checkpoints one can resume from exactly: weights, optimiser, and the method's own state, in safetensors and JSON, never
pickled.

A checkpoint is a folder `step-NNNNNN`, written under another name and renamed when whole, so that a killed run leaves either a
whole checkpoint or none. The digests that it belongs to (config, data, base) lie inside and are compared on resume.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import BadInput


@dataclass(frozen=True)
class Checkpoint:
    """step: updates done. state: the method's own, plain JSON. identity: digests of config, data and base."""

    step: int
    folder: Path
    state: dict[str, Any]
    identity: dict[str, str]


def save(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    state: Mapping,
    identity: Mapping,
    keep: int,
    reference: torch.nn.Module | None = None,
) -> Path:
    """Writes checkpoint `step` under `folder`, atomically, and deletes all but the newest `keep`. reference: given where it
    moves during training, and so cannot be had from the warm start again."""
    final = folder / f"step-{step:06d}"
    partial = folder / f".step-{step:06d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    names = {id(p): name for name, p in model.named_parameters()}
    save_file(_weights(model), partial / "weights.safetensors")
    if reference is not None:
        save_file(_weights(reference), partial / "reference.safetensors")
    moments: dict[str, Tensor] = {}
    for parameter, values in optimiser.state.items():
        for key, value in values.items():
            moments[f"{names[id(parameter)]}|{key}"] = value.detach().contiguous()
    save_file(moments, partial / "optimiser.safetensors")
    body = {"step": step, "identity": dict(identity), "state": dict(state)}
    (partial / "state.json").write_text(json.dumps(body), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in existing(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def save_weights(folder: Path, step: int, model: torch.nn.Module) -> None:
    """Writes the weights alone to `folder/weights-NNNNNN.safetensors`, atomically: one snapshot among which to choose later."""
    partial = folder / f".weights-{step:06d}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(model), partial)
    partial.rename(folder / f"weights-{step:06d}.safetensors")


def snapshots(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of the weights kept under `folder`, oldest first."""
    return [(int(path.stem.removeprefix("weights-")), path) for path in sorted(folder.glob("weights-*.safetensors"))]


def existing(folder: Path) -> list[Path]:
    """Whole checkpoints under `folder`, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / "state.json").is_file())


def newest(folder: Path, identity: Mapping[str, str]) -> Checkpoint | None:
    """The newest whole checkpoint, or None. Raises BadInput where it belongs to another config, data set or base."""
    found = existing(folder)
    if not found:
        return None
    body = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
    different = [name for name, value in identity.items() if body["identity"].get(name) != value]
    if different:
        raise BadInput(
            f"checkpoint '{found[-1]}' belongs to another {' and '.join(different)}",
            "use another output folder, or delete the checkpoints to start afresh",
        )
    return Checkpoint(body["step"], found[-1], body["state"], body["identity"])


def _weights(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}


def restore(
    checkpoint: Checkpoint,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    reference: torch.nn.Module | None = None,
) -> None:
    """Puts weights and optimiser back exactly as they were, and a reference that moves."""
    weights = load_file(checkpoint.folder / "weights.safetensors")
    moments = load_file(checkpoint.folder / "optimiser.safetensors")
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for key, value in moments.items():
        name, moment = key.split("|")
        by_parameter.setdefault(name, {})[moment] = value
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
            if name in by_parameter:
                optimiser.state[parameter] = {moment: v.to(parameter.device) for moment, v in by_parameter[name].items()}
        if reference is not None:
            kept = load_file(checkpoint.folder / "reference.safetensors")
            for name, parameter in reference.named_parameters():
                parameter.copy_(kept[name])
