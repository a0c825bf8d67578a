"""The pipeline in containers, run and measured: what `tests/containers.py` does with the images that it has built."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

CPU, CUDA, TRACKING = (f"localhost/raro-{target}:test" for target in ("cpu", "cuda", "tracking"))
USER = "65532:65532"
PATIENCE = 600  # seconds; a busy machine takes more than a minute to start a container
STORE = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
LOCKED_DOWN = {
    "entrypoint": ["/usr/bin/env"],  # kfp's runner gives a command and leaves the image's `raro` before it; a pod's replaces it
    "read_only": True,
    "cap_drop": ["ALL"],
    "network_mode": "none",
    "user": USER,
    "tmpfs": {"/tmp": "size=2g,mode=1777"},
}
AS_LOCKED = ["--read-only", "--cap-drop", "ALL", "--user", USER, "--tmpfs", "/tmp:size=2g,mode=1777"]
"""The same as arguments of podman, but for the network."""


def podman(*arguments: object, quiet: bool = False, code: int = 0) -> str:
    """What podman printed; its own messages are shown unless `quiet`."""
    said = subprocess.run(
        ["podman", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True
    )
    assert said.returncode == code, f"podman {arguments[0]} ended with {said.returncode}: {said.stderr or ''}"
    return said.stdout.strip()


def inside(*command: str, image: str = CPU, code: int = 0) -> str:
    """What a command prints in an image, locked down as the pipeline's tasks are."""
    locked = [*AS_LOCKED, "--network", "none", "--entrypoint", ""]
    return podman("run", "--rm", *locked, image, *command, quiet=True, code=code)


# -------------------------------------------------------------------------------------------------------------------- measuring


class Meter:
    """CPU seconds by control groups: of this process and what it starts, of podman's own, and of everything that runs in
    containers of the group `name`. Works with both versions of cgroups, as root; a context, which leaves no group behind."""

    def __init__(self) -> None:
        mounted = Path("/sys/fs/cgroup/cpuacct")
        self.root = mounted if mounted.is_dir() else Path("/sys/fs/cgroup")
        self.name = f"raro-containers-{os.getpid()}"
        self.group = self.root / self.name
        line = r"^\d+:(?:\w+,)*cpuacct(?:,\w+)*:(.*)$" if mounted.is_dir() else r"^0::(.*)$"
        self.before = self.root / re.search(line, Path("/proc/self/cgroup").read_text(), re.MULTILINE)[1].strip("/")

    def __enter__(self) -> Meter:
        for part in ("here", "podman"):
            (self.group / part).mkdir(parents=True, exist_ok=True)
        self.move(os.getpid(), self.group / "here")
        return self

    def __exit__(self, *_: object) -> None:
        self.move(os.getpid(), self.before)
        for folder in sorted((path for path in [self.group, *self.group.rglob("*")] if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):  # what still runs in it keeps it
                folder.rmdir()

    @staticmethod
    def move(process: int, group: Path) -> None:
        (group / "cgroup.procs").write_text(str(process))

    def read(self) -> dict[str, float]:
        """CPU seconds so far: {"kfp": this process and its children, "podman": its service, "containers": the rest}."""
        whole, here, podman = map(self._used, (self.group, self.group / "here", self.group / "podman"))
        return {"kfp": here, "podman": podman, "containers": whole - here - podman}

    def _used(self, group: Path) -> float:
        usage = group / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        return int(re.search(r"usage_usec (\d+)", (group / "cpu.stat").read_text())[1]) / 1e6


@dataclass(frozen=True)
class Took:
    """What one run of the pipeline took. seconds: by the clock. steps: of them in the steps. cpu: CPU seconds, by who spent
    them."""

    seconds: float
    steps: float
    cpu: Mapping[str, float]

    def __str__(self) -> str:
        spent = ", ".join(f"{name} {value:.1f}" for name, value in self.cpu.items())
        beside = f"{self.seconds - self.steps:.1f} s of them beside the steps"
        return f"{self.seconds:.1f} s, {beside}; {sum(self.cpu.values()):.1f} CPU s ({spent})"


# ---------------------------------------------------------------------------------------------------------------------- running


@contextlib.contextmanager
def service(scratch: Path, meter: Meter) -> Iterator[None]:
    """podman's socket, which kfp's DockerRunner speaks to."""
    socket = scratch / "podman.sock"
    process = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"], stderr=subprocess.DEVNULL)
    meter.move(process.pid, meter.group / "podman")
    os.environ["DOCKER_HOST"] = f"unix://{socket}"
    try:
        while not socket.exists():
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def beside(scratch: Path) -> Iterator[dict[str, str]]:
    """SeaweedFS, and MLflow in its image as it is deployed, on PostgreSQL; yields the variables by which a task finds them."""
    from servers import s3_server
    from test_mlflow_settings import deployed

    (scratch / "store").mkdir()
    (scratch / "mlflow").mkdir()
    with s3_server(scratch / "store"):
        found = {key: os.environ[key] for key in STORE}
        more = {**found, "S3_BUCKET": "models", "MLFLOW_S3_ENDPOINT_URL": found["AWS_ENDPOINT_URL"]}
        with deployed(scratch / "mlflow", 5000, image=TRACKING, **more) as uri:
            user = {f"MLFLOW_TRACKING_{key}": f"the-mlflow_auth_admin_{key.lower()}" for key in ("USERNAME", "PASSWORD")}
            yield {**found, **user, "MLFLOW_TRACKING_URI": uri}


def configured(given: Mapping[str, str], model: str) -> str:
    """The default configuration made very small, as the pipeline's parameter. given: variables of the tasks; with none they
    have no network, and the run tracks itself. model: under this name it is registered, in an experiment of its own."""
    from test_pipeline import GATES, SMALL

    from raro.config import load
    from raro.pipelines.retraining import as_parameter

    settings = {key: json.dumps(value) for key, value in (SMALL | GATES["promote"]).items()}
    settings |= {"registry.model": model, "tracking.experiment": model}
    settings |= {"tracking.uri": given["MLFLOW_TRACKING_URI"], "registry.store": "s3://models/raro"} if given else {}
    return as_parameter(load("countdown-mini", [f"{key}={value}" for key, value in settings.items()]))


def in_containers(place: Path, given: Mapping[str, str], meter: Meter) -> tuple[Path, Took]:
    """The pipeline, every task a container; returns the run's folder and what it took."""
    os.environ["RARO_IMAGE"] = CPU
    from kfp import local

    import docker
    from raro.pipelines.retraining import retraining

    docker.from_env = partial(docker.DockerClient.from_env, timeout=PATIENCE)  # kfp's runner gives each answer a minute
    docker.APIClient._raise_for_status = _known(docker.APIClient._raise_for_status)
    config = configured(given, "countdown-mini")
    place.mkdir()
    placed = LOCKED_DOWN | {"cgroup_parent": f"/{meter.name}"}
    placed |= {"network_mode": "host", "environment": dict(given)} if given else {}
    local.init(local.DockerRunner(**placed), pipeline_root=str(place), raise_on_error=True)
    before, began = meter.read(), time.monotonic()
    retraining(config=config, run=f"{place}/runs/")  # a folder by the run's id, as on a cluster
    seconds, after = time.monotonic() - began, meter.read()
    (folder,) = (place / "runs").iterdir()
    return folder, Took(seconds, whole(folder), {part: value - before[part] for part, value in after.items()})


def _known(raised: Callable[..., None]) -> Callable[..., None]:
    """A client's check of an answer: of a container that ended, and went, before kfp's runner asked for its log, podman's
    service says now and then that it failed, where Docker's says that there is none. The runner knows that only."""
    from docker.errors import APIError, NotFound

    def check(client: object, response: object) -> None:
        try:
            raised(client, response)
        except APIError as error:
            if "does not exist" in str(error):
                raise NotFound(str(error), response) from error
            raise

    return check


AS_PROCESSES = """
import json, resource, sys, time
from kfp import local
from raro.pipelines.retraining import retraining
def used():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)
config, place = sys.argv[1:]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=place, raise_on_error=True)
before, began = used(), time.monotonic()
retraining(config=config, run=f"{place}/runs/")
with open(f"{place}/took.json", "w") as file:
    json.dump([time.monotonic() - began, used() - before], file)
"""


def in_one(place: Path, given: Mapping[str, str]) -> Took:
    """The same pipeline in one container, every task a process of it: what containers add is all that differs."""
    from raro.storage import read_json

    place.mkdir()
    variables = [part for key, value in given.items() for part in ("--env", f"{key}={value}")]
    placed = [*AS_LOCKED, "--network", "host" if given else "none", "--volume", f"{place}:{place}", *variables]
    command = ["python3", "-P", "-c", AS_PROCESSES, configured(given, "as-processes"), place]
    podman("run", "--rm", *placed, "--entrypoint", "", CPU, *command, quiet=True)
    seconds, cpu = read_json(place / "took.json")
    (folder,) = (place / "runs").iterdir()
    return Took(seconds, whole(folder), {"kfp and steps": cpu})


def whole(folder: Path) -> float:
    """Checks that a run was promoted, every step done, nothing to warn of; returns the seconds that its steps took."""
    from test_pipeline import FULL, stages

    from raro.storage import read_json
    from raro.tracking import events

    assert stages(folder) == dict.fromkeys([*FULL, "register", "finish"], "done")
    summary = read_json(folder / "finish" / "summary.json")
    assert summary["state"] == "succeeded" and read_json(folder / "register" / "registration.json")["alias"] == "champion"
    assert {path.stat().st_uid for path in folder.rglob("*")} == {65532}
    told = events.read(folder)[0]
    assert not [event for event in told if event.get("level") == "warning"]
    return sum(event["seconds"] for event in told if event["kind"] == "done")


def tracked(folder: Path, given: Mapping[str, str]) -> None:
    """MLflow holds the run, its steps and the champion, and the champion's weights lie in the store, whole."""
    os.environ.update(given)
    import boto3
    from mlflow import MlflowClient

    client = MlflowClient(given["MLFLOW_TRACKING_URI"])
    found = client.search_runs([client.get_experiment_by_name("countdown-mini").experiment_id])
    named = {one.info.run_name: one for one in found}
    assert named[folder.name].info.status == "FINISHED" and named["train"].data.metrics["cost/tokens"] > 0
    champion = client.get_model_version_by_alias("countdown-mini", "champion")
    prefix = champion.source.removeprefix("s3://models/")
    stored = boto3.client("s3").list_objects_v2(Bucket="models", Prefix=prefix)["Contents"]
    sizes = {item["Key"].removeprefix(f"{prefix}/"): item["Size"] for item in stored}
    assert sizes["model.safetensors"] == (folder / "train" / "model" / "model.safetensors").stat().st_size, sizes
    print(f"MLflow on PostgreSQL: {len(found)} runs; champion {champion.version} at {champion.source}", flush=True)
