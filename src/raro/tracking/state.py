"""What of a run folder was sent to MLflow, and to where: RUN/.tracking.json."""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage import read_json, write_json
from . import events

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATE = ".tracking.json"


@dataclass
class State:
    """What was sent, and to where. key: names this run folder on the server. stages: nested run of each stage. offset: byte of
    events.jsonl to go on from. sent: digest of each file as it was last sent. told: what a person was told once. job: the
    run of Kubeflow that the parent is tagged with, the last one that went on here."""

    uri: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    experiment: str = ""
    parent: str = ""
    stages: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    sent: dict[str, str] = field(default_factory=dict)
    told: str = ""
    job: str = ""

    def forget(self) -> None:
        """What was made and sent: all of it is to be made and sent again, but for the events."""
        self.experiment, self.parent, self.stages, self.sent, self.job = "", "", {}, {}, ""


@dataclass(frozen=True, slots=True)
class Tracked:
    """An open mirror: the client, the address, and the ids of the experiment and the parent run."""

    client: MlflowClient
    uri: str
    experiment: str
    run_id: str


def kept(run: Path) -> State:
    """What was last sent, to wherever that was; nothing, to nowhere, of a run that was never sent."""
    path = run / STATE
    return State(**read_json(path)) if path.is_file() else State()


def load(run: Path, uri: str) -> State:
    state = kept(run)
    return state if state.uri == uri else State(uri=uri)


def save(run: Path, state: State) -> None:
    write_json(run / STATE, asdict(state))


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """One sync at a time per run folder, across processes."""
    run.mkdir(parents=True, exist_ok=True)
    with open(run / f"{STATE}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tell(run: Path, state: State, text: str, level: str) -> None:
    """Notes it in the events, once for each outage."""
    if state.told != text[:40]:
        state.told = text[:40]
        save(run, state)
        events.Events(run, "tracking").note(text, level=level)
