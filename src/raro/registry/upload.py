"""What registration puts into MLflow and the store: the LoggedModel, its files, its metrics, and the version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..storage import MANIFEST, SIGNATURE, put_folder, sending_order
from ..tracking import server
from ..tracking.results import scores
from ..tracking.state import Tracked
from . import bom, provenance
from .desk import Desk

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

Progress = Callable[[int, int], None]
SPOKEN = ("README.md", provenance.FILE, bom.FILE, SIGNATURE, MANIFEST)
"""What speaks of a version: with registry.store the LoggedModel holds a copy, which is what MLflow shows."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is registered: the run's parts as the steps before left them."""

    config: Config
    run: Path
    model: Path
    data: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    decision: Mapping[str, Any]
    progress: Progress | None = None


def existing(tracked: Tracked, name: str, root: str) -> ModelVersion | None:
    """The version that an earlier try of this run registered with the same files."""
    found = tracked.client.search_model_versions(f"name = '{name}' and run_id = '{tracked.run_id}'")
    return min((one for one in found if one.tags.get("raro.root") == root), key=lambda one: int(one.version), default=None)


def upload(
    desk: Desk, candidate: Candidate, tracked: Tracked, folder: Path, root: str, tags: Mapping[str, str]
) -> ModelVersion:
    """LoggedModel, its files, its metrics, and the version. With registry.store the weights lie there, once, and the
    LoggedModel holds what speaks of them. What an earlier try has made of it is found and completed."""
    client, name = desk.client, desk.model
    logged = _logged(candidate, tracked, root, tags)
    source = _put(candidate, client, logged.model_id, folder, root)
    client.finalize_logged_model(logged.model_id, "READY")
    _measured(candidate, tracked, logged.model_id)
    desk.begin(tracked.experiment)
    text = "\n".join(candidate.decision["reasons"])
    tags = {**tags, "raro.model_id": logged.model_id}
    with server.everywhere(tracked.uri):
        made = server.created(
            lambda: existing(tracked, name, root),
            lambda: client.create_model_version(name, source, tracked.run_id, tags, description=text, model_id=logged.model_id),
        )
    return client.get_model_version(name, str(made.version))


def _logged(candidate: Candidate, tracked: Tracked, root: str, tags: Mapping[str, str]) -> LoggedModel:
    """The LoggedModel of these files; one that a try made which was cut off later is found again."""
    config, client = candidate.config, tracked.client
    params = {"base": config.base.uri, "steps": str(config.raro.steps), "seed": str(config.seed)}
    mine = f"source_run_id = '{tracked.run_id}' AND tags.`raro.root` = '{root}'"
    return server.created(
        lambda: next(iter(client.search_logged_models([tracked.experiment], mine)), None),
        lambda: client.create_logged_model(
            tracked.experiment, config.registry.model, tracked.run_id, tags, params, model_type="raro"
        ),
    )


def _put(candidate: Candidate, client: MlflowClient, model_id: str, folder: Path, root: str) -> str:
    """Uploads the files to where they stay, and returns the version's source."""
    store = candidate.config.registry.store
    if not store:
        _send(client, model_id, folder, candidate.progress)
        return f"models:/{model_id}"
    store = store if "://" in store else str(Path(store).resolve())
    place = f"{store.rstrip('/')}/models/{root}"
    if not place.startswith("s3://"):
        with contextlib.suppress(OSError):  # what an earlier try left is young again, and `raro gc` leaves it alone
            os.utime(place.removeprefix("file://"))
    source = put_folder(folder, place, candidate.progress)
    for file in SPOKEN:
        if (folder / file).exists():
            client.log_model_artifact(model_id, str(folder / file))
    return source


def _measured(candidate: Candidate, tracked: Tracked, model_id: str) -> None:
    """The evaluation's scores on run and LoggedModel, and the LoggedModel among what the run made."""
    from mlflow.entities import LoggedModelOutput, Metric

    client, path = tracked.client, candidate.run / "evaluation.json"
    now = int(path.stat().st_mtime * 1000) if path.exists() else 0
    measured = scores(dict(candidate.evaluation))
    metrics = [Metric(key, value, now, 0, model_id=model_id) for key, value in measured.items()]
    client.log_batch(tracked.run_id, metrics=metrics)

    def linked() -> bool | None:
        outputs = client.get_run(tracked.run_id).outputs
        return any(one.model_id == model_id for one in outputs.model_outputs) or None

    def link() -> bool:
        client.log_outputs(tracked.run_id, [LoggedModelOutput(model_id, step=0)])
        return True

    server.created(linked, link)


def _send(client: MlflowClient, model_id: str, folder: Path, progress: Progress | None) -> None:
    """Uploads the files into the LoggedModel, one after another; those that an earlier try sent whole stay."""
    listed = sending_order(folder)
    if any("/" in name for name in listed):  # MLflow puts single files at the top only
        client.log_model_artifacts(model_id, str(folder))
        return
    there = {one.path: one.file_size for one in client.list_logged_model_artifacts(model_id)}
    sizes = {name: (folder / name).stat().st_size for name in listed}
    done, total = 0, sum(sizes.values())
    for name in listed:
        if name in (SIGNATURE, MANIFEST) or there.get(name) != sizes[name]:
            client.log_model_artifact(model_id, str(folder / name))
        done += sizes[name]
        if progress:
            progress(done, total)
