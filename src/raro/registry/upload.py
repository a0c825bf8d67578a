"""What registration puts into MLflow and the store: the LoggedModel, its files, its metrics, and the version."""

from __future__ import annotations

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
from .keys import Key
from .policy import policy_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Progress = Callable[[int, int], None]


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


def signed_by(key: Key | None) -> dict[str, str]:
    return {"raro.signed_by": key.id} if key else {}


def existing(tracked: Tracked, name: str, root: str) -> ModelVersion | None:
    """The version that an earlier try of this run registered with the same files."""
    for version in tracked.client.search_model_versions(f"name = '{name}' and run_id = '{tracked.run_id}'"):
        if version.tags.get("raro.root") == root:
            return version
    return None


def upload(candidate: Candidate, tracked: Tracked, folder: Path, root: str, tags: dict[str, str]) -> ModelVersion:
    """LoggedModel, its files, its metrics, and the version. With registry.store the weights lie there, once, and the
    LoggedModel holds what speaks of them."""
    from mlflow.entities import LoggedModelOutput, Metric

    config, run, client = candidate.config, candidate.run, tracked.client
    name, store = config.registry.model, config.registry.store
    params = {"base": config.base.uri, "steps": str(config.raro.steps), "seed": str(config.seed)}
    mine = f"source_run_id = '{tracked.run_id}' AND tags.`raro.root` = '{root}'"
    half_made = client.search_logged_models([tracked.experiment], mine)  # by a try that was cut off before the version was made
    logged = (
        half_made[0]
        if half_made
        else client.create_logged_model(tracked.experiment, name, tracked.run_id, tags, params, model_type="raro")
    )
    if store:
        store = store if "://" in store else str(Path(store).resolve())
        source = put_folder(folder, f"{store.rstrip('/')}/models/{root}", candidate.progress)
        for file in ("README.md", provenance.FILE, bom.FILE, SIGNATURE, MANIFEST):
            if (folder / file).exists():
                client.log_model_artifact(logged.model_id, str(folder / file))
    else:
        source = f"models:/{logged.model_id}"
        _send(client, logged.model_id, folder, bool(half_made), candidate.progress)
    client.finalize_logged_model(logged.model_id, "READY")
    measured = scores(dict(candidate.evaluation))
    now = int((run / "evaluation.json").stat().st_mtime * 1000) if (run / "evaluation.json").exists() else 0
    metrics = [Metric(key, value, now, 0, model_id=logged.model_id) for key, value in measured.items()]
    client.log_batch(tracked.run_id, metrics=metrics)
    if not half_made:
        client.log_outputs(tracked.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    Desk(client, tracked.uri, name, run, config, policy_of(config)).begin(tracked.experiment)
    text = "\n".join(candidate.decision["reasons"])
    tags = {**tags, "raro.model_id": logged.model_id}
    with server.everywhere(tracked.uri):
        made = client.create_model_version(name, source, tracked.run_id, tags, description=text, model_id=logged.model_id)
    return client.get_model_version(name, str(made.version))


def _send(client: MlflowClient, model_id: str, folder: Path, again: bool, progress: Progress | None) -> None:
    """Uploads the files into the LoggedModel, one after another; again: those that an earlier try sent whole stay."""
    listed = sending_order(folder)
    if any("/" in name for name in listed):  # MLflow puts single files at the top only
        client.log_model_artifacts(model_id, str(folder))
        return
    there = {one.path: one.file_size for one in client.list_logged_model_artifacts(model_id)} if again else {}
    sizes = {name: (folder / name).stat().st_size for name in listed}
    done, total = 0, sum(sizes.values())
    for name in listed:
        if name in (SIGNATURE, MANIFEST) or there.get(name) != sizes[name]:
            client.log_model_artifact(model_id, str(folder / name))
        done += sizes[name]
        if progress:
            progress(done, total)
