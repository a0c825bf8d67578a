"""Whether an earlier run has settled already what this one would find out: the same data, configuration and base.

A schedule starts runs whether or not anything has changed. What became champion is compared by the registry; this is for runs
that ended with `hold` or `reject`, which only a tracking server remembers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..config import Config
from . import runs, server

DECIDED = ("hold", "reject")


def settled(config: Config, run: Path, data_digest: str, base_digest: Callable[[], str]) -> str | None:
    """`run 'NAME', which ended with reject`, or None. base_digest: asked only where such a run exists. Raises ServiceFailed
    where the server does not answer."""
    uri = server.address(config, run)
    if server.local(uri) or not server.installed():
        return None
    client, own = server.connect(uri), runs.key_of(config, run)
    with server.speaking(uri):
        experiment = client.get_experiment_by_name(config.tracking.experiment)
        if experiment is None:
            return None
        same = f"tags.`raro.config_digest` = '{config.digest}' and tags.`raro.data_digest` = '{data_digest}'"
        found = client.search_runs([experiment.experiment_id], same, order_by=["attributes.start_time DESC"])
    tags = [(one.info.run_name, one.data.tags) for one in found]
    others = [(name, one) for name, one in tags if one.get("raro.decision") in DECIDED and one.get("raro.run") != own]
    if not others:
        return None
    base = base_digest()
    for name, one in others:
        if one.get("raro.base_digest") == base:
            return f"run '{name}', which ended with {one['raro.decision']}"
    return None
