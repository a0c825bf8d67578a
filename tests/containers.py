"""`make test-containers`: the project's own Dockerfile is built, and the pipeline runs whole in its image, a container a task:
once without a network, once with MLflow as it is deployed, on a real PostgreSQL, and its weights and artifacts in SeaweedFS.

For a bare Debian 12 with root, podman, debootstrap and postgresql. It needs no image registry: without --base a stand-in for
python:3.11-slim is made with debootstrap from the machine's own mirror, so that the Dockerfile builds unchanged. Packages come
from where the machine's pip finds them. Containers run as the image's user, on a read-only root, without capabilities.

What it proves: the Dockerfile builds; the image holds no compiler and no pip, runs as 65532 and offline; every step works;
the pipeline ends with a registered model, with and without services beside it. What it cannot: Kubernetes, Kubeflow's backend,
a GPU.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON, IMAGE, USER = "docker.io/library/python:3.11-slim", "localhost/raro-cpu:test", "65532:65532"
LARGEST = 1.6  # GB
DOCUMENTS = ("usr/share/doc", "usr/share/man", "usr/share/locale")  # no slim image has them
# crun refuses machines with both versions of cgroups; runc does not.
CONTAINERS = """
[containers]
default_ulimits=["nofile=20000:20000","nproc=8192:8192"]
netns="host"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""
STORE = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
LOCKED_DOWN = {
    "entrypoint": ["/usr/bin/env"],  # kfp's runner gives a command and leaves the image's `raro` before it; a pod's replaces it
    "read_only": True,
    "cap_drop": ["ALL"],
    "network_mode": "none",
    "user": USER,
    "tmpfs": {"/tmp": "size=2g,mode=1777"},
}


def podman(*arguments: object, quiet: bool = False, code: int = 0) -> str:
    """What podman printed; its own messages are shown unless `quiet`."""
    said = subprocess.run(
        ["podman", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True
    )
    assert said.returncode == code, f"podman {arguments[0]} ended with {said.returncode}: {said.stderr or ''}"
    return said.stdout.strip()


def inside(*command: str, code: int = 0) -> str:
    """What a command prints in the image, locked down as the pipeline's tasks are."""
    locked = ["--read-only", "--tmpfs", "/tmp:size=2g,mode=1777", "--cap-drop", "ALL", "--network", "none"]
    return podman("run", "--rm", *locked, "--entrypoint", "", IMAGE, *command, quiet=True, code=code)


# --------------------------------------------------------------------------------------------------------------------- building


def stand_in(scratch: Path) -> None:
    """A base image without a registry: Debian 12 with Python 3.11, under the name that the Dockerfile asks for."""
    folder = scratch / "base"
    command = ["debootstrap", "--variant=minbase", "--include=python3,python3-pip,python3-venv,ca-certificates", "bookworm"]
    subprocess.run([*command, str(folder), mirror()], check=True, stdout=subprocess.DEVNULL)
    without = [f"--exclude=./{place}/*" for place in ("var/cache/apt", "var/lib/apt/lists", *DOCUMENTS)]
    packed = subprocess.Popen(["tar", "-C", str(folder), *without, "-c", "."], stdout=subprocess.PIPE)
    subprocess.run(["podman", "import", "-", PYTHON], stdin=packed.stdout, check=True, stdout=subprocess.DEVNULL)
    assert packed.wait() == 0


def mirror() -> str:
    """Where this machine's apt fetches Debian from."""
    for path in sorted(Path("/etc/apt").rglob("*")):
        if path.suffix in (".list", ".sources"):
            found = re.search(r"^(?:deb\s+(?:\[.*?\]\s+)?|URIs:\s*)(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            if found:
                return found[1]
    raise SystemExit("no Debian mirror is configured for apt: pull a base with --base instead")


def mounts(scratch: Path) -> list[str]:
    """Read-only mounts that let pip in the build find what pip on this machine finds: its settings in one file, the folders
    that they name, and the machine's certificates."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    settings = configparser.ConfigParser(interpolation=None)
    settings["global"] = {}
    places = {Path("/etc/ssl/certs/ca-certificates.crt")}
    for key, value in re.findall(r"^(?:global|:env:)\.([\w-]+)='(.*)'$", listed, re.MULTILINE):
        settings["global"][key] = value
        found = (Path(word.removeprefix("file://")) for word in value.split() if word.removeprefix("file://").startswith("/"))
        places |= {place.parent if place.name == "simple" else place for place in found}  # an index's files lie beside it
    path = scratch / "pip.conf"
    with open(path, "w", encoding="utf-8") as file:
        settings.write(file)
    pairs = [f"{path}:/etc/pip.conf:ro", *(f"{place}:{place}:ro" for place in sorted(places) if place.exists())]
    return [part for pair in pairs for part in ("--volume", pair)]


def build(scratch: Path) -> None:
    """The Dockerfile's target `cpu`."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    own = ["--build-arg", f"PYTHON_IMAGE={PYTHON}", "--build-arg", "TORCH_CPU_INDEX=", "--build-arg", f"REVISION={revision}"]
    command = ["build", "--pull=never", "--network", "host", *mounts(scratch), *own, "--target", "cpu", "-t", IMAGE]
    subprocess.run(["podman", *command, "-f", str(ROOT / "docker" / "Dockerfile"), str(ROOT)], check=True)


# --------------------------------------------------------------------------------------------------------------------- looking


def look() -> None:
    """The image is what SECURITY and docs/cluster.md say of it."""
    size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE)) / 1e9
    print(f"image: {size:.2f} GB")
    assert inside("id", "-u") == "65532"
    assert inside("python3", "-c", "import shutil; print([n for n in ('gcc', 'cc', 'g++', 'make') if shutil.which(n)])") == "[]"
    inside("/opt/raro/bin/python3", "-m", "pip", "--version", code=1)
    inside("sh", "-c", "touch /opt/raro/x", code=1)
    said = inside("sh", "-c", "echo $HF_HUB_OFFLINE $TRANSFORMERS_OFFLINE $MLFLOW_DISABLE_TELEMETRY $DO_NOT_TRACK")
    assert said == "1 1 true 1"
    parts = json.loads(inside("cat", "/opt/raro/sbom.cdx.json"))["components"]
    assert {"torch", "kfp", "mlflow-skinny"} <= {part["name"] for part in parts}
    print(f"SBOM: {len(parts)} components")
    assert "`raro run` works here" in inside("raro", "doctor")
    assert size < LARGEST, f"the image has {size:.2f} GB, at most {LARGEST} are meant"


# --------------------------------------------------------------------------------------------------------------------- running


@contextlib.contextmanager
def service(scratch: Path) -> Iterator[None]:
    """podman's socket, which kfp's DockerRunner speaks to."""
    socket = scratch / "podman.sock"
    process = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"], stderr=subprocess.DEVNULL)
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
    """SeaweedFS, and MLflow as it is deployed, on PostgreSQL; yields the variables by which a task finds them."""
    from servers import s3_server
    from test_mlflow_settings import deployed

    (scratch / "store").mkdir()
    (scratch / "mlflow").mkdir()
    with s3_server(scratch / "store"):
        found = {key: os.environ[key] for key in STORE}
        with deployed(
            scratch / "mlflow", 5000, **found, S3_BUCKET="models", MLFLOW_S3_ENDPOINT_URL=found["AWS_ENDPOINT_URL"]
        ) as uri:
            user = {f"MLFLOW_TRACKING_{key}": f"the-mlflow_auth_admin_{key.lower()}" for key in ("USERNAME", "PASSWORD")}
            yield {**found, **user, "MLFLOW_TRACKING_URI": uri}


def run(place: Path, given: dict[str, str]) -> Path:
    """The default configuration made very small, every task a container; returns the run's folder. given: variables of the
    tasks; with none they have no network, and the run tracks itself."""
    os.environ["RARO_IMAGE"] = IMAGE
    from kfp import local
    from test_pipeline import FULL, GATES, SMALL, stages

    from raro.config import load
    from raro.pipelines.retraining import as_parameter, retraining
    from raro.storage import read_json
    from raro.tracking import events

    os.umask(0)  # kfp makes folders here as root, and the tasks write into them as 65532
    place.mkdir()
    settings = {key: json.dumps(value) for key, value in (SMALL | GATES["promote"]).items()}
    settings |= {"tracking.uri": given["MLFLOW_TRACKING_URI"], "registry.store": "s3://models/raro"} if given else {}
    config = load("countdown-mini", [f"{key}={value}" for key, value in settings.items()])
    placed = LOCKED_DOWN | ({"network_mode": "host", "environment": given} if given else {})
    local.init(local.DockerRunner(**placed), pipeline_root=str(place), raise_on_error=True)
    started = time.monotonic()
    retraining(config=as_parameter(config), run=f"{place}/runs/")  # a folder by the run's id, as on a cluster
    took = time.monotonic() - started
    (folder,) = (place / "runs").iterdir()
    assert stages(folder) == dict.fromkeys([*FULL, "register", "finish"], "done")
    summary = read_json(folder / "finish" / "summary.json")
    assert summary["state"] == "succeeded" and read_json(folder / "register" / "registration.json")["alias"] == "champion"
    assert {path.stat().st_uid for path in folder.rglob("*")} == {65532}
    assert not [event for event in events.read(folder)[0] if event.get("level") == "warning"]
    spent = sum(stage["seconds"] for stage in summary["stages"].values())
    print(f"pipeline: {took:.0f} s in {len(FULL) + 2} containers, {spent:.0f} s of them in the steps", flush=True)
    return folder


def tracked(folder: Path, given: dict[str, str]) -> None:
    """MLflow holds the run, its steps and the champion, and the champion's weights lie in the store, whole."""
    os.environ.update(given)
    import boto3
    from mlflow import MlflowClient

    from raro.storage import read_json

    client = MlflowClient(given["MLFLOW_TRACKING_URI"])
    found = client.search_runs([client.get_experiment_by_name("raro").experiment_id])
    named = {one.info.run_name: one for one in found}
    assert named[folder.name].info.status == "FINISHED" and named["train"].data.metrics["cost/tokens"] > 0
    champion = client.get_model_version_by_alias("countdown-mini", "champion")
    prefix = champion.source.removeprefix("s3://models/")
    stored = boto3.client("s3").list_objects_v2(Bucket="models", Prefix=prefix)["Contents"]
    sizes = {item["Key"].removeprefix(f"{prefix}/"): item["Size"] for item in stored}
    files = read_json(folder / "register" / "registration.json")
    assert sizes["model.safetensors"] == (folder / "train" / "model" / "model.safetensors").stat().st_size, (sizes, files)
    print(f"MLflow on PostgreSQL: {len(found)} runs; champion {champion.version} at {champion.source}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", action="store_true", help=f"take {PYTHON} as it is here or as a registry has it")
    parser.add_argument("--built", action="store_true", help=f"take {IMAGE} as it was built before")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is mounted and running is cleaned up
    for tool in ("podman", *(() if args.base or args.built else ("debootstrap",))):
        if not shutil.which(tool):
            raise SystemExit(
                f"raro: {tool} is not installed: apt-get install podman buildah runc netavark debootstrap postgresql"
            )
    scratch = Path(tempfile.mkdtemp(prefix="raro-containers-"))
    scratch.chmod(0o755)
    try:
        (scratch / "containers.conf").write_text(CONTAINERS, encoding="utf-8")
        os.environ["CONTAINERS_CONF"] = str(scratch / "containers.conf")
        if not args.built:
            if not args.base:
                stand_in(scratch)
            build(scratch)
        look()
        with service(scratch):
            run(scratch / "alone", {})
            with beside(scratch) as given:
                tracked(run(scratch / "tracked", given), given)
    finally:
        clear(scratch)


def clear(scratch: Path) -> None:
    """Removes what was made here. An interrupted debootstrap leaves the machine's own /proc and /sys mounted in its folder:
    they are let go first, and nothing is removed while one is still there."""
    below = [
        line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith(f"{scratch}/")
    ]
    for place in sorted(below, reverse=True):
        subprocess.run(["umount", place], check=True)
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
