"""Whether a configuration fits a cluster: what every pod would stumble over, or GPUs be held for days and not used, is told
before anything is sent."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator

from raro.config import Config
from raro.errors import BadInput
from raro.settings.reading import host_of
from raro.steps.trainjob import per_node

from .profile import CERTIFICATES, Profile


def check(config: Config, profile: Profile) -> None:
    """Raises BadInput for what every pod would stumble over, before anything is sent."""
    for key, place, schemes in _places(config):
        _check_place(key, place, schemes, profile)
    if (store := config.registry.store) and not store.startswith("s3://"):
        line = f"registry.store '{store}' is a folder, and a tracking server registers no model of one"
        raise BadInput(line, "give s3://, or leave it empty: models then go through the tracking server")
    if not config.tracking.uri.startswith(("http://", "https://")) and not (profile.mlflow_plugin and not config.tracking.uri):
        line = f"tracking.uri '{config.tracking.uri}' is not a server" if config.tracking.uri else "tracking.uri is empty"
        raise BadInput(f"{line}, and SQLite on a shared volume loses data", "--set tracking.uri=http://mlflow:5000")
    judge = config.judge.endpoint if config.judge.kind == "endpoint" else ""
    for key, address in (("tracking.uri", config.tracking.uri), ("judge.endpoint", judge)):
        if _is_loopback(host_of(address)):
            line = f"{key} '{address}' is each pod itself, where nothing answers"
            raise BadInput(line, "give the name by which the cluster knows it, as http://mlflow:5000")
    _check_gpus(config.resources.processes, config.resources.device, profile)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _check_gpus(processes: int, device: str, profile: Profile) -> None:
    """Raises BadInput where the training would lack GPUs, or hold some for days and not use them."""
    train = profile.train
    if device == "cuda":
        line = "resources.device is cuda, and preflight runs on a node without a GPU"
        raise BadInput(line, "set resources.device=auto: each GPU task makes sure of its GPUs by itself")
    many = f"{train.nodes} nodes of " if train.nodes > 1 else ""
    given, held = f"the profile gives train {many}{train.gpus} GPUs", train.gpus * train.nodes
    if held and device == "cpu":
        raise BadInput(f"resources.device is cpu, and {given}", "set resources.device=auto, or choose --profile cpu")
    if held and processes > held:
        line = f"resources.processes is {processes}, and {given}"
        raise BadInput(line, "lower it, or raise train.gpus in the profile")
    per_node(processes, train.nodes)
    if processes < held:
        line = f"resources.processes is {processes}, and {given}, of which {held - processes} would be held and not used"
        raise BadInput(line, f"set resources.processes={held}, or lower train.gpus in the profile")


def _places(config: Config) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(key, what stands there, schemes it may have) of each setting that names a file or a folder."""
    data, judge, registry = config.demonstrations, config.judge, config.registry
    fetched = ("s3://", "package://")
    yield "base.uri", config.base.uri, (*fetched, "models:/")
    yield "demonstrations.source", data.source, fetched
    yield "demonstrations.forget", data.forget, fetched
    yield "demonstrations.drift_against", data.drift_against.removeprefix("champion"), fetched
    for i, benchmark in enumerate(data.benchmarks):
        yield f"demonstrations.benchmarks[{i}]", benchmark.rpartition("#")[0] or benchmark, fetched
    yield "evaluation.rubrics", config.evaluation.rubrics, fetched
    yield "judge.model", judge.model if judge.kind == "model" else "", fetched
    yield "judge.ca", judge.ca, ()
    yield "judge.cache", judge.cache, ()
    yield "registry.policy", registry.policy, ()
    for key, reference in (("registry.signing_key", registry.signing_key), ("notify.webhook", config.notify.webhook)):
        yield key, reference if reference.startswith("file:") else "", ()


def _check_place(key: str, place: str, schemes: tuple[str, ...], profile: Profile) -> None:
    secret = place.startswith("file:") and not place.startswith("file://")
    path = os.path.normpath(place.removeprefix("file:").removeprefix("//"))
    shared = [profile.mount, *([CERTIFICATES] if profile.authority else [])]
    if not place or place.startswith(schemes) or path.startswith(tuple(f"{folder}/" for folder in shared)):
        return
    named = key if secret else f"{key} '{place}'"
    ways = ["env:NAME, a variable of the profile's secrets"] if secret else list(schemes)
    ways.append(f"{'or ' if ways else ''}a path below {shared[0]}/")
    remedy = f"give {', '.join(ways)}, the volume that all tasks share"
    if place.startswith("hf://"):
        raise BadInput(f"{named} lies on the hub, and the images are offline", f"put it into the bucket; {remedy}")
    if "://" in place.removeprefix("file://"):
        raise BadInput(f"{named} is no place that a task can read", remedy)
    raise BadInput(f"{named} lies on this machine, where no pod sees it", remedy)
