"""Registered models in MLflow: a version is a flat Hugging Face folder with a card and a manifest of every file inside.

The folder is a LoggedModel without an MLflow flavor: what is downloaded by alias is what transformers, vLLM and KServe open.
Aliases say the standing: `champion` serves, `challenger` waits for a person. A version is verified against its manifest before
it is uploaded, after it is downloaded again (registration.py), and at each later use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlparse

from ..config import Config
from ..errors import BadInput, GateRefused
from ..shared import filling, own_folder
from ..storage import MANIFEST, cache_folder, fetch, publish_folder, read_json, verify
from ..tracking import server
from .folder import listing as listed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Found = TypeVar("Found")
REGISTRATION = "register/registration.json"
BEGUN = ".version.json"  # in the run's folder: what was uploaded and read back, whether or not its step was finished
ROOT = re.compile(r"[0-9a-f]{64}")
ROOTLESS, OTHER = "it has no root digest", "give the alias to another version"
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


def champion(config: Config, run: str | Path) -> Champion | None:
    """The version that stands at `champion`, its files here and verified; None where there is none.

    Raises GateRefused where the files are not the registered ones, ServiceFailed where the store fails.
    """
    found = version_at(config, Path(run), config.registry.model, "champion")
    if not found:
        return None
    version, path = found[0], fetched(*found)
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


def unchanged(found: Champion | None, config: Config, data_digest: str, base_digest: str) -> bool:
    """Whether a run would only make this champion again: same data, same configuration, same base."""
    return found is not None and (found.data_digest, found.config_digest, found.base_digest) == (
        data_digest,
        config.digest,
        base_digest,
    )


def version_at(config: Config, run: Path, name: str, at: str) -> tuple[ModelVersion, str, Path] | None:
    """(version, its store's address, the store's run folder) of a model's alias or number; None where there is none.

    With a tracking server it is asked. Without one each run folder has its own store: this run's and its siblings' are looked
    through, and the version registered last is taken. mlflow is imported only where some run has registered something. Raises
    BadInput where several stores have another version of that number, ServiceFailed where the store fails.
    """
    uri = server.address(config, run)
    stores = [(uri, run)] if uri != server.sqlite(run) else [(server.sqlite(home), home) for home in _homes(run, name)]
    found = [(version, uri, home) for uri, home in stores if (version := _at(uri, name, at))]
    if at.isdigit() and len({version.tags.get("raro.root") for version, *_ in found}) > 1:
        homes = ", ".join(f"'{home}'" for *_, home in found[:3])
        raise BadInput(f"version {at} of '{name}' is another one in each of {homes}", "name an alias, or the model's folder")
    return max(found, key=lambda entry: entry[0].tags.get("raro.registered_at", ""), default=None)


def fetched(version: ModelVersion, uri: str, home: Path) -> Path:
    """The version's files on this machine, verified. Raises GateRefused, ServiceFailed."""
    client = server.connect(uri)
    with server.speaking(uri):
        path = files(client, uri, version, home, None)
    checked(version, path)
    return path


def model_of(registration: Path) -> str:
    """The model that a run's registration.json names; empty where it names none."""
    found = read_json(registration)
    return str(found.get("model", "")) if isinstance(found, dict) else ""


def candidate_of(run: Path) -> str:
    """Root of the step that made the run's candidate; empty where it has not finished."""
    return read_json(path)["root"] if (path := run / "train" / MANIFEST).is_file() else ""


def _homes(run: Path, name: str) -> list[Path]:
    """This run folder and its siblings, as far as they have registered a model of this name."""
    files = [run / REGISTRATION, *run.resolve().parent.glob(f"*/{REGISTRATION}")]
    homes = {
        file.parent.parent.resolve()
        for file in files
        if file.is_file() and (file.parent.parent / server.DATABASE).is_file() and model_of(file) == name
    }
    return sorted(homes)


def _at(uri: str, name: str, at: str) -> ModelVersion | None:
    """at: an alias, or a version's number."""
    client = server.connect(uri)
    with server.speaking(uri):
        number = at
        if not at.isdigit():
            registered = lookup(client.get_registered_model, name)
            number = registered and registered.aliases.get(at)
        return lookup(client.get_model_version, name, str(number)) if number else None


def lookup(call: Callable[..., Found], *given: str) -> Found | None:
    """What MLflow's client answers to this call; None where there is no such thing. Raises MlflowException for all else."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*given)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def files(
    client: MlflowClient, uri: str, version: ModelVersion, home: Path, scratch: Path | None, unchecked: bool = False
) -> Path:
    """The version's files on this machine. scratch: download there, not into the cache. unchecked: whoever asks compares them
    with their manifest. Raises GateRefused where MLflow has lost them."""
    source = version.source
    if not source.startswith("models:/"):
        return fetch(source, scratch)
    logged = lookup(client.get_logged_model, source.removeprefix("models:/"))
    if logged is None:
        raise GateRefused(f"the files of {_called(version)} are gone: their logged model was deleted from MLflow", OTHER)
    location = logged.artifact_location
    parts = urlparse(location)
    if parts.scheme in ("", "file"):
        return moved(Path(unquote(parts.path)), home)
    if parts.scheme == "s3":
        return fetch(location, scratch)
    from mlflow.artifacts import download_artifacts

    root = version.tags.get("raro.root", "")
    if not unchecked and not ROOT.fullmatch(root):  # whoever writes to MLflow may write a path there
        raise GateRefused(f"{_called(version)} was not registered by raro: {ROOTLESS}", OTHER)
    entry = own_folder(scratch or cache_folder()) / "models" / ("unchecked" if unchecked else root)
    if unchecked or not _whole(entry):
        with filling(entry) as partial:
            if unchecked or not _whole(entry):  # another process has fetched it meanwhile
                partial.mkdir()
                got = download_artifacts(artifact_uri=location, dst_path=str(partial), tracking_uri=uri, registry_uri=uri)
                if not unchecked:
                    checked(version, Path(got))
                publish_folder(got, entry)
    return entry


def copies(client: MlflowClient, uri: str, model_id: str, names: Sequence[str], home: Path, scratch: Path) -> dict[str, Path]:
    """What a LoggedModel holds of these files, here; nothing where there is no such model."""
    from mlflow.artifacts import download_artifacts

    logged = lookup(client.get_logged_model, model_id)
    if logged is None:
        return {}
    location = logged.artifact_location
    parts = urlparse(location)
    if parts.scheme in ("", "file"):
        place = moved(Path(unquote(parts.path)), home)
        return {name: place / name for name in names if (place / name).is_file()}
    there = {one.path for one in client.list_logged_model_artifacts(model_id)}
    scratch.mkdir(parents=True, exist_ok=True)
    return {
        name: Path(download_artifacts(artifact_uri=f"{location}/{name}", dst_path=str(scratch), tracking_uri=uri))
        for name in names
        if name in there
    }


def moved(path: Path, home: Path) -> Path:
    """MLflow remembers absolute paths; a run folder that was moved since is still read."""
    if path.exists() or server.ARTIFACTS not in path.parts:
        return path
    parts = path.parts[path.parts.index(server.ARTIFACTS) :]
    return home.joinpath(*parts)


def _whole(folder: Path) -> bool:
    if not (folder / MANIFEST).is_file():
        return False
    try:
        verify(folder, listed(folder))
    except (GateRefused, BadInput):
        return False  # a damaged cache is fetched again
    return True


def _called(version: ModelVersion) -> str:
    return f"'{version.name}' version {version.version}"


def checked(version: ModelVersion, folder: Path) -> None:
    """Raises GateRefused unless the folder holds exactly what was registered."""
    who = _called(version)
    if "raro.root" not in version.tags:
        raise GateRefused(f"{who} was not registered by raro: {ROOTLESS}", OTHER)
    if not (folder / MANIFEST).is_file():
        raise GateRefused(f"the files of {who} are not at '{folder}'", "restore them, or give the alias to another version")
    listing = listed(folder)
    if listing["root"] != version.tags["raro.root"]:
        raise GateRefused(f"the files of {who} are not those that were registered", "restore them from a copy")
    verify(folder, listing)
