"""Which data a registered model was made from: the manifest (data.json) that its run left."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..config import Config
from ..storage import read_json
from ..tracking import server
from .models import Champion

MANIFEST = "ingest/data.json"


def manifest_of(version: Champion, config: Config, run: Path) -> dict[str, Any] | None:
    """The data manifest of a registered version, from a run folder beside this one or from its run in MLflow; None where
    neither holds it any more. Raises ServiceFailed where the server fails."""
    for path in sorted(run.resolve().parent.glob(f"*/{MANIFEST}")):
        if (found := read_json(path))["digest"] == version.data_digest:
            return found
    uri = server.address(config, run)
    if uri == server.sqlite(run):
        return None
    client = server.connect(uri)
    with server.speaking(uri), tempfile.TemporaryDirectory(prefix="raro-") as folder:
        if MANIFEST not in {one.path for one in client.list_artifacts(version.run_id, "ingest")}:
            return None
        return read_json(client.download_artifacts(version.run_id, MANIFEST, folder))
