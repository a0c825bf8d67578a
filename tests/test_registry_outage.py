"""MLflow fails half-way through a registration: a real server behind a proxy that cuts it off at each write in turn."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from audited import decided, new_policy, tiny_model
from servers import Asked, Meddler, free_port, mlflow_server

from raro.config import Config, parse
from raro.errors import ServiceFailed
from raro.registry import log
from raro.registry.audit import audited
from raro.registry.desk import Desk, desk_of
from raro.registry.registration import register
from raro.storage import read_json

pytestmark = pytest.mark.check
MOST = 60  # calls
ENTERED = ["registered", "evaluated", "promoted"]


@dataclass
class Office:
    """A place where registrations are tried: MLflow's server is reached through `proxy` alone."""

    place: Path
    proxy: Meddler
    policy: Path

    def ready(self, name: str) -> tuple[Config, Path]:
        """(configuration, run) with everything done that comes before a registration, and nothing of it in MLflow."""
        registry = {
            "model": name,
            "policy": str(self.policy),
            "signing_key": f"file:{self.policy.parent / 'pipeline.pem'}",
        }
        base = self.place / "base"
        config = parse({"base": {"uri": str(base)}, "tracking": {"uri": self.proxy.address}, "registry": registry})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RARO_TRACKING", "off")
            assert decided(config, self.place / name, base, 0.5) == "promote"
        return config, self.place / name


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    place = tmp_path_factory.mktemp("office")
    base = tiny_model(place / "base")
    for file in ("generation_config.json", "tokenizer.json"):
        (base / file).unlink()
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, mlflow_server(place, port), Meddler(port) as proxy:
        patch.setenv("RARO_CACHE", str(place / "cache"))
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        patch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
        yield Office(place, proxy, new_policy(place / "keys", approvals=0))


def registered(config: Config, run: Path) -> dict[str, Any]:
    told = [read_json(run / name) for name in ("ingest/data.json", "evaluation.json", "decide/decision.json")]
    return register(config, run, run / "train" / "model", *told)


@dataclass
class Losing:
    """MLflow takes a write and does not answer it, each write once. gone: and is away from then on, until `back`."""

    gone: bool
    lost: Counter[Asked] = field(default_factory=Counter)
    away: bool = False

    def __call__(self, asked: Asked) -> str:
        if self.away:
            return "drop"
        if asked.method == "GET" or asked.path.endswith("/search"):
            return ""
        write = asked._replace(body=b"") if asked.method == "PUT" else asked  # a file is the same write, signed anew or not
        self.lost[write] += 1
        new = self.lost[write] == 1
        self.away = new and self.gone
        return "lose" if new else ""

    def back(self) -> None:
        self.away = False


def no_orphan_is_champion(desk: Desk) -> None:
    if champion := desk.aliases().get("champion"):
        assert [r.action for r in log.whole(desk.place(), desk.model, desk.policy) if r.version == champion] == ENTERED


def registered_once(desk: Desk, run: Path) -> None:
    """One version, one LoggedModel, one run, one log, each thing in it once, and all of it whole."""
    client, experiment = desk.client, desk.client.get_experiment_by_name(desk.config.tracking.experiment).experiment_id
    (version,) = client.search_model_versions(f"name = '{desk.model}'")
    (logged,) = client.search_logged_models([experiment], f"name = '{desk.model}'")
    names = [one.info.run_name for one in client.search_runs([experiment])]
    assert (names.count(run.name), names.count(f"audit log of {desk.model}")) == (1, 1)
    linked = client.get_run(version.run_id).outputs.model_outputs
    assert [one.model_id for one in linked] == [logged.model_id] == [version.source.removeprefix("models:/")]
    assert [r.action for r in log.whole(desk.place(), desk.model, desk.policy)] == ENTERED
    assert desk.aliases() == {"champion": version.version} == {"champion": "1"}


def test_a_registration_that_is_cut_off_at_every_write_is_completed_by_repeating_it(office, monkeypatch):
    config, run = office.ready("cut")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    office.proxy.fault = losing = Losing(gone=True)
    for _ in range(MOST):
        try:
            made = registered(config, run)
            break
        except ServiceFailed:
            losing.back()
            no_orphan_is_champion(desk_of(config, run))
    kinds = Counter(asked.path.partition("?")[0].partition("/artifacts/")[0].rpartition("/")[2] for asked in losing.lost)
    assert kinds >= Counter({"mlflow-artifacts": 14, "create": 4, "log-parameter": 3, "outputs": 1, "alias": 1, "set-tag": 1})
    desk = desk_of(config, run)
    registered_once(desk, run)
    assert made["version"] == registered(config, run)["version"]
    registered_once(desk, run)
    with audited(desk, "champion") as found:
        assert found.breaks == []


def test_where_the_answer_to_each_write_is_lost_once_nothing_is_made_twice(office):
    config, run = office.ready("lost")
    office.proxy.fault = Losing(gone=False)
    registered(config, run)
    registered_once(desk_of(config, run), run)
