"""The few ways a run can end badly, each with the exit code that design and schedulers rely on.

Every error carries one line that names the thing at fault and one that tells the remedy; the command line prints both and
nothing else. Anything that is not a `RaroError` is a fault of ours: exit code 1, with its traceback.
"""

from __future__ import annotations

import re

INTERRUPTED = 130  # the exit code of what somebody stopped, as shells have it


def printable(text: str) -> str:
    """The text on one line, with escapes for what cannot be printed: it may be somebody else's, and written to move the cursor
    of a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def shown(text: str) -> str:
    """The text, its addresses without the passwords in them."""
    return re.sub(r"//[^/\s]*@", "//...@", text)


class RaroError(Exception):
    """Base of the errors a user can act on.

    line: what is wrong, naming the thing. remedy: what to do about it. code: the process's exit code.
    permanent: True where trying again without a change cannot help; a retry then stops at once.
    """

    code = 1
    permanent = True

    def __init__(self, line: str, remedy: str = ""):
        super().__init__(line)
        self.line, self.remedy = printable(line), printable(remedy)

    def __str__(self) -> str:
        return f"{self.line} ({self.remedy})" if self.remedy else self.line


class BadInput(RaroError):
    """The user gave something unusable: exit code 2, nothing half-written."""

    code = 2


class GateRefused(RaroError):
    """A gate or an audit said no: exit code 3."""

    code = 3


class ServiceFailed(RaroError):
    """A service (store, tracking server, judge) failed: exit code 4, worth retrying."""

    code = 4
    permanent = False


class Canceled(RaroError):
    """Somebody stopped a run on a cluster: exit code 130."""

    code = INTERRUPTED
    permanent = False
