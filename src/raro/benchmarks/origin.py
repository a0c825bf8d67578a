"""What the experts' files say of the test problems beside question and answer, found again by file and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Config
from ..demonstrations import READERS, sources
from ..demonstrations.files import format_of
from ..errors import BadInput
from ..records import Demonstration


def columns(items: Sequence[Demonstration], names: Sequence[str], config: Config, why: str) -> dict[str, Mapping[str, Any]]:
    """{an item's source: its row's values under these names}; a row without any is left out. why: which setting asks for them.
    Raises BadInput where a file has no columns, or lacks one."""
    asked = {item.source for item in items}
    found: dict[str, Mapping[str, Any]] = {}
    for source in sources(config.demonstrations.source):
        kind = format_of(source.path, config.demonstrations.reader)
        if kind not in READERS:
            raise BadInput(f"{why} asks for columns, and '{source.uri}' is {kind}, which has none", f"change {why}")
        rows = READERS[kind](source, list(names))
        found |= {row.source: dict(row.values) for row in rows if row.values is not None and row.source in asked}
    return found
