"""Preflight: what can be known before anything costly starts, and what machine the run was made on.

Permanent errors must fail here: a scheduler that starts a lost step again then pays only for lost nodes.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ..config import Config, agreed
from ..errors import BadInput, ServiceFailed
from ..registry.bases import base_folder
from ..rollout.positions import positions_of
from ..storage import fetch, read_json, write_json
from .harness import Step

FREE_GIB = 1.0  # a run of the mini needs a tenth; a larger model fails with its own clear line when the disk is full
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")  # or in tokenizer_config.json
OWNED = re.compile(r"\w[\w-]*/\w[\w.-]*")  # the Hub's owner/name
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def run(config: Config, run: Path) -> dict:
    """Checks, and writes STEP/environment.json."""
    with Step("preflight", config, run, always=True) as step:
        check(config, run)
        if line := _probed_judge(config):
            step.events.note(line, "warning")
        environment = _environment(config)
        write_json(step.folder / "environment.json", environment)
        step.events.note(f"{environment['device']}, {environment['cores']} cores, {environment['memory_gib']} GiB of memory")
        step.outputs["device"] = environment["device"]
        return step.outputs


def check(config: Config, run: Path) -> None:
    """Everything that can be known at once; nothing is left behind. MLflow is asked only where registry.store is set. Raises
    BadInput, or ServiceFailed for what may pass."""
    from ..benchmarks import deepmath, judge
    from ..demonstrations import sources
    from ..demonstrations.shown import Shown
    from ..registry import gate_rules, readiness
    from ..tracking import server
    from . import notice

    agreed(config)
    notice.address(config)
    check_room(config, check_base(config, run))
    judge.check(config.judge)
    if config.judge.kind == "model":
        check_layout(f"judge.model '{config.judge.model}'", fetch(config.judge.model))
    judge.check_rubrics(config)
    if config.evaluation.benchmark == "deepmath":
        deepmath.check_installed()
    gate_rules.check(config.gate)
    sources(config.demonstrations.source)
    Shown.of(config)
    server.check(config)
    if server.installed():  # else nothing is registered
        readiness.check(config, run)
    check_place(run)


def _probed_judge(config: Config) -> str:
    """Asks a judge's endpoint once, before the training rather than after it. Returns what is wrong and may pass; raises
    BadInput for what will not, ServiceFailed where judge.on_outage is stop."""
    if config.judge.kind != "endpoint":
        return ""
    from ..benchmarks.judge import Unusable
    from ..benchmarks.judge.endpoint import probe

    try:
        probe(config.judge)
    except Unusable as error:
        if not error.passes:
            raise BadInput(error.line, error.remedy) from None
        if config.judge.on_outage == "stop":
            raise ServiceFailed(error.line, "start it, or set judge.on_outage: continue") from None
        return str(error)
    return ""


def check_base(config: Config, run: Path) -> Path:
    """The base's folder. Raises what `base_folder` does, and BadInput where the base is no model in Hugging Face layout."""
    if OWNED.fullmatch(uri := config.base.uri) and not Path(uri).exists():
        raise BadInput(f"base '{uri}' does not exist here", f"check the path; a model of the Hub is hf://{uri}@REVISION")
    folder = base_folder(config, run, keep=False)
    check_layout(f"base '{config.base.uri}'", folder)
    return folder


def check_room(config: Config, base: Path) -> None:
    """Raises BadInput where a rollout's budget alone fills the positions that the base was made for."""
    positions = positions_of(read_json(base / "config.json"))
    budget = max(config.rollout.policy_tokens, config.rollout.critic_tokens)
    if 0 < positions <= budget:
        line = f"base '{config.base.uri}' was made for {positions:,} positions, and a rollout may take {budget:,} tokens"
        raise BadInput(line, "lower rollout.policy_tokens and rollout.critic_tokens: the prompt must fit in front")


def check_layout(what: str, folder: Path) -> None:
    """Raises BadInput naming what a model lacks. what: it, as the line begins."""
    if not folder.is_dir():
        raise BadInput(f"{what} is a file", "name a folder in Hugging Face layout")
    if not (folder / "config.json").is_file():
        raise BadInput(f"{what} has no config.json", "name a folder in Hugging Face layout, with the model's own files")
    if "model_type" not in _object(folder / "config.json"):
        raise BadInput(f"config.json of {what} names no model_type", "name a model that transformers can open")
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickled:
            line = f"{what} has its weights only as {pickled[0]}, which can run code when it is opened"
            raise BadInput(line, "convert them: transformers' save_pretrained writes safetensors")
        raise BadInput(f"{what} has no weights (*.safetensors)", "finish its download, or name another folder")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise BadInput(f"{what} has no tokenizer ({', '.join(TOKENIZERS)})", "add the tokenizer's files")
    kept = folder / "tokenizer_config.json"
    told = kept.is_file() and _object(kept).get("chat_template")
    if not told and not any((folder / name).exists() for name in TEMPLATES):
        raise BadInput(f"{what} has no chat template", "choose an instruct model, or add chat_template.jinja")


def _object(path: Path) -> dict[str, Any]:
    """What a file of a model's holds. Raises BadInput."""
    if not isinstance(found := read_json(path), dict):
        raise BadInput(f"'{path}' holds no JSON object", "finish the model's download, or name another folder")
    return found


def check_place(run: Path) -> None:
    """Whether the run's folder can be written and has room. Raises BadInput."""
    place = next(folder for folder in [run, *run.absolute().parents] if folder.exists())
    if not place.is_dir():
        raise BadInput(f"'{place}' is a file, so '{run}' cannot be a folder", "choose another --output")
    if not os.access(place, os.W_OK | os.X_OK):
        raise BadInput(f"'{place}' may not be written to, and '{run}' lies in it", "choose another --output")
    free = shutil.disk_usage(place).free / 2**30
    if free < FREE_GIB:
        line = f"only {free:.2f} GiB are free where '{run}' is to be written, {FREE_GIB:g} GiB are needed"
        raise BadInput(line, "free some disk space, or choose another --output")


def _environment(config: Config) -> dict[str, Any]:
    """What environment.json says: enough to know later on what a result was made."""
    device = "cpu"
    if config.resources.device != "cpu":  # seconds of import, and nothing to find out
        from ..rollout.models import device_of, named

        device = named(device_of(config))
    return {
        "platform": platform.platform(),
        **machine(device),
        "torch_threads": config.resources.threads,
        "git": _revision(),
        "cores": cores(),
        "memory_gib": memory_gib(),
    }


def machine(device: str) -> dict[str, Any]:
    """{"image" (empty outside a cluster), "python", "packages", "device"} of this process: each task of a cluster has its own
    image."""
    found = {"image": os.environ.get("RARO_IMAGE", ""), "python": platform.python_version(), "packages": packages()}
    return found | {"device": device}


def requirements(extra: str | None = None) -> list[str]:
    """Names of the distributions that the project declares: all; or with `extra` that part's alone, "" the core's."""
    names = []
    for line in importlib.metadata.requires("raro-pipelines") or ():
        named, condition = re.match(r"[\w.-]+", line)[0], re.search(r"extra == ['\"]([\w-]+)", line)
        if (extra is None or extra == (condition[1] if condition else "")) and named != "raro-pipelines":
            names.append(named)
    return sorted(set(names))


def packages() -> dict[str, str]:
    """Installed versions of what the project declares, the optional parts included."""
    found = {}
    for name in ["raro-pipelines", *requirements()]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Physical memory, or the container's limit where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return round(total / 2**30, 1)


def _revision() -> str | None:
    """The commit of the project's checkout, with -dirty where it was changed; the image's in a container; else None."""
    if built := os.environ.get("RARO_REVISION"):
        return built
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not shutil.which("git"):
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    said = subprocess.run(command, capture_output=True, text=True)
    return said.stdout.strip() or None
