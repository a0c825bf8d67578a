"""What the experts' files say of the test problems beside question and answer, found again by file and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Config
from ..demonstrations import sources
from ..demonstrations.columns import missing
from ..demonstrations.files import format_of
from ..demonstrations.readers import READERS, read_rows
from ..errors import BadInput
from ..records import Demonstration


def columns(items: Sequence[Demonstration], names: Sequence[str], config: Config, why: str) -> dict[str, Mapping[str, Any]]:
    """{an item's source: its row's values under these names}; a row without any is left out. why: which setting asks for them.
    Raises BadInput where a file has no columns, or lacks one; of JSONL where no row that was asked for has it."""
    asked = {item.source for item in items}
    found: dict[str, Mapping[str, Any]] = {}
    present: set[str] = set()
    for source in sources(config.demonstrations.source):
        kind = format_of(source.path, config.demonstrations.reader)
        if kind not in READERS:
            raise BadInput(f"{why} asks for columns, and '{source.uri}' is {kind}, which has none", f"change {why}")
        for row in read_rows(source, kind, names):
            if row.values is not None and row.source in asked:
                found[row.source] = {name: row.values.get(name) for name in names}
                present |= row.values.keys()
    if found and (error := missing(config.demonstrations.source, names, sorted(present))):
        raise error
    return found
