"""The audit log of one registered model: records that can only be added, each holding the hash of the one before.

A record is one line of canonical JSON in a file of its own, 00000001.jsonl and so on, so that a writer who was too late is told
(a folder: link, which fails where the name exists; S3: If-None-Match), and an object lock on the bucket keeps each for ever.
Without a folder or bucket of its own the log lies in MLflow, as parameters of a run: MLflow never changes a parameter.

| field      | what                                                                                            |
|------------|-------------------------------------------------------------------------------------------------|
| seq        | 1, 2, 3, ...                                                                                    |
| previous   | hash of the record before; 64 zeros for the first                                               |
| time       | UTC, ISO 8601, never before the record before (a clock set back is noted in body.clock_behind_s)|
| model      | registered name                                                                                 |
| action     | registered, evaluated, held, rejected, approved, promoted, rolled back, deleted, erasure,       |
|            | legal hold                                                                                      |
| version    | registered version; empty for `rejected`, which registers none                                  |
| actor      | who: a person's name, or `pipeline`                                                             |
| body       | what the action rests on                                                                        |
| hash       | sha256 of the canonical JSON of all above                                                       |
| signatures | [{key, sig}] over the same text, DSSE-encoded as TYPE; key: its id; sig: base64 of DER          |

A signature covers the whole log before it. Who holds no key and rewrites records cannot sign them again; who removes the newest
ones is found by the head in MLflow's tag, and where that was put back too, only by a head kept elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from ..errors import BadInput, GateRefused, ServiceFailed
from ..storage import canonical, digest_text
from .keys import Key, encoded
from .places import Place
from .policy import Policy

TYPE = "application/vnd.raro.audit-record+json"
START = "0" * 64
ROLES = {  # whose signature a record needs where the policy requires signatures
    "registered": ("log",),
    "evaluated": ("log",),
    "held": ("log",),
    "rejected": ("log",),
    "approved": ("approve",),
    "promoted": ("log", "approve"),
    "rolled back": ("log", "approve"),
    "deleted": ("log", "approve"),
    "erasure": ("log", "approve"),
    "legal hold": ("log", "approve"),
}
PIPELINE = "pipeline"
DECIDED = ("rolled back", "deleted", "erasure", "legal hold")  # by people alone
ATTEMPTS = 60
SIGNED = ("seq", "previous", "time", "model", "action", "version", "actor", "body")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One line of the log."""

    seq: int
    previous: str
    time: str
    model: str
    action: str
    version: str
    actor: str
    body: dict[str, Any]
    hash: str
    signatures: list[dict[str, str]]

    @property
    def content(self) -> str:
        """What is hashed and signed."""
        return canonical({name: getattr(self, name) for name in SIGNED})

    @property
    def line(self) -> bytes:
        """The record as it is stored."""
        return (canonical(asdict(self)) + "\n").encode()

    @property
    def head(self) -> str:
        """SEQ:HASH, which stands for the whole log up to here."""
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a writer wants to add."""

    action: str
    version: str
    actor: str
    body: Mapping[str, Any]


def append(
    place: Place,
    model: str,
    drafted: Callable[[Sequence[Record]], Draft | None],
    key: Key | None,
    read: Callable[[], list[Record]] | None = None,
    policy: Policy | None = None,
) -> list[Record]:
    """Adds what `drafted` makes of the log as it stands (None: nothing), and returns the log with it. read: reads the log, and
    refuses one that may not be continued. policy: by which it will be read.

    A writer who lost a race reads the log again and asks `drafted` again, so that what it decides on is never outdated. Raises
    GateRefused where the log is broken, BadInput for a signature that the policy would not accept, which would break it for
    good, ServiceFailed where others are faster too many times.
    """
    for attempt in range(ATTEMPTS):
        records = read() if read else whole(place, model)
        draft = drafted(records)
        if draft is None:
            return records
        record = _sealed(records[-1] if records else None, model, draft, key)
        if policy and (wrong := _signed(record, policy)):
            raise BadInput(f"nothing was entered, for {wrong[0]}", "give --key a key that the policy names for this")
        if place.create(record.seq, record.line):
            return [*records, record]
        time.sleep(min(0.02 * (attempt + 1), 0.5))
    raise ServiceFailed(f"others keep writing to the audit log of '{model}'", "try again")


def whole(place: Place, model: str, policy: Policy | None = None) -> list[Record]:
    """Every record. Raises GateRefused where anything is wrong."""
    records, breaks = read(place, model, policy)
    if breaks:
        raise GateRefused(f"the audit log of '{model}' is broken: {breaks[0]}", "raro audit verify tells more")
    return records


def read(place: Place, model: str, policy: Policy | None = None) -> tuple[list[Record], list[str]]:
    """(records up to the first that cannot be read, everything that is wrong, named)."""
    records: list[Record] = []
    breaks: list[str] = []
    lines = {seq: line for seq, line in place.lines().items() if seq}
    for before, seq in pairwise([0, *sorted(lines)]):
        if seq == before + 2:
            breaks.append(f"record {before + 1} is missing")
        elif seq > before + 2:
            breaks.append(f"records {before + 1} to {seq - 1} are missing")
        record, wrong = _parsed(seq, lines[seq])
        breaks += wrong
        if record is None:
            break
        records.append(record)
    for before, record in zip([None, *records], records, strict=False):
        breaks += _checked(before, record, model)
        breaks += _signed(record, policy) if policy else []
    return records, breaks


def surplus(place: Place, model: str, policy: Policy, head: str) -> list[int]:
    """Numbers of what lies behind the log's last record and is none of it. Empty where something is wrong before, or where the
    records up to there do not hold the head that MLflow knows: then it is the log that lacks something."""
    lines, records = place.lines(), []
    while (line := lines.get(len(records) + 1)) is not None:
        record, wrong = _parsed(len(records) + 1, line)
        before = records[-1] if records else None
        if record is None or wrong or _checked(before, record, model) or _signed(record, policy):
            break
        records.append(record)
    holds = any(record.head == head for record in records)
    return [seq for seq in sorted(lines) if seq > len(records)] if holds else []


def deleted(records: Sequence[Record]) -> set[str]:
    """Versions whose deletion is in the log, be it that what followed was cut off."""
    return {record.version for record in records if record.action == "deleted"}


def root_of(records: Sequence[Record], number: str) -> str:
    """The root with which the log registered a version; empty where it did not."""
    return next((str(r.body.get("root", "")) for r in records if (r.action, r.version) == ("registered", number)), "")


def unfit(records: Sequence[Record], head: str, policy: Policy) -> str:
    """Why nothing may rest on a log of which MLflow knows this head (empty: none yet); empty where something may. The log must
    hold it, and what follows it, by whoever was cut off before it was told to MLflow, be signed as the policy asks."""
    known = next((record.seq for record in records if record.head == head), 0)
    if head and not known:
        return f"it does not hold record {head[:19]}, which MLflow knows: it was cut off, or rewritten"
    return next((one for record in records[known:] for one in _signed(record, policy)), "")


def now() -> datetime:
    """The clock; a name of its own, so that tests can set it back."""
    return datetime.now(UTC)


def _sealed(before: Record | None, model: str, draft: Draft, key: Key | None) -> Record:
    body, at = dict(draft.body), now()
    if before and (late := (datetime.fromisoformat(before.time) - at).total_seconds()) > 0:
        body["clock_behind_s"] = round(late, 3)
        at = datetime.fromisoformat(before.time)
    fields = {
        "seq": before.seq + 1 if before else 1,
        "previous": before.hash if before else START,
        "time": at.isoformat(),
        "model": model,
        "action": draft.action,
        "version": draft.version,
        "actor": draft.actor,
        "body": json.loads(canonical(body)),
    }
    content = canonical(fields)
    signatures = []
    if key:
        signature = key.sign(encoded(TYPE, content.encode()))
        signatures = [{"key": key.id, "sig": base64.b64encode(signature).decode()}]
    return Record(**fields, hash=digest_text(content), signatures=signatures)


def _parsed(seq: int, line: bytes) -> tuple[Record | None, list[str]]:
    try:
        data = json.loads(line)
        record = Record(**data)
        kinds = {"seq": int, "body": dict, "signatures": list}
        if any(not isinstance(getattr(record, name), kinds.get(name, str)) for name in Record.__dataclass_fields__):
            raise TypeError
        if datetime.fromisoformat(record.time).tzinfo is None or not all(map(_is_signature, record.signatures)):
            raise ValueError
        plain = record.line
    except (ValueError, TypeError, RecursionError):
        return None, [f"record {seq} cannot be read"]
    return record, [] if plain == line else [f"record {seq} was changed: it is not written as we write"]


def _is_signature(entry: Any) -> bool:
    return isinstance(entry, dict) and set(entry) == {"key", "sig"} and all(isinstance(text, str) for text in entry.values())


def _checked(before: Record | None, record: Record, model: str) -> list[str]:
    """What is wrong with a record's place in the chain."""
    seq, expected = record.seq, before.seq + 1 if before else 1
    wrong = []
    if seq != expected:
        wrong.append(
            f"where record {expected} should stand is one that says it is {seq}: the order was changed, or one is missing"
        )
    if record.hash != digest_text(record.content):
        wrong.append(f"record {seq} was changed: its hash is not that of its content")
    if record.previous != (before.hash if before else START):
        wrong.append(f"record {seq} does not follow the one before: that one was rewritten, or this one put in its place")
    if before and datetime.fromisoformat(record.time) < datetime.fromisoformat(before.time):
        wrong.append(f"record {seq} is older than the one before")
    if record.model != model:
        wrong.append(f"record {seq} is of another model, '{record.model}'")
    if record.action not in ROLES:
        wrong.append(f"record {seq} has an unknown action, '{record.action}'")
    return wrong


def _signed(record: Record, policy: Policy) -> list[str]:
    """What is wrong with a record's signatures under a policy that names keys."""
    if not policy.keys:
        return []
    wrong, counted, people = [], False, policy.people
    roles = ("approve",) if people and record.action in DECIDED else ROLES.get(record.action, ())
    message = encoded(TYPE, record.content.encode())
    for entry in record.signatures:
        trusted = policy.of(entry["key"])
        if trusted is None:
            wrong.append(f"record {record.seq} is signed by a key that the policy does not name: {entry['key'][:16]}")
            continue
        try:
            raw = base64.b64decode(entry["sig"], validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if not trusted.key.signed(raw, message):
            wrong.append(f"record {record.seq}: the signature of '{trusted.name}' is not of this record")
        elif not set(trusted.roles) & set(roles):
            wrong.append(f"record {record.seq}: '{trusted.name}' may not sign '{record.action}'")
        elif people and record.actor != trusted.name and (record.actor != PIPELINE or "log" not in trusted.roles):
            wrong.append(f"record {record.seq} names '{record.actor}' and is signed by '{trusted.name}'")
        elif record.action == "approved" and record.actor != trusted.name:
            wrong.append(f"record {record.seq}: '{record.actor}' approves, and '{trusted.name}' signed")
        else:
            counted = True
    if record.action == "approved" and not record.signatures and people:
        wrong.append(
            f"record {record.seq}: the approval of '{record.actor}' is not signed, and the policy names who may approve"
        )
    if policy.required and not counted and not wrong:
        wrong.append(f"record {record.seq} is not signed, and the policy requires it")
    return wrong
