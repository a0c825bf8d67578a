"""What an audit finds: one Check for each link of the chain, and what was read on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .desk import Desk
from .log import Record

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

State = Literal["ok", "broken", "absent"]


@dataclass(slots=True)
class Check:
    """One link. detail: what was found, in a few words. breaks: what is wrong, each in one sentence. remedy: the way out, where
    it is plain. notes: what could not be looked at, which is nobody's fault."""

    name: str
    detail: str = ""
    breaks: list[str] = field(default_factory=list)
    absent: bool = False
    remedy: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def state(self) -> State:
        return "broken" if self.breaks else "absent" if self.absent else "ok"


@dataclass(slots=True)
class Audit:
    """found: what was read on the way, by name. scratch: where downloads lie. anchor: SEQ:HASH kept elsewhere."""

    desk: Desk
    reference: str
    number: str
    version: ModelVersion
    checks: list[Check]
    records: list[Record]
    found: dict[str, Any]
    scratch: Path
    anchor: str

    @property
    def whole(self) -> bool:
        return not any(check.breaks for check in self.checks)

    @property
    def breaks(self) -> list[str]:
        """Every break with its link's name."""
        return [f"{check.name}: {one}" for check in self.checks for one in check.breaks]


def approvals_needed(made: Audit) -> int:
    """How many must approve the version: as many as the policy asks for, and the run that registered it, whichever policy it
    is looked at with."""
    return max(made.desk.policy.approvals, made.found.get("config", {}).get("registry", {}).get("approvals", 0))


def approvers(records: Sequence[Record], number: str, root: str) -> list[str]:
    """Who approved a version of these files, each once, in order."""
    found = (r.actor for r in records if (r.action, r.version) == ("approved", number) and r.body.get("root") == root)
    return list(dict.fromkeys(found))


def what_happened(records: Sequence[Record]) -> str:
    """For example: promoted by Ada Byron on 2026-11-25."""
    last = [record for record in records if record.action not in ("registered", "evaluated", "approved")]
    return f"{last[-1].action} by {last[-1].actor} on {last[-1].time[:10]}" if last else "no decision in the log"


def since(records: Sequence[Record], number: str) -> list[Record]:
    """Records since the version last stopped being champion: what approved it then does not approve it again."""
    start, stands = 0, ""
    for at, record in enumerate(records):
        if record.action in ("promoted", "rolled back"):
            if stands == number and record.version != number:
                start = at
            stands = record.version
    return list(records[start:])
