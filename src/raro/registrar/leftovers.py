"""Left-overs under registry.store, for `raro gc`: what an interrupted upload or deletion has left, and nobody knows any more.

A registration that goes on looks the same until its version is made. It writes first to what an earlier try has left of its
files (upload.py, s3.py), so that all it needs is young; and what was written to within a day stays, whatever --older-than says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import s3, s3_records
from ..errors import GateRefused
from ..registry.desk import Desk
from ..registry.places import Folder
from ..tracking import server

DAY = 86_400_000  # milliseconds
UNDER_WAY = DAY  # within which a registration may be going on that wrote last then


def orphans(desk: Desk, older_than: int) -> dict[str, int]:
    """{address: bytes} under registry.store's models/ that no version here names, no audit log beside it has registered (and
    this model's not deleted since), and nobody has written to for `older_than` days, and a day at least: another server may
    share the store, and an upload may be under way."""
    shelf = shelf_of(desk)
    if shelf is None:
        return {}
    before = _before(shelf, older_than)
    with server.speaking(desk.uri):
        named = {version.source.rstrip("/") for version in every_version(desk)}
    if shelf.startswith("s3://"):
        records = s3_records.read(f"{shelf.removesuffix('models')}audit")
        lines = [(name.rpartition("/")[0], records[name].content) for name in sorted(records)]
        there = s3.children(shelf)
        for (key, _), written in s3.unfinished(shelf).items():  # one that goes on keeps the files beside it
            if (name := f"s3://{s3.parts(shelf)[0]}/{key}".removeprefix(f"{shelf}/").split("/")[0]) in there:
                there[name] = (there[name][0], max(there[name][1], written))
    else:
        logs = sorted(Path(shelf).parent.glob("audit/*"))
        lines = [(place.name, line) for place in logs for _, line in sorted(Folder(place).lines().items())]
        there = {path.name: weighed(path) for path in sorted(Path(shelf).glob("*"))}
    named |= _registered(lines, shelf, desk.model)
    return {
        f"{shelf}/{name}": size
        for name, (size, changed) in there.items()
        if f"{shelf}/{name}" not in named and changed <= before
    }


def _registered(lines: Sequence[tuple[str, bytes]], shelf: str, own: str) -> set[str]:
    """Where the logs, (log, record) in their order, say that files lie: of every version that a log names, but for those that
    the log of the model `own`, which alone was verified, has deleted since. Raises GateRefused for a line that is none of ours:
    what it protects is not known."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for place, line in lines:
        try:
            record = json.loads(line)
            version, body = (place, record["model"], record["version"]), record["body"]
            named = {str(body["source"]).rstrip("/")} if record["action"] == "registered" else set()
            named |= {f"{shelf}/{body['root']}"} if "root" in body else set()
        except (ValueError, LookupError, TypeError, AttributeError):
            raise GateRefused(
                "an audit log beside the store holds something that is not a record",
                "raro audit verify tells more; nothing is deleted",
            ) from None
        if record["action"] != "deleted":
            found.setdefault(version, set()).update(named)
        elif place == own:
            found.pop(version, None)
    return set().union(*found.values())


def cut_off(desk: Desk, older_than: int) -> list[tuple[str, str]]:
    """(key, upload id) of the uploads to S3 that never ended, and to which nothing was added for `older_than` days, a day at
    least."""
    shelf = shelf_of(desk)
    if shelf is None or not shelf.startswith("s3://"):
        return []
    before = _before(shelf, older_than)
    return [one for one, written in s3.unfinished(shelf).items() if written <= before]


def _before(shelf: str, older_than: int) -> float:
    """Seconds since 1970: who wrote last before then is not at work any more. By the store's clock, too: ours may be ahead of
    the times that it notes."""
    now = min(time.time(), s3.clock(shelf)) if shelf.startswith("s3://") else time.time()
    return now - max(older_than * DAY, UNDER_WAY) / 1000


def weighed(path: Path) -> tuple[int, float]:
    """(bytes, when changed last, seconds since 1970) of all below; changed now where a name is gone before it is looked at:
    somebody is at work there."""
    try:
        found = [path.lstat(), *(one.lstat() for one in path.rglob("*"))]
    except (FileNotFoundError, NotADirectoryError):
        return 0, time.time()
    return sum(one.st_size for one in found[1:]), max(one.st_mtime for one in found)


def shelf_of(desk: Desk) -> str | None:
    """Where the weights lie, without a slash at the end; None without registry.store."""
    store = desk.config.registry.store if desk.config else ""
    if not store:
        return None
    if not store.startswith("s3://"):
        store = str(Path(store.removeprefix("file://")).resolve())
    return f"{store.rstrip('/')}/models"


def every_version(desk: Desk) -> list[Any]:
    return every(desk, None)


def every(desk: Desk, where: str | None) -> list[Any]:
    found, token = [], None
    while True:
        page = desk.client.search_model_versions(where, max_results=1000, page_token=token)
        found += page
        if not (token := page.token):
            return found
