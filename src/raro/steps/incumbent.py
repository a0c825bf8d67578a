"""The champion that a candidate must beat: found, given to the step, opened. One that cannot be used ends the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import BadInput, GateRefused, RaroError, ServiceFailed
from ..registry.models import BEGUN, candidate_of
from ..storage import MANIFEST, first_line, read_json
from ..tracking import server

if TYPE_CHECKING:
    from ..registry.models import Champion
    from ..rollout.models import Speaker


ASKED = "tracking.uri"


def found(config: Config, run: Path) -> Champion | None:
    """The champion that the candidate must beat; None where there is none, or no tracking store to ask. A run that is started
    again after it registered its own candidate does not meet itself."""
    if not server.installed():
        return None
    from ..registry.models import champion

    with usable(config):
        standing = champion(config, run)
    return None if standing and standing.root == _own(run) else standing


def _own(run: Path) -> str:
    """Root of the version that this run has registered of its candidate; empty for none. The registration may have been cut off
    before its step was finished, and the version be champion all the same."""
    if (done := run / "register" / "registration.json").exists():
        return read_json(done)["root"]
    if not (begun := run / BEGUN).exists():
        return ""
    kept = read_json(begun)
    return kept["root"] if kept["candidate"] == candidate_of(run) else ""


def given(previous: Champion | None, config: Config, run: Path) -> dict[str, str]:
    """Another champion makes the step run again, or another MLflow's, but not the run's own candidate having become it."""
    before = run / "evaluate" / MANIFEST
    if previous is None and before.exists() and _own(run):
        return read_json(before)["given"]
    return {"champion": previous.root if previous else "", ASKED: config.tracking.uri}


def check_asked(config: Config, run: Path) -> None:
    """Raises BadInput where the candidate was evaluated beside the champion of another MLflow, if any."""
    if read_json(run / "evaluate" / MANIFEST)["given"].get(ASKED, config.tracking.uri) != config.tracking.uri:
        line = "the candidate was evaluated beside the champion of another tracking.uri"
        raise BadInput(line, f"evaluate it again: raro step evaluate --output {run}, with this configuration")


def opened(folder: Path, config: Config) -> Speaker:
    """The champion's model. Raises GateRefused where it does not load, whatever the reason."""
    from ..rollout.models import open_model

    with usable(config):
        return open_model(folder, config)


@contextmanager
def usable(config: Config) -> Iterator[None]:
    """A candidate that was not compared with the champion must not take its place: what cannot be used ends the step, with
    GateRefused. An outage stays one, worth retrying."""
    try:
        yield
    except ServiceFailed:
        raise
    except Exception as error:
        told, remedy = (error.line, error.remedy) if isinstance(error, RaroError) else (first_line(error), "")
        line = f"the champion of '{config.registry.model}' cannot be used: {told}"
        move = "go back to a version that loads (raro rollback), or delete the alias `champion`: a person then promotes"
        raise GateRefused(line, f"{remedy}, or {move}" if remedy else move) from error
