"""`raro gc`: which versions' files may go, which must stay, and what nobody knows any more. It says so first; --delete does it.

| kept                                                | why                                              |
|-----------------------------------------------------|--------------------------------------------------|
| a version with an alias, or one of the last two     | it serves, or a rollback may lead back to it     |
| that became champion                                |                                                  |
| the newest --keep versions, and the younger ones    | --older-than                                     |
| a version under legal hold                          | `raro gc --hold`; only `--release` ends it       |
| a version that the log does not know, or, for a     | its registration goes on, or was cut off and can |
| day, has not decided on                             | be completed                                     |

An erasure request (`--erase`) goes before all of these but the legal hold, which it cannot end, and an alias, which must be
moved first. A deletion is in the log before the files go; the log itself keeps digests and names, no rows. Under
registry.store the folders and prefixes that no version names are found, too, and on S3 the uploads that never ended: what an
interrupted upload or deletion has left. An upload that goes on looks the same: what was written to within a day stays, whatever
--older-than says.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import s3
from ..errors import BadInput, GateRefused, printable
from ..registry import log
from ..registry.desk import Desk, key_of, standing
from ..registry.keys import Key
from ..registry.promotion import earlier, person, said
from ..storage import writing
from ..tracking import server
from .leftovers import DAY, UNDER_WAY, cut_off, every, every_version, orphans, shelf_of


@dataclass(frozen=True, slots=True)
class Fate:
    """number: of the version. keep: why it stays, empty where it goes. erase: it was asked for."""

    number: str
    source: str
    keep: str
    erase: bool = False


def main(desk: Desk, args: argparse.Namespace) -> int:
    """Enters holds, releases and erasure requests, prints every fate, deletes where asked to; returns the exit code."""
    entered = [(n, "legal hold", {"on": True}) for n in args.hold] + [(n, "legal hold", {"on": False}) for n in args.release]
    entered += [(n, "erasure", {}) for n in args.erase]
    key = key_of(desk.config, args.key)
    if entered or args.delete:
        _decided(desk, args, key)
    known = {str(version.version): version for version in _versions(desk)}
    if missing := [number for number, _, _ in entered if number not in known]:
        raise BadInput(f"'{desk.model}' has no version {missing[0]}", f"it has: {', '.join(known) or 'none'}")
    for number, action, body in entered:
        desk.append(lambda _, n=number, a=action, b=body: log.Draft(a, n, args.approver, b | {"reason": args.reason}), key)
        desk.settle()
    records = log.whole(desk.log_place(), desk.model, desk.policy)
    fates = plan(list(known.values()), records, desk.aliases(), args.keep, args.older_than)
    lost = orphans(desk, args.older_than)
    for fate in fates:
        print(f"version {fate.number:<4}{'kept: ' + fate.keep if fate.keep else 'goes' + (', erasure' if fate.erase else '')}")
    for address, size in lost.items():
        print(f"goes, no version names it ({size / 2**20:,.1f} MiB): {printable(address)}")
    cut = cut_off(desk, args.older_than)
    for name, _ in cut:
        print(f"goes, an upload that never ended: {printable(name)}")
    going = [fate for fate in fates if not fate.keep]
    if args.delete:
        for fate in going:
            delete(desk, fate, args.approver, args.reason, key)
        lost = lost.keys() & orphans(desk, args.older_than).keys()  # somebody may be at work there by now
        for address in lost:
            _remove(_removable(desk, address))
        cut = set(cut) & set(cut_off(desk, args.older_than))
        for name, upload_id in cut:
            s3.abandon(shelf_of(desk), name, upload_id)
        print(f"deleted: {len(going)} versions, {len(lost) + len(cut)} left-overs")
    elif going or lost or cut:
        print("nothing was deleted: add --delete, --approver and --reason")
    blocked = [fate.number for fate in fates if fate.keep and fate.erase]
    if blocked:
        raise GateRefused(f"version {blocked[0]} cannot be erased yet: {next(f.keep for f in fates if f.number == blocked[0])}",
                          "move the alias (raro promote another), or end the hold (--release)")  # fmt: skip
    return 0


def plan(
    versions: Sequence[Any],
    records: Sequence[log.Record],
    aliases: dict[str, str],
    keep: int,
    older_than: int,
    now: int | None = None,
) -> list[Fate]:
    """Each version's fate, newest first. versions: MLflow's (version, source, creation_timestamp in ms). older_than: days."""
    now = int(time.time() * 1000) if now is None else now
    held, erased = holds(records), {record.version for record in records if record.action == "erasure"}
    was = {record.version for record in records if record.action in ("promoted", "rolled back")}
    last = rollbacks(records)
    entered = {record.version for record in records if record.action == "registered"}
    settled = {record.version for record in records if record.action in ("held", "promoted", "deleted")}
    fates = []
    for at, version in enumerate(sorted(versions, key=lambda one: int(one.version), reverse=True)):
        number, age = str(version.version), now - version.creation_timestamp
        erase = number in erased
        at_alias = [alias for alias, stands in sorted(aliases.items()) if stands == number]
        if at_alias:
            why = f"it is {' and '.join(at_alias)}"
        elif number in held:
            why = "legal hold"
        elif number not in entered:
            why = "the log does not know it: its registration goes on, or was cut off (repeat it)"
        elif number not in settled and age < UNDER_WAY:
            why = "nothing was decided on it yet: its registration may be going on"
        elif erase or number in log.deleted(records):
            why = ""
        elif number in last or number in was and age < older_than * DAY:
            why = "it was champion, and a rollback may return to it"
        elif at < keep:
            why = f"it is among the newest {keep}"
        elif age < older_than * DAY:
            why = f"it is younger than {older_than} days"
        else:
            why = ""
        fates.append(Fate(number, version.source, why, erase))
    return fates


def rollbacks(records: Sequence[log.Record]) -> set[str]:
    """The last two versions that became champion, by a promotion or a rollback, and whatever a rollback would lead to now."""
    became = [record.version for record in records if record.action in ("promoted", "rolled back")]
    return {*list(dict.fromkeys(reversed(became)))[:2], earlier(records, standing(records).get("champion", ""))}


def holds(records: Sequence[log.Record]) -> set[str]:
    """Versions under legal hold."""
    found: dict[str, bool] = {}
    for record in records:
        if record.action == "legal hold":
            found[record.version] = bool(record.body.get("on", True))
    return {number for number, on in found.items() if on}


def delete(desk: Desk, fate: Fate, approver: str, reason: str, key: Key | None) -> None:
    """Log, then files, then version: as long as that stands there, who was cut off is seen and completed by the next. Looks at
    aliases and holds once more: they may have moved. Raises BadInput where its files are none that may be removed."""
    place = "" if fate.source.startswith("models:/") else _removable(desk, fate.source)

    def allowed(records: Sequence[log.Record]) -> log.Draft | None:
        if fate.number in standing(records).values() or fate.number in holds(records):
            raise GateRefused(f"version {fate.number} must stay now: it has an alias or a hold", "run raro gc again")
        registered = [r.body.get("source") for r in records if (r.action, r.version) == ("registered", fate.number)]
        if registered != [fate.source]:
            line = f"version {fate.number} says that its files lie at '{fate.source}', and the log says otherwise"
            raise GateRefused(line, "raro audit verify tells more; nothing was deleted")
        if fate.number in log.deleted(records):
            return None
        body = {"reason": reason, "source": fate.source, "erasure": fate.erase}
        return log.Draft("deleted", fate.number, approver, body)

    version = desk.version(fate.number)
    desk.append(allowed, key)
    desk.settle()
    with server.speaking(desk.uri):
        model_id = version.tags.get("raro.model_id") if version else None
        named = [(one.name, str(one.version)) for one in every_version(desk) if one.source == fate.source]
        if place and set(named) <= {(desk.model, fate.number)}:
            _remove(place)
        if model_id:
            _remove_logged(desk, model_id)
        if desk.version(fate.number):  # not where another gc was as far meanwhile
            desk.client.delete_model_version(desk.model, fate.number)


def _remove_logged(desk: Desk, model_id: str) -> None:
    """The LoggedModel and its files: MLflow marks it deleted, and `mlflow gc` removes the row later."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        location = desk.client.get_logged_model(model_id).artifact_location
        get_artifact_repository(location, tracking_uri=desk.uri).delete_artifacts()
        desk.client.delete_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _removable(desk: Desk, address: str) -> str:
    """The address, without file://. Raises BadInput unless it lies under registry.store's models/: nothing else is ever
    removed, and where it stayed, the log would say that it is gone."""
    place, shelf = address.removeprefix("file://").rstrip("/"), shelf_of(desk)
    if shelf is None or not place.startswith(f"{shelf}/") or ".." in place.split("/"):
        line = f"'{address}' is not in the registry.store known here, and nothing outside it is removed"
        raise BadInput(line, "name a run with that store: --run DIR")
    return place


def _remove(place: str) -> None:
    """Raises BadInput where something of it stays."""
    if place.startswith("s3://"):
        s3.delete(place)
        return
    path = Path(place)
    with writing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)  # another gc may be at it
        else:
            path.unlink(missing_ok=True)
    if os.path.lexists(path):
        raise BadInput(f"'{place}' cannot be removed, or not all of it", "run raro gc again as who may remove it")


def _decided(desk: Desk, args: argparse.Namespace, key: Key | None) -> None:
    args.approver, args.reason = said(args.approver, args.reason)
    person(desk, args.approver, key)


def _versions(desk: Desk) -> list[Any]:
    with server.speaking(desk.uri):
        return every(desk, f"name = '{desk.model}'")
