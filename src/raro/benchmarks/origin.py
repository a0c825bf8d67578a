"""What the experts' files say of the test problems beside question and answer, found again by file and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Config
from ..demonstrations import Reading, sources
from ..demonstrations.columns import missing
from ..demonstrations.files import format_of
from ..demonstrations.personal import PersonalData
from ..demonstrations.readers import READERS, Refusal
from ..demonstrations.screens import Screened, screen
from ..errors import BadInput
from ..records import Demonstration


def columns(items: Sequence[Demonstration], names: Sequence[str], config: Config, why: str) -> dict[str, Mapping[str, Any]]:
    """{an item's source: its row's values under these names}. why: which setting asks for them.

    Raises BadInput where a file has no columns, or lacks one (of JSONL: where no row that was asked for has it), and where an
    item's row is no longer the one that was ingested: rows are numbered, and may have moved."""
    settings = config.demonstrations
    asked = {item.source: item for item in items}
    reading = Reading(settings, also=names)
    personal = PersonalData.of(settings)
    found: dict[str, Mapping[str, Any]] = {}
    present: set[str] = set()
    for source in sources(settings.source):
        kind = format_of(source.path, settings.reader)
        if kind not in READERS:
            raise BadInput(f"{why} asks for columns, and '{source.uri}' is {kind}, which has none", f"change {why}")
        for row in reading.rows(source):
            if (item := asked.get(row.source)) and _same(screen(reading.understood(row), settings, personal), item):
                found[row.source] = {name: row.values.get(name) for name in names}
                present |= row.values.keys()
    if lost := next((one for one in asked if one not in found), None):
        raise BadInput(f"{lost} is no longer the row that was ingested", "evaluate on the data that was ingested")
    if found and (error := missing(settings.source, names, sorted(present))):
        raise error
    return found


def _same(row: Screened | Refusal, item: Demonstration) -> bool:
    one = row.demonstration if isinstance(row, Screened) else None
    return one is not None and (one.question, one.answer) == (item.question, item.answer)
