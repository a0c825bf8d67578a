"""`raro submit`: what is looked at before anything is sent, the upload, the run, and what it says while it goes on."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raro.config import Config
from raro.errors import INTERRUPTED, BadInput, Canceled, ServiceFailed
from raro.steps import TITLES
from raro.steps.harness import explained

from . import images
from . import profile as profiles
from .api import Kubeflow, NoEntry
from .fitting import check
from .profile import Profile

POLL = 10.0  # seconds between two looks at a run
PATIENCE = 900.0  # seconds of silence from the server after which watching ends; the run goes on
ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}
GOING = {"PENDING", "RUNNING", "CANCELING", "PAUSED"}
ID = re.compile(r"[A-Za-z0-9-]+")  # of a run
UNTOLD = {None, "SKIPPED", "RUNTIME_STATE_UNSPECIFIED"}  # of a task that did not run, the last for one that Argo omits
# A run's tasks are Argo's nodes: the step's name, with a number where it stands in several branches. Its driver is a pod of
# Kubeflow's that goes before. Branches, and the tries of a task, are nodes of other names. A title may follow the name.
NODE = re.compile(rf"(?P<step>{'|'.join(TITLES)})(-\d+)?(?P<driver>-driver)?(: .*)?")


@dataclass(frozen=True)
class Package:
    """A compiled pipeline with images by digest. version: a name that changes with any byte of it."""

    path: Path
    name: str
    version: str


@contextmanager
def package(profile: Profile, lock: str) -> Iterator[Package]:
    """Compiles into a folder that lasts as long as the block. Raises BadInput where an image has no digest."""
    from .retraining import NAME, compile_to, version_of

    with tempfile.TemporaryDirectory(prefix="raro-") as scratch:
        path = compile_to(Path(scratch) / f"{NAME}.yaml", profile, images.read(lock).reference)
        yield Package(path, NAME, version_of(path))


def parameters(config: Config, profile: Profile) -> dict[str, str]:
    """What the pipeline is given. Raises BadInput for a configuration that works on this machine and cannot on a cluster."""
    from .retraining import as_parameter

    check(config, profile)
    return {"config": as_parameter(config), "run": f"{profile.mount}/"}


def folder_of(api: Kubeflow, run: str) -> str:
    """Name of the folder that an earlier run wrote to: its own, or the one in which it went on itself. Raises BadInput for what
    is no run of this pipeline, ServiceFailed where that run, or another in the same folder, has not ended."""
    remedy = "give the id that `raro submit` printed, as Kubeflow shows it"
    if not ID.fullmatch(run):
        raise BadInput(f"--resume '{run}' is no id of a run", remedy)
    earlier = api.run(run)
    if not (folder := _folder(earlier)):
        raise BadInput(f"--resume '{run}' is a run of another pipeline", remedy)
    _has_ended(earlier)
    for later in api.runs():  # until the folder's first run
        if _folder(later) == folder:
            _has_ended(later)
        if later.run_id == folder:
            break
    return folder


def _folder(run: object) -> str:
    """Name of the folder that a run writes to; empty where it is of another pipeline."""
    place = ((run.runtime_config and run.runtime_config.parameters) or {}).get("run")
    if not isinstance(place, str):
        return ""
    return run.run_id if place.endswith("/") else Path(place).name


def _has_ended(run: object) -> None:
    if run.state in GOING:
        line = f"run '{run.run_id}' still goes on ({run.state.lower()})"
        raise ServiceFailed(line, "wait for its end, or stop it in Kubeflow")


@dataclass(frozen=True, kw_only=True)
class Order:
    """One run to start. profile, lock: as the command line names them. account: the pods' service account. resume: id of an
    earlier run whose folder is gone on with."""

    config: Config
    profile: str
    lock: str
    experiment: str
    account: str | None = None
    resume: str | None = None


def submit(order: Order, api: Kubeflow, dry_run: bool = False, watch: bool = False) -> int:
    """Starts one run and returns the exit code; dry_run: only says what would be sent."""
    config, placed = order.config, profiles.read(order.profile)
    given = parameters(config, placed)
    if order.resume is not None:
        given["run"] += folder_of(api, order.resume)
    place = given["run"] if order.resume else f"{given['run']}<id of the run>"
    name = f"{config.name}-{config.digest[:8]}"
    with package(placed, order.lock) as made:
        if dry_run:
            _tell_plan(api, made, order.experiment, f"{name}, in {place}")
            return 0
        pipeline, version = api.upload(made.name, made.version, made.path)
    run = api.start(
        display_name=name,
        experiment_id=api.experiment(order.experiment),
        pipeline_version_reference=api.reference(pipeline, version),
        runtime_config=api.runtime(**given),
        service_account=order.account,
    )
    print(f"run {run}: {name}, {made.version}, in {place.replace('<id of the run>', run)}", flush=True)
    return follow(api, run) if watch else 0


def _tell_plan(api: Kubeflow, made: Package, experiment: str, run: str) -> None:
    pipeline = api.pipeline(made.name)
    known = pipeline is not None and api.version(pipeline, made.version) is not None
    print(f"pipeline    {made.name}" + ("" if pipeline else "  (new)"))
    print(f"version     {made.version}" + ("" if known else "  (new)"))
    print(f"experiment  {experiment}" + ("" if api.experiment(experiment, create=False) else "  (new)"))
    print(f"run         {run}")
    print("nothing was sent (--dry-run)")


def follow(api: Kubeflow, run: str) -> int:
    """Prints each task as it changes until the run ends. A Ctrl-C ends the watching, not the run. Raises ServiceFailed for a
    run that failed, or where the server was silent, or let nobody in, for too long."""
    told: dict[str, str] = {}
    heard, refused = time.monotonic(), False
    try:
        while True:
            try:
                now = api.run(run)
                heard, refused = time.monotonic(), False
            except (ServiceFailed, NoEntry) as silence:
                if time.monotonic() - heard > PATIENCE:
                    raise ServiceFailed(f"{silence.line}; run {run} goes on", "look at it in Kubeflow") from silence
                if isinstance(silence, NoEntry) and not refused:  # a person can mend it meanwhile
                    print(f"{explained(silence)}; asked again until then", file=sys.stderr, flush=True)
                    refused = True
                time.sleep(POLL)
                continue
            tasks = (now.run_details and now.run_details.task_details) or []
            for task in tasks:
                node = NODE.fullmatch(task.display_name or "")
                if node and not node["driver"] and task.state not in UNTOLD and told.get(node[0]) != task.state:
                    told[node[0]] = task.state
                    print(f"{node['step']:<11} {task.state.lower()}", flush=True)
            if now.state in ENDED:
                return _outcome(now, tasks)
            time.sleep(POLL)
    except KeyboardInterrupt:
        print(f"run {run} goes on; it is no longer watched", flush=True)
        return INTERRUPTED


def _outcome(run: object, tasks: list) -> int:
    if run.state in ("SUCCEEDED", "SKIPPED"):
        print(f"run {run.run_id} succeeded")
        return 0
    if run.state == "CANCELED":
        raise Canceled(f"run {run.run_id} was canceled", f"raro submit --resume {run.run_id} goes on from its last checkpoint")
    failed = [(node, task) for task in tasks if task.state == "FAILED" and (node := NODE.fullmatch(task.display_name or ""))]
    failed.sort(key=lambda one: list(TITLES).index(one[0]["step"]))
    line, remedy = f"run {run.run_id} failed", "its report and failure.json say why: in MLflow, and in the run's folder"
    stages = [task.display_name for task in tasks if task.state == "FAILED" and (task.display_name or "").endswith("-driver")]
    if failed:
        node, _ = failed[0]
        line += f" before {node['step']}" if node["driver"] else f" in {node['step']}"
        remedy = f"the log of {node[0]} in Kubeflow says why" if node["driver"] else remedy
    elif stages:  # Kubeflow's own pod before a stage or a branch
        line += f" before {stages[0].removesuffix('-driver')}"
        remedy = f"the log of {stages[0]} in Kubeflow says why"
    # Kubeflow 2.17 tells no task's error, only what became of it.
    said = next((one.error.message for one in (*(task for _, task in failed), run) if one.error and one.error.message), "")
    raise ServiceFailed(f"{line}: {' '.join(said.split())[:200]}" if said else line, remedy)
