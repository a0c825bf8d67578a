"""Demonstrations: from the experts' files to train, dev and test, with a quarantine and a data card.

files -> readers -> shapes -> screens -> splits -> card, drawn together by `collect`; `load_split` gives later steps what
ingest wrote.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import BadInput
from ..records import Demonstration
from .card import Card, source_digest
from .collect import QUARANTINE, collect
from .files import Source, sources
from .shapes import Reading
from .splits import SPLITS, hashed_split

__all__ = [
    "QUARANTINE", "SPLITS", "Card", "Reading", "Source", "collect", "hashed_split", "load_split", "source_digest", "sources",
]  # fmt: skip


def load_split(folder: str | Path, name: str) -> list[Demonstration]:
    """The demonstrations of one split (train, dev or test) of a finished ingest folder, in the order they were read.

    Raises BadInput where the file is missing or is not what ingest writes.
    """
    path = Path(folder) / f"{name}.jsonl"
    if name not in SPLITS or not path.is_file():
        raise BadInput(f"'{path}' does not exist", "run the step ingest")
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(Demonstration(**json.loads(line)))
            except (ValueError, TypeError):
                raise BadInput(f"line {number} of '{path}' is not a demonstration", "run the step ingest again") from None
    return rows
