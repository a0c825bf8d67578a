"""The MLflow mirror of a run folder: one parent run, one nested run per stage, filled from events.jsonl and the steps' files.

events.jsonl is the outage buffer. `sync` sends what was not sent yet and remembers how far it came (state.py); a
server that was away for an hour gets everything at the next sync. Sending twice does no harm: metrics keep the time they were
measured at, files are compared by digest.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import Config, ShowText
from ..errors import INTERRUPTED, BadInput, ServiceFailed
from ..storage import digest_file, read_json
from . import costs, events, kubeflow, results, server, tables
from .state import State, Tracked, load, lock, save, tell

if TYPE_CHECKING:
    from mlflow import MlflowClient

DUE_AFTER = 60.0
"""Seconds of events that may wait for the next step. To import MLflow's client costs 1.4 CPU s, to open a store of this machine
2 (7 without compiled bytecode): more than a short step's own work."""
ENDINGS = {"done": "FINISHED", "failed": "FAILED"}
FAILURE = "raro.failure."
FILES = (
    "config.json",
    "base.json",
    "evaluation.json",
    "report.html",
    "failure.json",
    "preflight/environment.json",
    "ingest/data.json",
    "ingest/data-card.md",
    "ingest/data-card.html",
    "decide/decision.json",
)
FILES_WITH_TEXT = ("train/pairs.jsonl",)


def sync(config: Config, run: str | Path, *, force: bool = False) -> float | None:
    """Sends what happened since the last sync; returns the seconds it took, None where nothing was sent.

    Nothing is sent before it is worth it (`force`, a minute of events, the end of the run, or a step that has MLflow at hand
    anyway): a short step leaves its records to the next, and does not pay for MLflow's client. Where Kubeflow's plugin made a
    run for each task, each fills its own. Raises ServiceFailed only with tracking.on_outage: stop.
    """
    if not server.wanted():
        return None
    run = Path(run)
    state = load(run, server.address(config, run))
    pending, offset = events.read(run, state.offset)
    if not (force or _due(pending)):
        return None
    if not server.installed():
        tell(run, state, "mlflow is not installed: nothing is sent to it; events.jsonl keeps everything", level="info")
        return None
    started = time.monotonic()
    try:
        with lock(run):
            state = load(run, state.uri)
            pending, offset = events.read(run, state.offset)
            tracked = _open(config, run, state)
            with server.speaking(state.uri):
                _send(config, run, tracked, state, pending)
            state.offset, state.told = offset, ""
            save(run, state)
    except ServiceFailed as failure:
        if config.tracking.on_outage == "stop":
            raise
        tell(run, state, f"{failure.line}; events.jsonl keeps what is to be sent", level="warning")
        return None
    return time.monotonic() - started


def open_run(config: Config, run: str | Path) -> Tracked:
    """The parent run of this folder, made on first use. Raises ServiceFailed whatever on_outage says."""
    run = Path(run)
    with lock(run):
        return _open(config, run, load(run, server.address(config, run)))


def key_of(config: Config, run: Path) -> str:
    """What names this run folder on the server, where it was ever sent there."""
    return load(run, server.address(config, run)).key


# ------------------------------------------------------------------------------------------------------ what to send, and when


def _due(pending: Sequence[dict[str, Any]]) -> bool:
    if not pending:
        return False
    over = any(event["stage"] == "finish" and event["kind"] in ENDINGS for event in pending)
    at_hand = "mlflow" in sys.modules or kubeflow.given()
    return bool(over or at_hand) or pending[-1]["time"] - pending[0]["time"] >= DUE_AFTER


def _open(config: Config, run: Path, state: State) -> Tracked:
    lost = server.local(state.uri) and not server.file_of(state.uri).exists()
    if lost and state.parent:  # someone removed the store: everything is sent again
        state.forget()
        state.offset = 0
    client = server.connect(state.uri)
    with server.speaking(state.uri):
        if kubeflow.moved(client, state):  # the files go there too
            state.forget()
        if not state.parent:
            save(run, state)  # its key finds what is made now, should this process not live to note it
            state.experiment, state.parent = _find_parent(client, config, run, state)
            save(run, state)
        if kubeflow.tag(client, state):
            save(run, state)
    return Tracked(client, state.uri, state.experiment, state.parent)


def _find_parent(client: MlflowClient, config: Config, run: Path, state: State) -> tuple[str, str]:
    """(experiment, parent run): those of Kubeflow's plugin where it made them, else ours, else new ones."""
    from mlflow.entities import Param

    tags = {
        "raro.run": state.key,
        "raro.name": config.name,
        "raro.config_digest": config.digest,
        "raro.seed": str(config.seed),
        "raro.version": __version__,
    }
    if given := kubeflow.given():
        experiment, parent = kubeflow.above(client, given)
        for key, value in tags.items():
            client.set_tag(parent, key, value)
    else:
        experiment = _experiment(client, config.tracking.experiment, state.uri)
        tags |= {"raro.role": "parent", "mlflow.source.type": "PROJECT", "mlflow.source.name": "raro"}
        mine = f"tags.`raro.run` = '{state.key}' and tags.`raro.role` = 'parent'"
        parent = server.created(
            lambda: next(iter(client.search_runs([experiment], mine, max_results=1)), None),
            lambda: client.create_run(experiment, tags=tags, run_name=run.resolve().name),
        ).info.run_id
    params = [Param(key, value[:6000]) for key, value in _flat(asdict(config))]
    for i in range(0, len(params), 100):
        client.log_batch(parent, params=params[i : i + 100])
    return experiment, parent


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        if found.lifecycle_stage != "active":
            restore = f"mlflow experiments restore --experiment-id {found.experiment_id}, or another tracking.experiment"
            raise BadInput(f"the experiment '{name}' was deleted in MLflow, which takes no run into it", restore)
        return found.experiment_id
    folder = server.file_of(uri).parent / server.ARTIFACTS
    try:
        return client.create_experiment(name, artifact_location=str(folder) if server.local(uri) else None)
    except MlflowException:  # another run made it a moment ago, or else the server says why not
        if found := client.get_experiment_by_name(name):
            return found.experiment_id
        raise


def _flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _send(config: Config, run: Path, tracked: Tracked, state: State, pending: Sequence[dict[str, Any]]) -> None:
    told = [event for event in pending if event["stage"] != "tracking"]
    given = kubeflow.given()  # Kubeflow's plugin made a run for this task, which speaks last
    fresh = told[-1]["stage"] if given and told and given not in state.stages.values() else None
    if fresh:
        state.stages[fresh] = given
    for stage in dict.fromkeys(event["stage"] for event in told):
        # A run that is new to a stage hears all of it: what an earlier try told went to another.
        source = events.read(run)[0] if stage == fresh else told
        _send_stage(run, tracked, state, stage, [event for event in source if event["stage"] == stage])
    _send_data(config, run, tracked, state)
    results.send(run, tracked, state)
    costs.send(run, tracked, state)
    for name in (*FILES, *(FILES_WITH_TEXT if config.privacy.show_text is not ShowText.none else ())):
        path = run / name
        if path.is_file() and state.sent.get(name) != (digest := digest_file(path)):
            tracked.client.log_artifact(
                tracked.run_id, str(path), artifact_path=str(Path(name).parent) if "/" in name else None
            )
            state.sent[name] = digest
            if name == "config.json":  # a run may go on with other settings; its parameters stay those of its start
                tracked.client.set_tag(tracked.run_id, "raro.config_digest", config.digest)
    items = run / tables.ITEMS
    if items.is_file() and state.sent.get(tables.ITEMS) != (digest := digest_file(items)):
        tables.send(tracked.client, tracked.run_id, items)
        state.sent[tables.ITEMS] = digest
    if not given:  # the plugin closes its own runs
        _close_parent(run, tracked, state, pending)


def _send_stage(run: Path, tracked: Tracked, state: State, stage: str, mine: Sequence[dict[str, Any]]) -> None:
    from mlflow.entities import Metric, RunTag

    client, last, again = tracked.client, mine[-1], stage in state.stages
    started = any(event["kind"] in ("start", "progress", "metrics", *ENDINGS) for event in mine)
    if not started and not again:
        return  # only notes, or skipped: there is nothing to show
    if not again:
        state.stages[stage] = _nested(tracked, state, stage, mine[0])
        save(run, state)
    run_id = state.stages[stage]
    metrics = [
        Metric(name, value, int(event["time"] * 1000), event["step"])
        for event in mine
        if event["kind"] == "metrics"
        for name, value in event["values"].items()
    ]
    metrics += [Metric("seconds", event["seconds"], int(event["time"] * 1000), 0) for event in mine if event["kind"] == "done"]
    for i in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[i : i + 1000])
    tags = {f"raro.output.{key}": value for event in mine if event["kind"] == "done" for key, value in event["outputs"].items()}
    begun = [i for i, event in enumerate(mine) if event["kind"] == "start"]
    tags |= {
        f"{FAILURE}{key}": value
        for event in mine[begun[-1] if begun else 0 :]
        if event["kind"] == "failed"
        for key, value in event["failure"].items()
    }
    if begun and again:  # why an earlier try failed is no longer so
        for name in client.get_run(run_id).data.tags:
            if name.startswith(FAILURE):
                client.delete_tag(run_id, name)
    if tags:
        client.log_batch(run_id, tags=[RunTag(key, str(value)[:5000]) for key, value in tags.items()])
    if run_id != kubeflow.given() and last["kind"] != "skipped":
        if last["kind"] in ENDINGS:
            client.set_terminated(run_id, ENDINGS[last["kind"]], end_time=int(last["time"] * 1000))
        elif client.get_run(run_id).info.status != "RUNNING":  # a retry
            client.update_run(run_id, status="RUNNING")


def _nested(tracked: Tracked, state: State, stage: str, first: dict[str, Any]) -> str:
    """The nested run of a stage; one that an interrupted sync made is found again."""
    mine = f"tags.`mlflow.parentRunId` = '{tracked.run_id}' and tags.`raro.stage` = '{stage}'"
    tags = {"mlflow.parentRunId": tracked.run_id, "raro.stage": stage, "raro.run": state.key}
    return server.created(
        lambda: next(iter(tracked.client.search_runs([tracked.experiment], mine, max_results=1)), None),
        lambda: tracked.client.create_run(tracked.experiment, int(first["time"] * 1000), tags, run_name=stage),
    ).info.run_id


def _send_data(config: Config, run: Path, tracked: Tracked, state: State) -> None:
    """The demonstrations as a dataset input of the parent run. MLflow takes 36 characters of digest; the tag holds them all."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    card_file = run / "ingest" / "data.json"
    if not card_file.is_file():
        return
    card = read_json(card_file)
    if state.sent.get("data") == card["digest"]:
        return
    profile = json.dumps({key: card[key] for key in ("rows", "kept", "quarantined", "splits") if key in card})
    source = json.dumps({"uri": config.demonstrations.source})
    data = Dataset(config.name, card["digest"][:32], source_type="raro", source=source, profile=profile)
    tags = [InputTag("mlflow.data.context", "training"), InputTag("sha256", card["digest"])]
    tracked.client.log_inputs(tracked.run_id, [DatasetInput(data, tags)])
    tracked.client.set_tag(tracked.run_id, "raro.data_digest", card["digest"])
    state.sent["data"] = card["digest"]


def _close_parent(run: Path, tracked: Tracked, state: State, pending: Sequence[dict[str, Any]]) -> None:
    if not pending:
        return
    client, end = tracked.client, int(pending[-1]["time"] * 1000)
    failed = (run / "failure.json").is_file()
    if failed:
        status = "KILLED" if read_json(run / "failure.json")["code"] == INTERRUPTED else "FAILED"
        for lost in state.stages.values():  # a stage whose process was killed left no word
            if client.get_run(lost).info.status == "RUNNING":
                client.set_terminated(lost, status, end_time=end)
        client.set_terminated(tracked.run_id, status, end_time=end)
    elif any(event["stage"] == "finish" and event["kind"] in ENDINGS for event in pending):
        client.set_terminated(tracked.run_id, "FINISHED", end_time=end)
    elif client.get_run(tracked.run_id).info.status != "RUNNING":
        client.update_run(tracked.run_id, status="RUNNING")
