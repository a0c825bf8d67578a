"""Where runs lie, and what beside their data sets may still hold, or have learnt, a row: for `raro forget`."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import BadInput
from .registry.models import REGISTRATION
from .storage import MANIFEST


def folders(runs: Path) -> list[Path]:
    """Every folder at or below `runs` that is a run's or was to be one: it has a configuration, or something of an ingest.
    Those of a study lie deeper; what is below a run is not looked at, nor what is hidden. Raises BadInput for a folder that may
    not be read: nobody would know what it holds."""
    found, seen = [], set()
    for place, inside, files in os.walk(runs, onerror=_unread, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link that leads back
            inside.clear()
            continue
        seen.add(real)
        if "config.json" in files or "quarantine.jsonl" in files or any(_of_ingest(name) for name in inside):
            found.append(Path(place))
            inside.clear()
        inside[:] = sorted(name for name in inside if not name.startswith("."))
    return sorted(found)


def _unread(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise BadInput(f"'{error.filename}' may not be read", "search as who may: runs there would be missed") from None
    if not isinstance(error, FileNotFoundError | NotADirectoryError):  # it is not there, or not any more
        raise error


def _of_ingest(name: str) -> bool:
    return name == "ingest" or name.startswith(".ingest.")


def left(runs: Sequence[Path]) -> list[Path]:
    """What ingests have left that were killed, or refused what they read."""
    names = ("quarantine.jsonl", ".ingest.partial", ".ingest.*.old")
    return sorted(path for run in runs for name in names for path in run.glob(name))


def temporary() -> list[Path]:
    """Folders in which `raro init` screens rows: it removes its own, unless a signal kills it."""
    return sorted(path.parent for path in Path(tempfile.gettempdir()).glob("raro-*/train.jsonl"))


def outlived(run: Path) -> list[str]:
    """What of a run was made from a data set that is not there any more: steps and checkpoints that name another root of
    `ingest` than the one that is."""
    now = _inside(run / "ingest" / MANIFEST).get("root")
    roots = {path.parent.name: _inside(path).get("inputs", {}).get("ingest") for path in run.glob(f"*/{MANIFEST}")}
    states = [_inside(path).get("identity", {}).get("data") for path in run.glob("checkpoints/**/step-*/state.json")]
    old = {name for name, root in roots.items() if root not in (None, now)}
    return sorted(old | ({"checkpoints"} if set(states) - {None, now} else set()))


def descended(runs: Sequence[Path], versions: Collection[tuple[str, str]]) -> Iterator[tuple[Path, str]]:
    """(run, the version it started from, in words) of each run whose base is one of these registered versions, or was trained
    from one. versions: (model, number)."""
    waiting = {run: str(_inside(run / "base.json").get("uri", "")) for run in runs}
    taught = {f"models:/{name}/{number}" for name, number in versions}
    while found := [run for run, base in waiting.items() if base in taught]:
        for run in found:
            base = waiting.pop(run)
            yield run, base.removeprefix("models:/").replace("/", " version ")
            if made := registered(run):
                taught.add(f"models:/{made['model']}/{made['version']}")


def registered(run: Path) -> Mapping[str, Any]:
    """What a run's registration says; nothing where it registered none."""
    return _inside(run / REGISTRATION)


def _inside(path: Path) -> dict[str, Any]:
    """A JSON object of ours; nothing where it is missing, or half-written."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
