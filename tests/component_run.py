"""A tiny run made once for the tests of all components (components/STEP/tests), and each of its tasks begun again as Kubeflow
begins it: the component's own function, with manifests as artifacts.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from raro.config import Config, load
from raro.pipelines.local import discard
from raro.shared import filling
from raro.steps import TITLES
from raro.storage import read_json, write_json

OWN = {"raro.steps": 2, "resources.processes": 1, "gate.min_readable": 0}
JOB = "a-job"
PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)
"""Where MLflow's store holds places on this disk."""


def configured(**gate: float) -> Config:
    """The tests' small run, so set that whatever was learnt is promoted, unless its gate asks for something else."""
    from test_pipeline import GATES, SMALL

    values = SMALL | GATES["promote"] | OWN | {f"gate.{key}": value for key, value in gate.items()}
    return load("countdown-mini", [f"{key}={value}" for key, value in values.items()])


@dataclass
class Begun:
    """A run's folder as one of its tasks finds it."""

    folder: Path
    config: str
    handed: dict[str, dsl.Artifact] = field(default_factory=dict)

    def task(self, name: str, **more: Any) -> Any:
        """What component `name` returns. handed: its output artifacts, by name. more: arguments instead of the run's own."""
        function = getattr(importlib.import_module(f"raro.components.{name}.component"), name).python_func
        given = {"config": self.config, "run": str(self.folder), "job": JOB}
        outputs = {}
        for argument, kind in inspect.signature(function).parameters.items():
            if argument in given or argument in more:
                continue
            if argument in TITLES:
                if kind.default is inspect.Parameter.empty or (self.folder / argument).exists():
                    more[argument] = dsl.Artifact(uri=str(self.folder / argument / "manifest.json"))
                continue
            made = {"report": dsl.HTML, "metrics": dsl.Metrics, "solved": dsl.ClassificationMetrics}.get(argument, dsl.Artifact)
            outputs[argument] = made(uri=str(self.folder / ".handed" / name / argument))
        self.handed |= outputs
        return function(**(given | outputs | more))

    def asking(self, **gate: float) -> Begun:
        """The same run as if its gate had asked for this from the beginning."""
        config = configured(**gate)
        (self.folder / "config.json").write_text(config.canonical() + "\n", encoding="utf-8")
        for path in self.folder.glob("*/manifest.json"):
            write_json(path, read_json(path) | {"config_digest": config.digest, "identity": config.identity})
        return Begun(self.folder, config.canonical())

    def next_run(self) -> Begun:
        """A new run that has not begun, beside this one, whose champion it meets."""
        folder = self.folder.with_name("next")
        folder.mkdir()
        (folder / "config.json").write_text(self.config + "\n", encoding="utf-8")
        return Begun(folder, self.config)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Begun:
    """A promoted run, each step done by its component; one for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "components" / "run"
    begun = Begun(folder, configured().canonical())
    with filling(folder.with_suffix(".made")) as made:
        if not folder.with_suffix(".made").exists():
            shutil.rmtree(folder, ignore_errors=True)  # what one that failed has left
            folder.mkdir(parents=True)
            for name in ("preflight", "ingest", "warmstart", "train", "evaluate", "decide", "register"):
                begun.task(name)
            made.touch()
            made.rename(folder.with_suffix(".made"))
    return begun


@pytest.fixture
def before(whole_run, tmp_path) -> Callable[[str], Begun]:
    """before(STEP): a copy of the run as that step's task finds it when it begins."""

    def copied(step: str) -> Begun:
        folder = tmp_path / "run"
        shutil.copytree(whole_run.folder, folder)
        discard(folder, step)
        if step == "finish":  # the store's paths are absolute: a copy must not write into what it is a copy of
            with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
                for table, column in PATHS:
                    store.execute(
                        f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(whole_run.folder), str(folder))
                    )
        else:  # nothing was registered yet
            for name in ("mlartifacts", "audit"):
                shutil.rmtree(folder / name, ignore_errors=True)
            for name in ("mlflow.db", ".tracking.json"):
                (folder / name).unlink(missing_ok=True)
        return Begun(folder, whole_run.config)

    return copied
