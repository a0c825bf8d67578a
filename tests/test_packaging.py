"""The wheel, installed into an empty environment somewhere else, without kfp, mlflow and boto3, runs steps.

An editable installation proves nothing here: components/, pipelines/ and configs/ are mapped folders, which a wheel may lack
while everything works in the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.check


def done(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """What a command printed, failing on stderr too. No environment variable leads it back to the checkout."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    said = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
    assert said.returncode == code, said.stdout + said.stderr
    return said.stdout + (said.stderr if code else "")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: a build leaves folders behind, and later builds would take stale files from them."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("src", "components", "pipelines", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    done(sys.executable, "-m", "pip", "wheel", "-q", ".", "--no-deps", "--no-build-isolation", "-w", target, cwd=source)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """An empty environment with the wheel and what it asks for, in the pinned versions."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    done(sys.executable, "-m", "venv", home, cwd=wheel.parent)
    # uv does not read pip's own configuration, which may name a folder of wheels.
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True)
    find_links = ["--find-links", asked.stdout.strip()] if asked.returncode == 0 else []
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    installer = (
        [uv, "pip", "install", "--python", home / "bin" / "python"] if uv else [home / "bin" / "python", "-m", "pip", "install"]
    )
    done(*installer, "-q", *find_links, "-c", ROOT / "constraints.txt", wheel, cwd=wheel.parent)
    return home


def test_the_wheel_holds_everything_but_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("src/raro", "components", "pipelines", "configs"):
        inside = "raro" if folder == "src/raro" else f"raro/{folder}"
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
                held = f"{inside}/{path.relative_to(ROOT / folder).as_posix()}" in names
                assert held == ("tests" not in path.relative_to(ROOT).parts), path


def test_steps_run_elsewhere_without_pipeline_and_tracking(environment, tmp_path):
    python, raro = environment / "bin" / "python", environment / "bin" / "raro"
    code = "import importlib.util as u, raro; print([n for n in ('kfp', 'mlflow', 'boto3') if u.find_spec(n)], raro.__file__)"
    assert done(python, "-c", code, cwd=tmp_path).startswith(f"[] {environment}")
    assert "usage: raro" in done(raro, "--help", cwd=tmp_path)
    for name, output in (("preflight", "device"), ("ingest", "verdict")):
        said = done(raro, "step", name, "--output", "run", cwd=tmp_path)
        assert output in json.loads(said.splitlines()[-1])["outputs"]
        assert json.loads((tmp_path / "run" / name / "manifest.json").read_text())["status"] == "done"
    assert not (tmp_path / "run" / "mlflow.db").exists()
    said = done(raro, "run", cwd=tmp_path, code=2)
    assert "needs kfp, which is not installed" in said and "raro-pipelines[pipeline]" in said
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
