"""Where a model came from, as an in-toto statement with SLSA's provenance predicate: provenance.json inside the model's folder.

A function of the run alone, like the card. subject: the model's own files. buildDefinition: configuration, base,
demonstrations, image, source revision. runDetails: the MLflow run, when it ran, and the evidence by digest, as it lies in the
run's artifacts.
Source: https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import Config
from ..errors import GateRefused
from ..storage import digest_file, manifest, read_json
from ..tracking import events
from .bases import base_uri

FILE = "provenance.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILDER = "https://github.com/raro-pipelines/retraining"
BUILD = f"{BUILDER}@v1"
EVIDENCE = ("config.json", "evaluation.json", "ingest/data.json", "decide/decision.json")
"""What an audit reads again, relative to the run's folder and to the MLflow run's artifacts."""


def evidence(run: Path) -> dict[str, str]:
    """{path: sha256} of the run's files that an audit reads again. Raises GateRefused where one is missing: what is registered
    without it no audit ever finds whole."""
    if missing := [name for name in EVIDENCE if not (run / name).is_file()]:
        line = f"'{run / missing[0]}', which an audit reads again, is not there"
        raise GateRefused(line, f"restore it, or decide again: raro run --output {run} --from decide")
    return {name: digest_file(run / name) for name in EVIDENCE}


def above(name: str) -> str | None:
    """The folder of MLflow's artifacts that an evidence file lies in; None at the top."""
    folder = str(Path(name).parent)
    return None if folder == "." else folder


def statement(
    config: Config, run: Path, folder: Path, data: Mapping[str, Any], base: str, run_id: str, tracking: str
) -> dict[str, Any]:
    """The statement. folder: the model's files. base: root digest of the base. run_id, tracking: the MLflow run and where."""
    made = machine(run)
    revision, image = made.get("git"), made.get("image", "")
    dependencies = [
        {
            "name": "base",
            "uri": base_uri(config, run),
            "digest": {"sha256": base},
            "annotations": {"licence": config.base.licence},
        },
        {
            "name": "demonstrations",
            "uri": config.demonstrations.source,
            "digest": {"sha256": data["digest"]},
            "annotations": {"licence": config.demonstrations.licence, "sources": data.get("sources", [])},
        },
    ]
    if revision:
        dependencies.append(
            {"name": "source", "digest": {"gitCommit": revision.split("-")[0]}, "annotations": {"describe": revision}}
        )
    if "@sha256:" in image:
        dependencies.append({"name": "image", "uri": image, "digest": {"sha256": image.rpartition("@sha256:")[2]}})
    files = manifest(folder, ("README.md", FILE, "bom.cdx.json"))["files"]
    return {
        "_type": STATEMENT,
        "subject": [{"name": file["path"], "digest": {"sha256": file["sha256"]}} for file in files],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"config": json.loads(config.canonical()), "configDigest": config.digest},
                "internalParameters": {key: made[key] for key in ("python", "packages", "device") if key in made},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"raro-pipelines": __version__}},
                "metadata": {"invocationId": run_id, **_times(run)},
                "byproducts": [
                    {"name": name, "uri": f"runs:/{run_id}/{name}", "digest": {"sha256": digest}}
                    for name, digest in evidence(run).items()
                ]
                + [{"name": "tracking", "uri": tracking}],
            },
        },
    }


def machine(run: Path) -> dict[str, Any]:
    """Where the model was trained: environment.json of preflight, in which the training task's own image, Python, packages and
    device stand instead. On a cluster the two run in other images, on other nodes."""
    environment, trained = run / "preflight" / "environment.json", run / "train" / "train.json"
    found = read_json(environment) if environment.is_file() else {}
    return found | (read_json(trained).get("machine", {}) if trained.is_file() else {})


def parts(found: Mapping[str, Any]) -> dict[str, Any]:
    """What an audit compares of a statement: {"subject" {path: sha256}, "config", "config_digest", "dependencies" {name:
    digest}, "run_id", "evidence" {path: sha256}}. Raises KeyError or TypeError where it is no such statement."""
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    if (found["_type"], found["predicateType"]) != (STATEMENT, PREDICATE):
        raise KeyError("predicateType")
    return {
        "subject": {one["name"]: one["digest"]["sha256"] for one in found["subject"]},
        "config": definition["externalParameters"]["config"],
        "config_digest": definition["externalParameters"]["configDigest"],
        "dependencies": {one["name"]: one["digest"] for one in definition["resolvedDependencies"]},
        "run_id": details["metadata"]["invocationId"],
        "evidence": {one["name"]: one["digest"]["sha256"] for one in details["byproducts"] if "digest" in one},
    }


def _times(run: Path) -> dict[str, str]:
    """startedOn, finishedOn: from the first event to the decision."""
    found = events.read(run)[0]
    decided = [event["time"] for event in found if event["stage"] == "decide" and event["kind"] == "done"]
    if not decided:
        return {}
    spoken = {"startedOn": found[0]["time"], "finishedOn": decided[-1]}
    return {name: datetime.fromtimestamp(int(when), UTC).isoformat().replace("+00:00", "Z") for name, when in spoken.items()}
