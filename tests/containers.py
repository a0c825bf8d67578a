"""`make test-containers`: the project's own Dockerfile is built, and the pipeline runs whole in its image, a container a task:
once without a network, once with MLflow in its image as it is deployed, on a real PostgreSQL, its weights and artifacts in
SeaweedFS. Beside each, the same pipeline in one container, its tasks processes: what containers cost is the difference.

For a bare Debian 12 with root, podman, debootstrap and postgresql. It needs no image registry: without --base a stand-in for
python:3.11-slim is made with debootstrap from the machine's own mirror, so that the Dockerfile builds unchanged. Packages come
from where the machine's pip finds them. Containers run as the image's user, on a read-only root, without capabilities.

What it proves: the Dockerfile builds; the image holds no compiler and no pip, runs as 65532 and offline; every step works;
the pipeline ends with a registered model, with and without services beside it. What it cannot: Kubernetes, Kubeflow's backend,
a GPU; of target `cuda` only that its steps build, with the torch that pip finds here.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contained import CPU, CUDA, TRACKING, Meter, beside, in_containers, in_one, inside, podman, service, tracked

ROOT = Path(__file__).parents[1]
PYTHON = "docker.io/library/python:3.11-slim"
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


def build(scratch: Path, target: str) -> None:
    """A target of the Dockerfile."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    own = ["--build-arg", f"PYTHON_IMAGE={PYTHON}", "--build-arg", f"REVISION={revision}"]
    # In a chroot, since buildah asks a runtime ten times a second, with a process each, whether a step is still going on.
    command = ["build", "--isolation", "chroot", "--pull=never", "--network", "host", *mounts(scratch), *own]
    command += ["--target", target, "-t", f"localhost/raro-{target}:test", "-f", str(ROOT / "docker" / "Dockerfile"), str(ROOT)]
    subprocess.run(["podman", *command], check=True)


# --------------------------------------------------------------------------------------------------------------------- looking


UNCOMPILED = """
import importlib, os, sys
for name in ("preflight ingest warmstart train evaluate decide register record finish".split()):
    importlib.import_module("raro.steps." + name)
import kfp.dsl.executor_main, mlflow, torch, transformers.models.qwen2.modeling_qwen2
specs = [module.__spec__ for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
print(*(spec.name for spec in specs if spec.has_location and spec.cached and not os.path.exists(spec.cached)))
"""


def look() -> None:
    """The image is what SECURITY and docs/cluster.md say of it."""
    size = gigabytes(CPU)
    assert inside("id", "-u") == "65532"
    assert inside("python3", "-c", "import shutil; print([n for n in ('gcc', 'cc', 'g++', 'make') if shutil.which(n)])") == "[]"
    inside("/opt/raro/bin/python3", "-m", "pip", "--version", code=1)
    inside("sh", "-c", "touch /opt/raro/x", code=1)
    said = inside("sh", "-c", "echo $HF_HUB_OFFLINE $TRANSFORMERS_OFFLINE $MLFLOW_DISABLE_TELEMETRY $DO_NOT_TRACK")
    assert said == "1 1 true 1"
    parts = json.loads(inside("cat", "/opt/raro/sbom.cdx.json"))["components"]
    assert {"torch", "kfp", "mlflow-skinny"} <= {part["name"] for part in parts}
    print(f"SBOM: {len(parts)} components")
    assert not (found := inside("env", "_KFP_RUNTIME=true", "python3", "-c", UNCOMPILED)), f"without bytecode: {found}"
    assert "`raro run` works here" in inside("raro", "doctor")
    assert size < LARGEST, f"the image has {size:.2f} GB, at most {LARGEST} are meant"


def look_at_others() -> None:
    """The targets beside it: MLflow's server holds what its deployment asks for, and none of ours; cuda is built to its end."""
    gigabytes(TRACKING)
    assert inside("id", "-u", image=TRACKING) == "65532"
    assert "mlflow, version" in inside("mlflow", "--version", image=TRACKING)
    inside("python3", "-c", "import psycopg2, boto3, flask_wtf", image=TRACKING)
    inside("python3", "-c", "import torch", image=TRACKING, code=1)
    gigabytes(CUDA)
    assert inside("sh", "-c", "echo $NVIDIA_DRIVER_CAPABILITIES", image=CUDA) == "compute,utility"


def gigabytes(image: str) -> float:
    size = int(podman("image", "inspect", "--format", "{{.Size}}", image)) / 1e9
    print(f"{image}: {size:.2f} GB", flush=True)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", action="store_true", help=f"take {PYTHON} as it is here or as a registry has it")
    parser.add_argument("--built", action="store_true", help="take the images as they were built before")
    parser.add_argument("--fast", action="store_true", help="target cpu and its run without a network alone")
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
        make(scratch, args)
        compare(scratch / "alone", {})
        if not args.fast:
            with beside(scratch) as given:
                tracked(compare(scratch / "tracked", given), given)
    finally:
        clear(scratch)


def make(scratch: Path, args: argparse.Namespace) -> None:
    """Builds what the arguments ask for, and looks at it."""
    began = time.monotonic()
    if not (args.built or args.base):
        stand_in(scratch)
        print(f"base: {time.monotonic() - began:.0f} s", flush=True)
    for target in () if args.built else ("cpu",) if args.fast else ("cpu", "cuda", "tracking"):
        began = time.monotonic()
        build(scratch, target)
        print(f"{target}: built in {time.monotonic() - began:.0f} s", flush=True)
    look()
    if not args.fast:
        look_at_others()


def compare(place: Path, given: dict[str, str]) -> Path:
    """The pipeline as containers and as processes; returns the former's folder."""
    os.umask(0)  # kfp makes folders here as root, and the tasks write into them as 65532
    place.mkdir()
    with Meter() as meter, service(place, meter):
        folder, containers = in_containers(place / "containers", given, meter)
    print(f"{'with' if given else 'without'} services, eight containers: {containers}", flush=True)
    print(f"the same as processes in one: {in_one(place / 'processes', given)}", flush=True)
    return folder


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
