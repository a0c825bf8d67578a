"""The model a run starts from: wherever `storage` reads, or a version that was registered before.

`models:/NAME@ALIAS` and `models:/NAME/VERSION` are MLflow's own words. Such a base is found where the champion is (models.py),
and its files are checked against their manifest at each use. An alias moves, perhaps by this very run: which version it means
is settled once and kept in RUN/base.json, with digest and licence.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..config import Config
from ..errors import BadInput
from ..storage import fetch, manifest, read_json, write_json
from .models import fetched, version_at

SETTLED = "base.json"
_REGISTERED = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))")


def base_folder(config: Config, run: Path, keep: bool = True) -> Path:
    """The folder of the base on this machine. keep: settle an alias for the run.

    Raises BadInput where there is none or its licence is not the configuration's, GateRefused where a registered version's
    files are not the registered ones, ServiceFailed where a store fails.
    """
    uri = config.base.uri
    if not uri.startswith("models:/"):
        return fetch(uri)
    name, at = _named(base_uri(config, run))
    found = version_at(config, run, name, at)
    if found is None:
        line = f"base '{uri}': no registered version of '{name}' is found at '{at}'"
        raise BadInput(line, "set tracking.uri to the server that has it, or start beside the run that registered it")
    version, folder = found[0], fetched(*found)
    licence = version.tags.get("raro.licence.base", "unknown")
    if config.base.licence != licence:
        line = f"base.licence is '{config.base.licence}', and the licence of base '{uri}' is '{licence}'"
        raise BadInput(line, f"set base.licence: {licence}")
    if keep and not (run / SETTLED).is_file():
        settled = {"uri": f"models:/{name}/{version.version}", "root": version.tags["raro.root"], "licence": licence}
        write_json(run / SETTLED, settled)
    return folder


def base_uri(config: Config, run: Path) -> str:
    """Its address as the run has settled it, which never moves."""
    settled = run / SETTLED
    return read_json(settled)["uri"] if settled.is_file() else config.base.uri


def base_digest(config: Config, run: Path) -> str:
    """Root digest of the base model's files."""
    return manifest(base_folder(config, run))["root"]


def _named(uri: str) -> tuple[str, str]:
    """(name, alias or version) of a registered model's address."""
    match = _REGISTERED.fullmatch(uri)
    if not match:
        raise BadInput(f"base '{uri}' names no registered version", "write models:/NAME@ALIAS or models:/NAME/VERSION")
    return match[1], match[2] or match[3]
