"""A run's folder is one configuration's: whose it is, and which other settings it goes on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import OPERATIONS, PACE, Config, unpaced
from ..errors import BadInput
from ..shared import own_folder
from ..storage import MANIFEST, read_json, write_atomic, writing
from ..text import listed
from ..tracking.events import Events

CONFIG = "config.json"


def claim(config: Config, run: Path, stage: str = "preflight") -> None:
    """Makes `run` this configuration's folder. Where settings of `config.PACE` and `config.OPERATIONS` alone have changed, it
    goes on with them: config.json holds them from now on, an event of `stage` says so, and a decision is made again, whose
    evidence config.json is part of; not once the candidate is registered, or the record of the run is. Raises BadInput where it
    already is another's, or holds something else."""
    path = run / CONFIG
    if path.exists():
        before, now = read_json(path), json.loads(config.canonical())
        free = (*PACE, *OPERATIONS)
        if not isinstance(before, dict) or not all(isinstance(before.get(section, {}), dict) for section in free):
            raise BadInput(f"'{path}' holds no configuration", "choose another --output, or put the run's own back")
        changed = differences(before, now)
        settled = any((run / name / MANIFEST).exists() for name in ("register", "record"))
        bound = (before, now) if settled else (unpaced(before), unpaced(now))
        if different := differences(*bound):
            if len(unknown := lacking(*bound)) == len(different):
                line = f"output folder '{run}' holds a run of another release, which knew no {listed(unknown[:9])}"
                remedy = f"go on with that release{_release(run)}, or choose another --output: this one would train otherwise"
                raise BadInput(line, remedy)
            line = f"output folder '{run}' holds another run ({_listed(different)})"
            raise BadInput(line, "choose another --output, or the same configuration")
        if changed:
            shutil.rmtree(run / "decide", ignore_errors=True)
            write_atomic(path, config.canonical() + "\n")
            text = f"goes on with other settings ({'; '.join(changed)})"
            rounds = any(line.partition(".")[0] in PACE for line in changed)
            Events(run, stage).note(text + ": from here on the same but for rounding" * rounds, "warning")
        return
    with writing(run):
        if run.exists() and any(not entry.name.startswith(".") for entry in run.iterdir()):
            raise BadInput(f"output folder '{run}' is not empty and holds no run", "choose another --output")
    own_folder(run)
    write_atomic(path, config.canonical() + "\n")


def _listed(different: list[str]) -> str:
    return "; ".join(different[:3]) + (f"; and {len(different) - 3} more" if len(different) > 3 else "")


def lacking(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """The settings of `new` that `old` does not have at all."""
    found = []
    for key, value in new.items():
        if key not in old:
            found.append(f"{path}{key}")
        elif isinstance(value, Mapping) and isinstance(old[key], Mapping):
            found += lacking(old[key], value, f"{path}{key}.")
    return found


def _release(run: Path) -> str:
    """Which one began a run, where its preflight has said so."""
    path = run / "preflight" / "environment.json"
    told = read_json(path) if path.is_file() else {}
    version, commit = told.get("packages", {}).get("raro-pipelines"), told.get("git")
    named = [*([f"raro-pipelines {version}"] if version else []), *([f"commit {commit[:12]}"] if commit else [])]
    return f" ({', '.join(named)})" if named else ""


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """`key: old, now new` for each leaf in which two configurations differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*new, *(key for key in old if key not in new)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)]
    return [] if old == new else [f"{path}: {_told(old)}, now {_told(new)}"]


def _told(value: Any) -> str:
    return "none" if value is None else json.dumps(value)
