"""The judged pairs that a training run keeps for people to read, one JSON line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..storage import write_atomic

TRANSCRIPTS = "pairs.jsonl"
TEXTS = ("question", "expert", "policy", "policy_thought", "critic_thought")  # of a judged pair
SHOWN = 20
"""Steps, evenly spaced, whose judged pairs are kept."""


class Transcripts:
    """Judged pairs beside the checkpoints: those written before the checkpoint that a run goes on from, and none twice."""

    def __init__(self, path: Path, first: int):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.back(first)

    def back(self, step: int) -> None:
        """Keeps those of the first `step` steps: the others are undone."""
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        write_atomic(self.path, "".join(line + "\n" for line in kept))

    def add(self, rows: list[dict]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def copy(self, target: Path) -> None:
        target.write_text("".join(line + "\n" for line in self._lines()), encoding="utf-8")

    def _lines(self) -> Iterator[str]:
        """Whole lines only: a killed process may have left half of one."""
        if self.path.exists():
            yield from self.path.read_text(encoding="utf-8").split("\n")[:-1]
