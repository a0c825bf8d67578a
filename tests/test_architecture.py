"""Imports run one way: each floor of the house may import only from those below it (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import raro

ROOT = Path(raro.__file__).parent
HOUSE = Path(__file__).parent.parent
FLOORS = [
    {"errors", "typed"},
    {"settings"},
    {"records", "config", "agreement"},
    {"text", "memory", "storage", "shared", "data", "solver", "s3", "s3_client", "s3_records"},
    {"rollout"},
    {"game", "learning", "demonstrations"},
    {"tracking"},
    {"roles"},
    {"probes", "methods", "registry", "report", "benchmarks"},
    {"steps", "models"},
    {
        "cli",
        "commands",
        "study",
        "init",
        "doctor",
        "bench",
        "bench_data",
        "bench_registry",
        "forget",
        "traces",
        "terminal",
        "printing",
        "registrar",
        "components",
        "pipelines",
    },
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
FORBIDDEN = {"game": {"torch", "transformers"}, "learning": {"raro.game"}, "records": {"torch"}}
HEAVY = {"kfp", "mlflow", "boto3", "kfp_kubernetes"}


def imports(path: Path) -> list[tuple[str, bool]]:
    """(absolute module, whether at the module's top) of every import in a file."""
    package = ["raro", *path.relative_to(ROOT).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*stem, *([node.module] if node.module else [])])
            found += [(f"{module}.{alias.name}" if module in ("raro",) else module, id(node) in top) for alias in node.names]
    return found


FILES = sorted(p for p in ROOT.rglob("*.py") if p.name != "__init__.py" or p.parent != ROOT)


def test_the_floors_are_those_of_the_docs():
    table = (HOUSE / "docs/architecture.md").read_text(encoding="utf-8").split("## Floors")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", "".join(line.split("|")[2] for line in table.splitlines() if line.startswith("| "))))
    assert named == set().union(*FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} has no floor: give it one here and in docs/architecture.md"
    for module, top in imports(path):
        parts = module.split(".")
        if parts[0] == "raro" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != own:
            assert LEVEL[parts[1]] <= LEVEL[own], f"{path.name} imports {module} from above"
        assert not any(module.startswith(bad) for bad in FORBIDDEN.get(own, ())), f"{own} must not import {module}"
        if parts[0] in HEAVY and own not in ("components", "pipelines"):
            assert not top, f"{path.name} imports {parts[0]} at its top: inside functions only"
