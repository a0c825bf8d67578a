"""Right to erasure: which rows were withdrawn, as digests only, and where given rows lie in finished data sets.

A row is known by the digest of its question and answer as they were kept, normalised and masked: the list holds no text, and
what it names is left out wherever it appears again, in whatever file. (GDPR, art. 17.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadInput
from ..records import Demonstration
from ..storage import fetch, write_atomic
from .screens import pair_digest
from .splits import SPLITS

_DIGEST = re.compile(r"[0-9a-f]{30}")


class Hit(NamedTuple):
    """A row that is to be forgotten. where: its split, or `quarantine`. digest: empty in quarantine, whose rows were never
    trained on."""

    where: str
    source: str
    digest: str


def file_of(uri: str) -> Path:
    """The file that `write_forgotten` wrote. Raises BadInput for a folder."""
    path = fetch(uri)
    if not path.is_file():
        raise BadInput(f"'{uri}' is a folder, not a list of digests", "give the file that `raro forget` wrote")
    return path


def read_forgotten(uri: str) -> frozenset[bytes]:
    """The digests of that file. Raises BadInput."""
    lines = file_of(uri).read_text(encoding="utf-8", errors="replace").splitlines()
    told = {number: line for number, line in enumerate(lines, 1) if line and line[0] != "#"}
    if wrong := [number for number, line in told.items() if not _DIGEST.fullmatch(line)]:  # perhaps a list of names
        line = f"'{uri}' is not a list of digests: its line {wrong[0]} is none"
        raise BadInput(line, "give the file that `raro forget` wrote")
    return frozenset(map(bytes.fromhex, told.values()))


def write_forgotten(path: Path, digests: Sequence[str]) -> int:
    """Adds the digests to the file, which is made where there is none; returns how many it holds now."""
    before = {one.hex() for one in read_forgotten(str(path))} if path.exists() else set()
    together = sorted(before | set(digests))
    head = "# Digests of demonstrations that were withdrawn; written by `raro forget`, read through demonstrations.forget.\n"
    write_atomic(path, head + "".join(f"{one}\n" for one in together))
    return len(together)


def find(folder: Path, rows: Sequence[str], patterns: Sequence[re.Pattern[str]], digests: frozenset[bytes]) -> Iterator[Hit]:
    """The rows of an ingest folder that are meant: by their source (FILE#ROW), by a pattern in question, answer or
    attribution, or by their digest."""
    wanted = set(rows)
    for split in SPLITS:
        for record in _records(folder / f"{split}.jsonl"):
            one = Demonstration(**record)
            digest = pair_digest(one)
            texts = (one.question, one.answer, one.attribution)
            if one.source in wanted or digest in digests or any(p.search(text) for p in patterns for text in texts):
                yield Hit(split, one.source, digest.hex())
    for record in _records(folder / "quarantine.jsonl"):
        if record["source"] in wanted or any(p.search(text) for text in _texts(record.get("text")) for p in patterns):
            yield Hit("quarantine", record["source"], "")


def _texts(value: Any) -> Iterator[str]:
    """Every string of a quarantined row, as its expert wrote it, and what else stands there as JSON."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif value is not None:
        yield value if isinstance(value, str) else json.dumps(value)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file, but for one that a killed process has left half-written."""
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
