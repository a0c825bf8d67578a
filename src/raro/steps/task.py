"""One task of a Kubeflow pipeline around one step: what a component's body calls, and all it calls.

kfp is not imported here; its artifacts are taken as they come (`path` to read or write, `metadata` to fill).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..config import Config, stored
from ..errors import INTERRUPTED, BadInput, GateRefused, RaroError, ServiceFailed
from ..storage import MANIFEST, read_json
from ..tracking.kubeflow import JOB
from . import lifeline, run_step
from .alone import POD
from .claim import CONFIG
from .harness import explained, record_failure
from .held import check_gpus

STOPPING = "RARO_STOPPING"


class Artifact(Protocol):
    """What is used of kfp's artifacts."""

    path: str
    metadata: dict[str, Any]


def perform(
    name: str, config: str, run: str, job: str, manifest: Artifact, inputs: Mapping[str, Artifact] | None = None, **more: Any
) -> dict[str, Any]:
    """Runs step `name` and returns its outputs.

    config: canonical JSON. run: the run's folder, or with a slash at its end the folder of all runs, where this one's is named
    by `job`, the pipeline run's id: a schedule starts many runs with the same parameters. manifest: gets a copy of the step's
    manifest.json. inputs: manifests of the steps before; what lies in the run's folder must be what they name. Leaves with the
    exit code of the error, after telling it in one line: a task's log is read by people. $RARO_STOPPING in the environment: the
    pipeline was interrupted, and starts nothing more but the exit handler. On this machine a task ends where its pipeline's
    process is killed.
    """
    if STOPPING in os.environ and name != "finish":
        raise SystemExit(INTERRUPTED)
    lifeline.watch(lifeline.end)
    folder = folder_of(run, job)
    if POD in os.environ:
        os.environ[JOB] = job
    try:
        parsed = stored(config)
        _check_resumed(run, folder)
        _check_gpus(name, parsed, folder)
        _check_lineage(name, parsed, folder, inputs or {})
        outputs = run_step(name, parsed, folder, retry=True, **more)
    except RaroError as error:
        print(explained(error), file=sys.stderr, flush=True)
        raise SystemExit(error.code) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    written = read_json(folder / name / MANIFEST)
    Path(manifest.path).parent.mkdir(parents=True, exist_ok=True)
    Path(manifest.path).write_text(json.dumps(written, indent=2), encoding="utf-8")
    manifest.metadata |= {"step": name, "root": written["root"], "config_digest": written["config_digest"]}
    manifest.metadata |= {key: value for key, value in outputs.items() if value is not None}
    return outputs


def folder_of(run: str, job: str) -> Path:
    """The run's folder: `run`, or the one named `job` in it where it ends with a slash."""
    return Path(run, job) if run.endswith("/") else Path(run)


def _check_resumed(run: str, folder: Path) -> None:
    """Raises BadInput where a run of Kubeflow's is told to go on in a folder that holds none: it would train from the start."""
    if POD in os.environ and not run.endswith("/") and not (folder / CONFIG).exists():
        raise BadInput(f"no run lies in '{folder}' to go on with", "name another one with --resume, or start a new one")


def _check_gpus(name: str, config: Config, run: Path) -> None:
    """Records the failure too, where the node lacks its GPUs."""
    os.environ.setdefault("OMP_NUM_THREADS", str(config.resources.threads))  # torch reads it once, when it is imported
    try:
        check_gpus()
    except ServiceFailed as error:
        record_failure(name, config, run, error)
        raise


def _check_lineage(name: str, config: Config, run: Path, inputs: Mapping[str, Artifact]) -> None:
    """Raises GateRefused where a step's folder is not the one that its task handed on."""
    for before, artifact in inputs.items():
        handed, found = read_json(artifact.path)["root"], read_json(run / before / MANIFEST)["root"]
        if handed != found:
            line = f"step '{before}' produced {handed[:12]}, but '{run / before}' now holds {found[:12]}"
            error = GateRefused(line, "let one pipeline at a time write into a run's folder")
            record_failure(name, config, run, error)
            raise error
