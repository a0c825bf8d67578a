"""What stands behind a judge: a source of replies, what it may spend, and why it cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...config import Judge
from ...errors import ServiceFailed
from .wording import Request


class Unusable(Exception):
    """Why a judge cannot be used, in one line. passes: whether another try later may help (an outage)."""

    def __init__(self, line: str, remedy: str = "", passes: bool = False):
        super().__init__(f"{line} ({remedy})" if remedy else line)
        self.line, self.remedy, self.passes = line, remedy, passes


def refused(error: Unusable, settings: Judge) -> dict[str, Any]:
    """What evaluation.json says of a judge that cannot be used. Raises ServiceFailed where an outage is to stop the step."""
    if error.passes and settings.on_outage == "stop":
        raise ServiceFailed(str(error), "start again when it answers; or set judge.on_outage: continue") from None
    return {"status": "refused", "why": str(error)}


@dataclass(slots=True)
class Spent:
    """Tokens and calls so far. budget: tokens, both ways, after which nothing more is asked; 0: none. before: those of the same
    budget that were spent already."""

    budget: int
    before: int = 0
    read: int = 0
    written: int = 0
    calls: int = 0
    kept: int = 0

    @property
    def gone(self) -> bool:
        """Whether nothing is left."""
        return bool(self.budget) and self.before + self.read + self.written >= self.budget

    def check(self) -> None:
        """Raises Unusable where nothing is left."""
        if self.gone:
            line = f"the judge's budget of {self.budget:,} tokens is spent after {self.calls:,} calls"
            raise Unusable(line, "raise judge.budget, or lower judge.items; its verdicts so far are kept")

    def add(self, read: int, written: int) -> None:
        """One more call."""
        self.read, self.written, self.calls = self.read + read, self.written + written, self.calls + 1

    @property
    def shown(self) -> dict[str, int]:
        """As in evaluation.json."""
        return {"calls": self.calls, "read": self.read, "written": self.written, "from_cache": self.kept}


Keep = Callable[[int, str | None], None]
"""Called with a request's place and what its reply was read as."""


class Source(Protocol):
    """Where replies come from. identity: what tells this judge from any other."""

    identity: dict[str, Any]

    def __call__(self, requests: Sequence[Request], spent: Spent, keep: Keep) -> None:
        """Asks all, keeping each as it comes. Raises Unusable."""
        ...
