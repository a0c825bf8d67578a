"""Checkpoints one can resume from exactly: weights, optimiser, and the method's own state, in safetensors and JSON, never
pickled.

A checkpoint is a folder `step-NNNNNN`, written under another name, flushed to the disk and renamed when whole, so that a killed
run or a lost node leaves either a whole checkpoint or none. One that is written again stands aside until the new one is there,
and counts where that never came. One that cannot be read all the same, or whose bytes are others than were written, is passed
over for the one before. The digests that a checkpoint belongs to (config, data, base) and those of what it holds lie inside and
are compared on resume.

Where several processes train, all of them save, since one may hold only a part of a weight, and the first one writes; what is
written is the same however many they are.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import BadInput
from ..rollout.weights import full_tensors, put, sharded_like
from ..storage import digest_file, digest_text, publish_folder, to_disk

STATE = "state.json"
NAME = re.compile(r"step-\d{6,}(\.old)?")
OLD = ".old"
"""What the name of a checkpoint that is being replaced ends in."""
Part = tuple[torch.nn.Module, torch.optim.Optimizer | None]
"""A model, and its optimiser where it has one."""


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
    beside: Mapping[str, Part] = MappingProxyType({}),
    writes: bool = True,
    doubted: Collection[int] = (),
) -> Path:
    """Writes checkpoint `step` under `folder`, atomically, and deletes all but the newest `keep`. beside: what else moves
    during training, by name. writes: whether this process is the one that does. doubted: steps from which on something may
    turn out bad; of each the newest checkpoint from before it stays, and the one after that, which is good once the doubt has
    moved on."""
    final = folder / f"step-{step:06d}"
    partial = folder / f".step-{step:06d}.partial"
    if writes:
        for left in folder.glob(".step-*.partial"):
            shutil.rmtree(left)
        partial.mkdir(parents=True)
    for name, one in _files(model, optimiser, beside).items():
        _write(partial, name, *one, writes)
    if not writes:
        return final
    files = {file.name: digest_file(file) for file in sorted(partial.glob("*.safetensors"))}
    body = {"step": step, "identity": dict(identity), "files": files, "state": dict(state)}
    (partial / STATE).write_text(json.dumps(body | {"digest": digest_text(json.dumps(body))}), encoding="utf-8")
    if final.exists():
        shutil.rmtree(final.with_suffix(OLD), ignore_errors=True)
        final.rename(final.with_suffix(OLD))
    publish_folder(partial, final)
    whole = [path for path in existing(folder) if step_of(path) <= step]  # newer ones are of steps that are made again
    kept = set(whole[-keep:])
    for first in doubted:
        good = sum(step_of(path) < first for path in whole)
        kept.update(whole[max(0, good - 1) : good + 1])
    for path in sorted(set(_named(folder)) - kept):
        remove(path)
    return final


def remove(checkpoint: Path) -> None:
    """Deletes it: killed half-way, it is no longer taken for whole."""
    (checkpoint / STATE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def save_weights(folder: Path, step: int, model: torch.nn.Module, writes: bool = True) -> None:
    """Writes the weights alone to `folder/weights-NNNNNN.safetensors`, atomically: one snapshot among which to choose later."""
    weights = full_tensors(_weights(model), writes)
    if not writes:
        return
    partial = folder / f".weights-{step:06d}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, partial)
    to_disk(partial)
    partial.rename(folder / f"weights-{step:06d}.safetensors")


def snapshots(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of the weights kept under `folder`, oldest first."""
    return [(int(path.stem.removeprefix("weights-")), path) for path in sorted(folder.glob("weights-*.safetensors"))]


def undo(folder: Path, step: int) -> None:
    """Deletes the checkpoints and snapshots of the steps after this one, which are made again and may come out otherwise."""
    for path in existing(folder):
        if step_of(path) > step:
            remove(path)
    for at, path in snapshots(folder):
        if at > step:
            path.unlink()


def existing(folder: Path) -> list[Path]:
    """Whole checkpoints under `folder`, oldest first; one that was being replaced only where its successor is missing, or not
    whole."""
    whole = {path for path in _named(folder) if _body(path) is not None}
    return sorted(path for path in whole if path.suffix != OLD or path.with_suffix("") not in whole)


def _named(folder: Path) -> list[Path]:
    """The folders under `folder` that are called as a checkpoint is: somebody's copy of one is not ours to read or delete."""
    return [path for path in folder.glob("step-*") if NAME.fullmatch(path.name) and path.is_dir()]


def _body(checkpoint: Path) -> dict[str, Any] | None:
    """What its STATE holds; None where one of its files cannot be read: a disk may lose a file's end, or all but its name."""
    try:
        body = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        for file in {checkpoint / "weights.safetensors", *checkpoint.glob("*.safetensors")}:
            with safe_open(file, "pt"):  # reads the header alone, and compares the file's size with it
                pass
    except (FileNotFoundError, NotADirectoryError, ValueError, SafetensorError):
        return None
    return body if isinstance(body, dict) else None


def step_of(path: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(path.stem.removeprefix("step-"))


def newest(
    folder: Path,
    identity: Mapping[str, str],
    warn: Callable[[str], None] = lambda line: None,
    before: float = math.inf,
) -> Checkpoint | None:
    """The newest sound checkpoint from before a step, or None. warn: is told of each newer one that is not sound. Raises
    BadInput where it belongs to another config, data set or base."""
    for path in sorted(_named(folder), key=lambda path: (step_of(path), path.suffix != OLD), reverse=True):
        if step_of(path) >= before or not (path / STATE).exists():
            continue
        if (body := _body(path)) is None:
            warn(f"checkpoint '{path.name}' cannot be read, and is passed over")
            continue
        if changed := _changed(path, body):
            warn(f"checkpoint '{path.name}' is not what was written ({', '.join(changed)}), and is passed over")
            continue
        different = [name for name, value in identity.items() if body["identity"].get(name) != value]
        if different:
            raise BadInput(
                f"checkpoint '{path}' belongs to another {' and '.join(different)}",
                "use another output folder, or delete the checkpoints to start afresh",
            )
        return Checkpoint(body["step"], path, body["state"], body["identity"])
    return None


def _changed(checkpoint: Path, body: dict[str, Any]) -> list[str]:
    """Names of its files that are others than were written. An earlier version's checkpoint holds no digests."""
    rest = {key: value for key, value in body.items() if key != "digest"}
    files = body.get("files", {}).items()
    told = [STATE] if "digest" in body and body["digest"] != digest_text(json.dumps(rest)) else []
    return told + [name for name, digest in files if not _is(checkpoint / name, digest)]


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and digest_file(file) == digest


def _weights(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What learns, by name; all of a model of which nothing does."""
    learns = any(parameter.requires_grad for parameter in model.parameters())
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad or not learns)


def restore(
    checkpoint: Checkpoint,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    beside: Mapping[str, Part] = MappingProxyType({}),
) -> None:
    """Puts weights and optimiser back exactly as they were, and what stood beside them."""
    for name, one in _files(model, optimiser, beside).items():
        _read(checkpoint.folder, name, *one)


def _files(model: torch.nn.Module, optimiser: torch.optim.Optimizer, beside: Mapping[str, Part]) -> dict[str, Part]:
    """What lies in a checkpoint, by the name of its files: the model's own have none."""
    return {"": (model, optimiser)} | {f"{name}-": one for name, one in beside.items()}


def _write(folder: Path, prefix: str, model: torch.nn.Module, optimiser: torch.optim.Optimizer | None, writes: bool) -> None:
    """One file after another: of what is sharded, only one is whole at a time."""
    files = {"weights": _weights(model)} | ({} if optimiser is None else {"optimiser": _moments(model, optimiser)})
    for name, tensors in files.items():
        whole = full_tensors(tensors, writes)
        if writes:
            save_file(whole, folder / f"{prefix}{name}.safetensors")


def _moments(model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """What the optimiser keeps of each parameter, as PARAMETER|WHAT."""
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            yield f"{name}|{key}", value


def _read(folder: Path, prefix: str, model: torch.nn.Module, optimiser: torch.optim.Optimizer | None) -> None:
    weights = load_file(folder / f"{prefix}weights.safetensors")
    moments = load_file(folder / f"{prefix}optimiser.safetensors") if optimiser is not None else {}
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for key, value in moments.items():
        name, moment = key.split("|")
        by_parameter.setdefault(name, {})[moment] = value
    put(model, weights)
    if optimiser is not None:
        optimiser.state.clear()  # it may have moments that it had not then
    for name, parameter in model.named_parameters():
        if name in by_parameter:
            optimiser.state[parameter] = {
                moment: sharded_like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
                for moment, value in by_parameter[name].items()
            }
