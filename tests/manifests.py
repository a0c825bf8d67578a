"""k8s/ as kubectl renders it, without a cluster: overlays, and production with one of k8s/components."""

from __future__ import annotations

import functools
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raro.pipelines import images

ROOT = Path(__file__).parents[1]
COMPONENTS = sorted(path.name for path in (ROOT / "k8s" / "components").iterdir())
PRODUCTION = ["overlays/prod", "overlays/airgapped", *(f"overlays/prod+{name}" for name in COMPONENTS)]
NAMESPACES = ["overlays/dev", *PRODUCTION]
PLACED = ["volume-check", "new-data"]  # where `kubectl -n raro apply` says
OVERLAYS = ["cluster", *PLACED, *NAMESPACES]
KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(not KUBECTL, reason="kubectl, which renders the overlays, is not installed")


def released_lock() -> str:
    """The project's lock of images as it would be after a release, each with a digest of its own."""
    text = (ROOT / images.LOCK).read_text(encoding="utf-8")
    text = text.replace("registry: unresolved", "registry: registry.example.org/raro")
    numbers = itertools.count()
    return re.sub("digest: unresolved", lambda _: f"digest: sha256:{next(numbers):064x}", text)


@functools.cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """Every object of a folder of k8s/. OVERLAY+COMPONENT: with the component in production's list, as docs/cluster.md says."""
    place, _, component = overlay.partition("+")
    if component:
        return changed(place, lambda prod: prod["components"].append(f"../../components/{component}"))
    return _render(ROOT / "k8s" / place)


def changed(overlay: str, change: Callable[[dict[str, Any]], None]) -> tuple[dict[str, Any], ...]:
    """The same where `change` has edited production's kustomization, in a copy."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(ROOT / "k8s", Path(place) / "k8s")
        path = Path(place) / "k8s" / "overlays" / "prod" / "kustomization.yaml"
        production = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(production)
        path.write_text(yaml.safe_dump(production), encoding="utf-8")
        return _render(Path(place) / "k8s" / overlay)


def _render(folder: Path) -> tuple[dict[str, Any], ...]:
    said = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True)
    assert said.returncode == 0 and not said.stderr, said.stderr
    return tuple(yaml.safe_load_all(said.stdout))


def pods(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, the pod's metadata, its spec) of every workload."""
    for item in rendered(overlay):
        spec = item.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec and item["kind"] != "ExternalSecret":
            yield f"{item['kind']}/{item['metadata']['name']}", spec["template"]["metadata"], spec["template"]["spec"]


def named(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in rendered(overlay) if item["kind"] == kind}


def task_labels() -> dict[str, str]:
    """What each task's pod carries: Argo's label, and those of the compiled pipeline."""
    _, platform = yaml.safe_load_all((ROOT / "pipelines" / "retraining.yaml").read_text(encoding="utf-8"))
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    (labels,) = {tuple(sorted(one["podMetadata"]["labels"].items())) for one in executors.values()}
    return {"workflows.argoproj.io/workflow": "x", **dict(labels)}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    for expression in selector.get("matchExpressions", []):
        value = labels.get(expression["key"])
        wanted &= value is not None if expression["operator"] == "Exists" else value in expression["values"]
    return wanted
