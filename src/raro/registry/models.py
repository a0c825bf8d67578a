"""Registered models in MLflow: a version is a flat Hugging Face folder with a card and a manifest of every file inside.

The folder is a LoggedModel without an MLflow flavor: what is downloaded by alias is what transformers, vLLM and KServe open.
Aliases say the standing: `champion` serves, `challenger` waits for a person. A version is verified against its manifest before
it is uploaded, after it is downloaded again, and at each later use.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from ..config import Config
from ..errors import BadInput, GateRefused
from ..storage import (
    MANIFEST,
    fetch,
    manifest,
    publish_folder,
    put_folder,
    read_json,
    verify,
    write_atomic,
    write_json,
    writing,
)
from ..tracking import server
from ..tracking.runs import Tracked, open_run, scores
from .card import card

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

REGISTRATION = "register/registration.json"
ALIASES = {"promote": "champion", "hold": "challenger"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Champion:
    """A registered version, verified. uri: where its files lie, immutable. root: digest of all its files. path: the files here.
    registered_at: UTC, ISO 8601. The digests say what it was made from."""

    name: str
    version: str
    uri: str
    root: str
    data_digest: str
    config_digest: str
    base_digest: str
    registered_at: str
    run_id: str
    path: Path


# --------------------------------------------------------------------------------------------------------------- registering


def register(
    config: Config, run: Path, model: Path, data: Mapping[str, Any], evaluation: Mapping[str, Any], decision: Mapping[str, Any]
) -> dict[str, Any]:
    """Registers the model folder of this run under the alias its decision earns, and returns registration.json.

    data, evaluation, decision: what ingest, evaluate and decide wrote. Doing it again for the same run and the same files gives
    the same version. Raises GateRefused where the files are not what their manifest says, ServiceFailed where the registry
    fails.
    """
    alias = ALIASES[decision["decision"]]
    with _dressed(config, run, model, data, evaluation, decision) as folder:
        listing = read_json(folder / MANIFEST)
        verify(folder, listing)
        digests = {
            "raro.root": listing["root"],
            "raro.config_digest": config.digest,
            "raro.data_digest": data["digest"],
            "raro.base_digest": base_digest(config),
        }
        tracked = open_run(config, run)
        with server.speaking(tracked.uri):
            version = _existing(tracked, config.registry.model, listing["root"])
            if version is None:
                tags = {**digests, "raro.decision": decision["decision"], "raro.registered_at": datetime.now(UTC).isoformat()}
                version = _upload(config, run, tracked, folder, listing["root"], tags, evaluation, decision)
    client, name = tracked.client, config.registry.model
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=run) as scratch, server.speaking(tracked.uri):
        _checked(version, _files(client, tracked.uri, version, run, Path(scratch)))
        client.set_registered_model_alias(name, alias, str(version.version))
        standing = client.get_model_version_by_alias(name, alias)
        client.set_tag(tracked.run_id, "raro.registered", f"{name} version {version.version}, {alias}")
    if str(standing.version) != str(version.version):
        raise GateRefused(
            f"'{name}@{alias}' became version {standing.version}, not {version.version}", "see who else registers"
        )
    return {
        "model": name,
        "version": str(version.version),
        "alias": alias,
        "uri": f"models:/{name}@{alias}",
        "source": version.source,
        "root": listing["root"],
        "run_id": tracked.run_id,
        "tracking": server.shown(tracked.uri),
        "registered_at": version.tags["raro.registered_at"],
        **{key.removeprefix("raro."): value for key, value in digests.items() if key != "raro.root"},
    }


def base_digest(config: Config) -> str:
    """Root digest of the base model's files."""
    return manifest(fetch(config.base.uri))["root"]


@contextmanager
def _dressed(
    config: Config, run: Path, model: Path, data: Mapping[str, Any], evaluation: Mapping[str, Any], decision: Mapping[str, Any]
) -> Iterator[Path]:
    """The model's files with card and manifest beside them, in a folder that lasts as long as the block; weights are linked."""
    with tempfile.TemporaryDirectory(prefix=".register-", dir=run) as scratch, writing(run):
        folder = Path(scratch) / "model"
        shutil.copytree(model, folder, copy_function=_link, ignore=shutil.ignore_patterns(MANIFEST))
        (folder / "README.md").unlink(missing_ok=True)
        write_atomic(folder / "README.md", card(config, data, evaluation, decision))
        write_json(folder / MANIFEST, manifest(folder))
        yield folder


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
    return target


def _existing(tracked: Tracked, name: str, root: str) -> ModelVersion | None:
    """The version that an earlier try of this run registered with the same files."""
    for version in tracked.client.search_model_versions(f"name = '{name}' and run_id = '{tracked.run_id}'"):
        if version.tags.get("raro.root") == root:
            return version
    return None


def _upload(
    config: Config,
    run: Path,
    tracked: Tracked,
    folder: Path,
    root: str,
    tags: dict[str, str],
    evaluation: Mapping[str, Any],
    decision: Mapping[str, Any],
) -> ModelVersion:
    """LoggedModel, its files, its metrics, and the version. With registry.store the weights lie there, once, and the
    LoggedModel holds card and manifest."""
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.exceptions import MlflowException

    client, name, store = tracked.client, config.registry.model, config.registry.store
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
        source = put_folder(folder, f"{store.rstrip('/')}/models/{root}")
        for file in ("README.md", MANIFEST):
            client.log_model_artifact(logged.model_id, str(folder / file))
    else:
        source = f"models:/{logged.model_id}"
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    now = int((run / "evaluation.json").stat().st_mtime * 1000) if (run / "evaluation.json").exists() else 0
    metrics = [Metric(key, value, now, 0, model_id=logged.model_id) for key, value in scores(dict(evaluation)).items()]
    client.log_batch(tracked.run_id, metrics=metrics)
    if not half_made:
        client.log_outputs(tracked.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    text = "\n".join(decision["reasons"])
    tags = {**tags, "raro.model_id": logged.model_id}
    with server.everywhere(tracked.uri):
        made = client.create_model_version(name, source, tracked.run_id, tags, description=text, model_id=logged.model_id)
    return client.get_model_version(name, str(made.version))


# ----------------------------------------------------------------------------------------------------------------- finding


def champion(config: Config, run: str | Path, alias: str = "champion") -> Champion | None:
    """The version that stands at the alias, its files here and verified; None where there is none.

    With a tracking server it is asked. Without one each run folder has its own store: this run's and its siblings' are looked
    through, and the version registered last is taken. mlflow is imported only where some run has registered something. Raises
    GateRefused where the files are not the registered ones, ServiceFailed where the store fails.
    """
    run = Path(run)
    uri = server.address(config, run)
    stores = [(uri, run)] if uri != server.sqlite(run) else [(server.sqlite(home), home) for home in _homes(config, run)]
    found = [(version, uri, home) for uri, home in stores if (version := _at_alias(uri, config.registry.model, alias))]
    if not found:
        return None
    version, uri, home = max(found, key=lambda entry: entry[0].tags.get("raro.registered_at", ""))
    client = server.connect(uri)
    with server.speaking(uri):
        path = _files(client, uri, version, home, None)
    _checked(version, path)
    tags = version.tags
    return Champion(
        name=version.name,
        version=str(version.version),
        uri=version.source,
        root=tags["raro.root"],
        data_digest=tags["raro.data_digest"],
        config_digest=tags["raro.config_digest"],
        base_digest=tags["raro.base_digest"],
        registered_at=tags["raro.registered_at"],
        run_id=version.run_id,
        path=path,
    )


def unchanged(found: Champion | None, config: Config, data_digest: str) -> bool:
    """Whether a run would only make this champion again: same data, same configuration, same base."""
    return (
        found is not None
        and (found.data_digest, found.config_digest) == (data_digest, config.digest)
        and found.base_digest == base_digest(config)
    )


def _homes(config: Config, run: Path) -> list[Path]:
    """This run folder and its siblings, as far as they have registered a model of this name."""
    files = [run / REGISTRATION, *run.resolve().parent.glob(f"*/{REGISTRATION}")]
    homes = {
        file.parent.parent.resolve()
        for file in files
        if file.is_file()
        and (file.parent.parent / server.DATABASE).is_file()
        and read_json(file)["model"] == config.registry.model
    }
    return sorted(homes)


def _at_alias(uri: str, name: str, alias: str) -> ModelVersion | None:
    client = server.connect(uri)
    from mlflow.exceptions import MlflowException

    with server.speaking(uri):
        try:
            model = client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return client.get_model_version(name, str(model.aliases[alias])) if alias in model.aliases else None


def _files(client: MlflowClient, uri: str, version: ModelVersion, home: Path, scratch: Path | None) -> Path:
    """The version's files on this machine. scratch: download there, not into the cache."""
    source = version.source
    if not source.startswith("models:/"):
        return fetch(source, scratch)
    location = client.get_logged_model(source.removeprefix("models:/")).artifact_location
    parts = urlparse(location)
    if parts.scheme in ("", "file"):
        return _moved(Path(unquote(parts.path)), home)
    if parts.scheme == "s3":
        return fetch(location, scratch)
    from mlflow.artifacts import download_artifacts

    cache = Path(os.environ.get("RARO_CACHE") or Path.home() / ".cache" / "raro")
    entry = (scratch or cache) / "models" / version.tags["raro.root"]
    if not _whole(entry):
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=entry.parent) as partial:
            got = download_artifacts(artifact_uri=location, dst_path=partial, tracking_uri=uri, registry_uri=uri)
            _checked(version, Path(got))
            publish_folder(got, entry)
    return entry


def _moved(path: Path, home: Path) -> Path:
    """MLflow remembers absolute paths; a run folder that was moved since is still read."""
    if path.exists() or server.ARTIFACTS not in path.parts:
        return path
    parts = path.parts[path.parts.index(server.ARTIFACTS) :]
    return home.joinpath(*parts)


def _whole(folder: Path) -> bool:
    if not (folder / MANIFEST).is_file():
        return False
    try:
        verify(folder, read_json(folder / MANIFEST))
    except (GateRefused, BadInput):
        return False  # a damaged cache is fetched again
    return True


def _checked(version: ModelVersion, folder: Path) -> None:
    """Raises GateRefused unless the folder holds exactly what was registered."""
    who = f"'{version.name}' version {version.version}"
    if "raro.root" not in version.tags:
        raise GateRefused(f"{who} was not registered by raro: it has no root digest", "give the alias to another version")
    if not (folder / MANIFEST).is_file():
        raise GateRefused(f"the files of {who} are not at '{folder}'", "restore them, or give the alias to another version")
    listing = read_json(folder / MANIFEST)
    if listing["root"] != version.tags["raro.root"]:
        raise GateRefused(f"the files of {who} are not those that were registered", "restore them from a copy")
    verify(folder, listing)
