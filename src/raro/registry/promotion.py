"""What people decide: `raro promote` and `raro rollback`. The log is written first, and the aliases follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput, GateRefused
from . import log
from .audit import audited, resolve
from .desk import STANDINGS, Desk, standing
from .findings import approvals_needed, approvers, since
from .keys import Key

LONGEST = 1000  # characters of a reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """champion: whether the version is that now. approved: who approved so far. needed: how many must. head: of the log."""

    version: str
    champion: bool
    approved: tuple[str, ...]
    needed: int
    head: str


def promote(desk: Desk, standing_at: str, approver: str, reason: str, key: Key | None) -> Outcome:
    """Enters an approval and, with enough of them, makes the version champion. Repeating it completes what was cut off.

    Raises BadInput for a missing reason or an approver who does not fit the key, GateRefused where the audit of the version
    finds a break, or where the approver has approved already and others are missing.
    """
    approver, reason = said(approver, reason)
    person(desk, approver, key)
    number = _target(desk, standing_at, approver, _mend(desk))
    root, asked = _sound(desk, number)
    needed = max(1, asked)

    def approval(records: Sequence[log.Record]) -> log.Draft | None:
        _there(records, number)
        if standing(records).get("champion") == number:
            return None  # done before
        people = approvers(since(records, number), number, root)
        if approver in people:
            if len(people) < needed:
                raise GateRefused(
                    f"'{approver}' has already approved version {number}; {needed} people must",
                    "someone else must promote it, too",
                )
            return None  # a repeated call goes on to the promotion
        return log.Draft("approved", number, approver, {"root": root, "reason": reason})

    def promotion(records: Sequence[log.Record]) -> log.Draft | None:
        _there(records, number)
        stands = standing(records).get("champion", "")
        people = approvers(since(records, number), number, root)
        if stands == number or len(people) < needed:
            return None
        body = {"root": root, "reasons": [reason], "before": stands, "approved": people} | _moved(desk, records)
        return log.Draft("promoted", number, approver, body)

    desk.append(approval, key)
    desk.append(promotion, key)
    records = desk.settle()
    stands = standing(records).get("champion") == number
    people = approvers(records if stands else since(records, number), number, root)
    return Outcome(number, stands, tuple(people), needed, records[-1].head)


def rollback(desk: Desk, approver: str, reason: str, key: Key | None, to: str = "") -> Outcome:
    """Makes the champion before this one champion again, or version `to` if it was champion once. Repeating one that was cut
    off completes it, and goes no further back. Raises BadInput where there is none, GateRefused where the audit of that version
    finds a break."""
    approver, reason = said(approver, reason)
    person(desk, approver, key)
    untold = _mend(desk)
    records = log.whole(desk.log_place(), desk.model)
    now = standing(records).get("champion", "")
    if untold and untold.action == "rolled back" and to in ("", now):
        return Outcome(now, True, (approver,), 1, records[-1].head)
    number = to or earlier(records, now)
    if number not in _once(records) or number == now:
        has = ", ".join(dict.fromkeys(v for v in _once(records) if v != now)) or "none"
        raise BadInput(
            f"'{desk.model}' cannot go back {f'to version {to}' if to else 'from version ' + now if now else ''}".rstrip(),
            f"versions that were champion before: {has}",
        )
    root, _ = _sound(desk, number)

    def back(current: Sequence[log.Record]) -> log.Draft | None:
        stands = standing(current).get("champion", "")
        if stands == number:
            return None
        if stands != now:
            raise GateRefused(f"version {stands} became champion meanwhile", "look at it, and roll back again if it must be")
        _there(current, number)
        body = {"root": root, "reason": reason, "before": stands} | _moved(desk, current)
        return log.Draft("rolled back", number, approver, body)

    desk.append(back, key)
    records = desk.settle()
    return Outcome(number, standing(records).get("champion") == number, (approver,), 1, records[-1].head)


def person(desk: Desk, approver: str, key: Key | None) -> None:
    """Raises BadInput unless the key, where one is given, is the approver's by the policy; and where the policy names keys,
    one must be given."""
    policy = desk.policy
    known = sorted(policy.people)
    if not known:
        if policy.required:
            raise BadInput("the policy names nobody who may approve", f"add a key with the role approve to '{policy.source}'")
        return
    if key is None:
        raise BadInput(f"the policy names who may approve ({', '.join(known)}), and no key is given", "sign with --key")
    if policy.holder(key.id, "approve") != approver:
        raise BadInput(f"the key {key.id[:12]} is not '{approver}''s by the policy", f"who may approve: {', '.join(known)}")


def said(approver: str, reason: str) -> tuple[str, str]:
    """(approver, reason) as they go into the log, each on one line. Raises BadInput for what may not stand there."""
    reason, approver = " ".join(reason.split()), " ".join(approver.split())
    if not reason or not approver:
        raise BadInput(
            f"no {'approver' if reason else 'reason'} is given", "--approver NAME --reason TEXT: both are kept in the log"
        )
    if len(reason) > LONGEST or len(approver) > 100:
        raise BadInput(f"the reason has {len(reason)} characters", f"write at most {LONGEST}, and a name of at most 100")
    if not (reason + approver).isprintable():
        raise BadInput("the reason or the name holds a character that cannot be shown", "use printable characters")
    if approver == log.PIPELINE:
        raise BadInput(f"'{approver}' is not a person", "give a name")
    return approver, reason


def _sound(desk: Desk, number: str) -> tuple[str, int]:
    """(root, how many must approve) of a version that the audit finds whole. Aliases may have been moved: they are what the
    command sets, and what they were is in its record."""
    with audited(desk, number) as made:
        if broken := [one for one in made.breaks if not one.startswith("registry: alias ")]:
            raise GateRefused(f"version {number} of '{desk.model}' is not whole: {broken[0]}", "raro audit verify tells more")
        if not desk.policy.source and (policy := made.found["config"].get("registry", {}).get("policy")):
            line = f"version {number} was registered under policy '{policy}', and none is given"
            raise BadInput(line, "name it with --policy: a record that it does not accept would break the log")
        return made.version.tags["raro.root"], approvals_needed(made)


def _there(records: Sequence[log.Record], number: str) -> None:
    """Raises GateRefused where the version was deleted while it was looked at: the alias would stand at nothing."""
    if number in log.deleted(records):
        raise GateRefused(f"version {number} was deleted meanwhile", "raro audit show tells by whom, and why")


def _target(desk: Desk, standing_at: str, approver: str, untold: log.Record | None) -> str:
    """The version meant: at `champion` and `challenger` the one that the log says, for an alias can be moved by anyone. untold:
    a promotion of the same person that was cut off, after which there is no challenger any more."""
    records, breaks = log.read(desk.log_place(), desk.model)
    if not breaks and (number := standing(records).get(standing_at, "")):
        return number
    if standing_at == "challenger" and untold and (untold.action, untold.actor) == ("promoted", approver):
        return untold.version
    return resolve(desk, standing_at)[0]


def _mend(desk: Desk) -> log.Record | None:
    """Lets the aliases follow the log where the anchor, which is set last, shows that a command was interrupted. Returns the
    last record by which a version became champion, where MLflow had not been told of it. An anchor that is not of this log is
    left for the audit to find."""
    records, breaks = log.read(desk.log_place(), desk.model, desk.policy)
    anchor = desk.anchor()
    if breaks or not records or anchor == records[-1].head or log.unfit(records, anchor, desk.policy):
        return None
    desk.settle()
    known = next((record.seq for record in records if record.head == anchor), len(records))
    became = [record for record in records[known:] if record.action in ("promoted", "rolled back")]
    return became[-1] if became else None


def _moved(desk: Desk, records: Sequence[log.Record]) -> dict[str, Any]:
    """What aliases stood elsewhere than the log says, for the record."""
    stands, found = standing(records), desk.aliases()
    off = {alias: found.get(alias, "") for alias in STANDINGS if found.get(alias, "") != stands.get(alias, "")}
    return {"aliases_found": off} if off else {}


def _once(records: Sequence[log.Record]) -> list[str]:
    """Versions that were champion, latest first, and were not deleted."""
    gone = log.deleted(records)
    was = [record.version for record in records if record.action in ("promoted", "rolled back")]
    return [version for version in reversed(was) if version not in gone]


def earlier(records: Sequence[log.Record], now: str) -> str:
    """The champion that `now` was promoted after."""
    promoted = [record for record in records if (record.action, record.version) == ("promoted", now)]
    return promoted[-1].body.get("before", "") if promoted else ""
