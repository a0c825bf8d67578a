"""The names of a file's columns: which of them are missing, and how that is told. Of a CSV without a header they are its first
row, and so are text."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

from ..errors import BadInput
from .files import printable

RECODE = "convert the file to UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"


class NoColumn(BadInput):
    """What is wrong with a file's columns, and the names that it has. shown: says them as far as text may be shown."""

    def __init__(self, line: str, names: Sequence[str], near: str, remedy: str):
        self.names, self.near, self.how, self.many = names[:12], near, remedy, len(names)
        super().__init__(line, f"{near}there are: {_listed(self.names)}; {remedy}")

    def shown(self, shown: Callable[[str], str]) -> BadInput:
        """The same, each name as `shown` has it; only how many there are, where that is false."""
        if not shown:
            many = f"there are {self.many} columns, not named as privacy.show_text is none: a file's first line may be a row"
            return BadInput(self.line, f"{many}; {self.how}")
        near = self.near if shown(self.near) == self.near else ""
        return BadInput(self.line, f"{near}there are: {_listed([shown(name) for name in self.names])}; {self.how}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(printable(name, 40) for name in names) or "none"


def missing(source: str, wanted: Sequence[str], present: Iterable[str], later: bool = False) -> BadInput | None:
    """The error for columns that a file does not have at all, naming the nearest that it has, or has twice. later: files before
    it have them."""
    present = [name for name in present if name]
    if twice := next((name for name in wanted if present.count(name) > 1), None):
        return BadInput(f"'{source}' has two columns named '{printable(twice, 40)}'", "rename one of them")
    lost = [name for name in wanted if name and name not in present]
    if not lost:
        return None
    lower = {name.lower(): name for name in present[:1000]}
    near = difflib.get_close_matches(lost[0].lower(), lower, n=1, cutoff=0.6)
    there = f"did you mean '{printable(lower[near[0]], 40)}'? " if near else ""
    line = f"'{source}' has no column '{printable(lost[0], 40)}'"
    remedy = "correct the setting that names it (demonstrations.question, evaluation.strata, ...)"
    if later:
        remedy = "the files of one folder must share their columns: rename them in this one, or run it apart"
    return NoColumn(line, present, there, remedy)


def undecoded(source: str, header: Iterable[str]) -> BadInput | None:
    """The error for a CSV header with bytes that are not UTF-8: nobody could name its columns."""
    if any("\udc80" <= sign <= "\udcff" for name in header for sign in name):
        return BadInput(f"'{source}' has a header that is not UTF-8", RECODE)
    return None
