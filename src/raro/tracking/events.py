"""What happens in a run, one JSON line each in RUN/events.jsonl: the only thing the terminal, the report, MLflow and the exit
handler read. Written with one append per line, so that steps in several processes may write at once; a training step never
waits for a network because of it.

| kind     | besides time (seconds since 1970), stage and kind |
| start    | total (int or null), text, held {cpus, gpus}      |
| progress | done, total, text                                 |
| metrics  | step, values {name: number}                       |
| note     | text, level (info or warning)                     |
| done     | outputs {name: small plain value}, seconds        |
| skipped  |                                                   |
| failed   | failure (what failure.json holds)                 |
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import printable
from ..storage import writing

FILE = "events.jsonl"


class Events:
    """The pen of one stage of one run. Raises ServiceFailed where the disk is full."""

    def __init__(self, run: str | Path, stage: str):
        self.path = Path(run) / FILE
        self.stage = stage
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._mend()

    def start(self, total: int | None = None, text: str = "", held: Mapping[str, float] | None = None) -> None:
        """The stage begins; total: how many units of progress it will take, where that is known. held: cores and GPUs that it
        keeps from others."""
        self._write("start", total=total, text=text, **({"held": dict(held)} if held else {}))

    def progress(self, done: int, total: int, text: str = "") -> None:
        """`done` of `total` units; text: what they are, for a person."""
        self._write("progress", done=done, total=total, text=text)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step of the stage, by name."""
        self._write("metrics", step=step, values={name: float(value) for name, value in values.items()})

    def note(self, text: str, level: Literal["info", "warning"] = "info") -> None:
        """A sentence for a person. It may hold somebody else's words, as a judge's."""
        self._write("note", text=printable(text), level=level)

    def done(self, outputs: Mapping[str, Any], seconds: float) -> None:
        """The stage is finished and its folder published."""
        self._write("done", outputs=dict(outputs), seconds=seconds)

    def skipped(self) -> None:
        """The stage was finished before, with equal config and inputs."""
        self._write("skipped")

    def failed(self, failure: Mapping[str, Any]) -> None:
        """The stage failed; `failure` is what failure.json holds."""
        self._write("failed", failure=dict(failure))

    def _write(self, kind: str, **fields: Any) -> None:
        record = {"time": time.time(), "stage": self.stage, "kind": kind, **fields}
        self._append((json.dumps(record, ensure_ascii=False) + "\n").encode())

    def _append(self, line: bytes) -> None:
        with writing(self.path), open(self.path, "ab", buffering=0) as file:
            while line:  # a disk that fills up takes the beginning without a word, and says so at the rest
                line = line[file.write(line) :]

    def _mend(self) -> None:
        """Closes a line that a killed process left half-written, lest ours be glued to it."""
        if self.path.exists() and self.path.stat().st_size:
            with open(self.path, "rb") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    self._append(b"\n")


def read(run: str | Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events written since byte `offset`, and the byte to go on from. A last line still being written waits for the next
    call; a line that a killed process left broken is passed over."""
    path = Path(run) / FILE
    if not path.exists():
        return [], offset
    with open(path, "rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return [event for line in whole.splitlines() if (event := _parse(line))], offset + len(whole)


def trained(run: str | Path) -> dict[int, dict[str, float]]:
    """The figures of training by step, in order. A step done twice (a run resumed from its checkpoint) counts as last done."""
    by_step = {e["step"]: e["values"] for e in read(run)[0] if e["stage"] == "train" and e["kind"] == "metrics"}
    return dict(sorted(by_step.items()))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None
