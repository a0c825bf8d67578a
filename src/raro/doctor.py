"""`raro doctor`: what on this machine works, and what is missing for which part of the project."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .errors import RaroError
from .steps.preflight import FREE_GIB, check_layout, cores, memory_gib, requirements
from .storage import fetch, first_line

MINI = "package://countdown-mini"
MARKS = {"works": "[green]works[/]", "missing": "[yellow]missing[/]", "broken": "[red]broken[/]"}
EXTRAS = {  # `client` is `tracking` without MLflow's own server
    "": "the library and its steps",
    "pipeline": "`raro run` and `raro compile`",
    "client": "MLflow, the registry and S3",
    "columnar": "demonstrations in Parquet",
    "formats": "a Stack Exchange dump, SQuAD and CUAD, .zst",
    "archives": "a dump's .7z",
    "screens": "screens of personal data, near-duplicates, language",
    "adapters": "LoRA",
    "evaluation": "DeepMath's answers",
    "judge": "a judge behind an endpoint",
    "signing": "signatures and bills of materials of models",
}
TOOLS = {  # what is asked of each: that it is there is not yet that it works
    "git": (["git", "--version"], "the commit in a run's environment"),
    "docker": (["docker", "info", "--format", "{{.ServerVersion}}"], "building images"),
    "podman": (["podman", "info", "--format", "{{.Version.Version}}"], "building images"),
    "kubectl": (["kubectl", "version", "--request-timeout=3s"], "a cluster"),
}
SETTINGS = {
    "MLFLOW_TRACKING_URI": "a tracking server",
    "AWS_ACCESS_KEY_ID": "S3",
    "HF_TOKEN": "private models",
    "RARO_VLLM": "rollouts by vLLM",
}


@dataclass(frozen=True)
class Finding:
    """state: `missing` is for something that not everyone needs, `broken` for what the main job cannot do without."""

    what: str
    state: Literal["works", "missing", "broken"]
    detail: str


def findings() -> Iterator[Finding]:
    """One after another, cheap ones first."""
    ok, version = (3, 11) <= sys.version_info[:2] < (3, 14), sys.version.split()[0]
    yield Finding("Python", "works" if ok else "broken", version + ("" if ok else "; 3.11 to 3.13 is needed"))
    yield Finding("cores, memory", "works", f"{cores()} cores, {memory_gib()} GiB")
    free = shutil.disk_usage(".").free / 2**30
    yield Finding("disk", "works" if free >= FREE_GIB else "broken", f"{free:.1f} GiB free here; a run needs {FREE_GIB:g}")
    for extra, use in EXTRAS.items():
        yield _packages(extra, use)
    yield _device()
    try:
        check_layout(f"base '{MINI}'", fetch(MINI))
        yield Finding("mini base", "works", f"{MINI} is packaged and whole")
    except RaroError as error:
        yield Finding("mini base", "broken", str(error))
    for tool, (command, use) in TOOLS.items():
        yield _tool(tool, command, use)
    for name, use in SETTINGS.items():
        found = bool(os.environ.get(name))
        yield Finding(name, "works" if found else "missing", "set" if found else f"not set; for {use}")


def _packages(extra: str, use: str) -> Finding:
    wanted = requirements(extra)
    found = {name: _version(name) for name in wanted}
    lacking = [name for name, version in found.items() if version is None]
    if lacking:
        state = "broken" if extra in ("", "pipeline") else "missing"
        return Finding(
            f"for {use}", state, f"not installed: {', '.join(lacking)}; pip install 'raro-pipelines[{extra}]'".replace("[]", "")
        )
    return Finding(f"for {use}", "works", ", ".join(f"{name} {version}" for name, version in found.items()))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> Finding:
    if _version("torch") is None:
        return Finding("GPU", "missing", "torch is not installed")
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of the system's that it needs
        return Finding("GPU", "broken", f"torch cannot be imported: {first_line(error)}")
    if not torch.cuda.is_available():
        return Finding("GPU", "missing", f"none that torch {torch.__version__} can use; the miniature needs none")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("GPU", "works", ", ".join(names))


def _tool(tool: str, command: list[str], use: str) -> Finding:
    if not shutil.which(tool):
        return Finding(tool, "missing", f"not on PATH; for {use}")
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return Finding(tool, "missing", f"does not answer; for {use}")
    words = (said.stdout if said.returncode == 0 else said.stderr).strip().splitlines()
    line = words[-1].strip()[:100] if words else ""
    return Finding(tool, "works", line) if said.returncode == 0 else Finding(tool, "missing", f"for {use}: {line}")


def main() -> int:
    """Prints the table. Returns 0, or 2 where something is broken that the main job needs."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", "", box=None, show_header=False, pad_edge=False)
    broken = []
    for finding in findings():
        table.add_row(MARKS[finding.state], finding.what, re.sub(r"\[", r"\\[", finding.detail))
        broken += [finding.what] if finding.state == "broken" else []
    console = Console()
    console.print(table)
    console.print()
    console.print(f"[red]`raro run` will not work here[/]: {', '.join(broken)}" if broken else "`raro run` works here.")
    return 2 if broken else 0
