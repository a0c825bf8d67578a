"""`raro forget`: where given rows lie, in data sets, runs and registered models, and the list with which they stay out.

Nothing is deleted here. A model that was trained on a row can only be replaced by one that was not: the line at the end says
how, and which registered versions are meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .demonstrations.forgotten import find, read_forgotten, write_forgotten
from .errors import BadInput
from .storage import read_json

REGISTRATION = Path("register") / "registration.json"


def forget(runs: Path, rows: Sequence[str], patterns: Sequence[str], output: Path) -> list[dict[str, Any]]:
    """Looks through all run folders below `runs`, prints what holds the rows, and writes their digests to `output`.

    rows: FILE#ROW, as `source` says in the splits and in quarantine. patterns: regular expressions. A row that one run holds
    is looked for by its digest in all others, where it may come from another file. Returns one record per run that holds
    some: {"run", "digest" (of its data), "found" {split: rows}, "model"}. Raises BadInput.
    """
    if not rows and not patterns:
        raise BadInput("nothing to forget is named", "give --row FILE#ROW or --pattern REGEX")
    folders = sorted(path.parent for path in runs.glob("*/ingest/data.json")) or sorted(
        path.parent for path in runs.glob("ingest/data.json")
    )
    if not folders:
        raise BadInput(f"no finished ingest lies in '{runs}'", "name the folder of the runs with --runs")
    compiled = [_compiled(pattern) for pattern in patterns]
    known = read_forgotten(str(output)) if output.exists() else frozenset()
    first = {hit.digest for folder in folders for hit in find(folder, rows, compiled, known) if hit.digest}
    digests = known | frozenset(map(bytes.fromhex, first))
    found = []
    for folder in folders:
        if counts := Counter(hit.where for hit in find(folder, rows, compiled, digests)):
            record = {"run": str(folder.parent), "digest": read_json(folder / "data.json")["digest"], "found": dict(counts)}
            found.append(record | {"model": _model(folder.parent)})
    for one in found:
        places = ", ".join(f"{count:,} in {where}" for where, count in one["found"].items())
        print(f"{one['run']}: {places}; {one['model'] or 'no model registered'}")
    if not found:
        print(f"none of {len(folders)} data sets in '{runs}' holds such a row")
        return []
    held = write_forgotten(output, sorted(first))
    print(f"{output}: {held:,} digests, no text")
    print(f"next: raro run CONFIG --set demonstrations.forget={output}, then remove the runs and versions named above")
    return found


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise BadInput(
            f"--pattern '{pattern}' is no regular expression: {error}", "put a backslash before . + ? ( ) [ ]"
        ) from None


def _model(run: Path) -> str:
    """The registered version that a run made, in words; empty where it made none."""
    if not (run / REGISTRATION).is_file():
        return ""
    made = read_json(run / REGISTRATION)
    return f"registered as {made['model']} version {made['version']} ({made['alias']})"
