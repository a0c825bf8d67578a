"""Where an audit log lies: a folder, S3, or a run in MLflow. Each can add a record exactly once, and none overwrites."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import BadInput, ServiceFailed
from ..storage import beside, to_disk, writing
from ..tracking import server
from .models import lookup

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from ..s3_records import Kept

NAME = re.compile(r"([0-9]{8})\.jsonl")  # no other script's digits: a record has one name
MLFLOW = "mlflow:"
LONGEST = 6000  # characters of a parameter in MLflow


class Place(Protocol):
    """address: where, without credentials."""

    address: str

    def lines(self) -> dict[int, bytes]:
        """Every record by its number."""
        ...

    def create(self, seq: int, line: bytes) -> bool:
        """Writes the record; False where one of this number exists."""
        ...

    def kept(self) -> str:
        """What the place itself does against changes, in a few words; empty for nothing."""
        ...

    def away(self, seq: int) -> str:
        """How a person takes away what lies there under a record's number and is none, in words."""
        ...


class Folder:
    """One file a record; `link` puts it there whole or finds the name taken."""

    def __init__(self, folder: Path):
        self.folder, self.address = folder, str(folder)

    def lines(self) -> dict[int, bytes]:
        """What is no file (a folder; a pipe, which would never end) holds nothing, and is no record."""
        if not self.folder.is_dir():
            return {}
        named = [(int(found[1]), path) for path in self.folder.iterdir() if (found := NAME.fullmatch(path.name))]
        return {seq: path.read_bytes() if path.is_file() else b"" for seq, path in named}

    def create(self, seq: int, line: bytes) -> bool:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{seq:08d}.jsonl"
            partial = beside(path, "partial")
            try:
                with open(partial, "xb") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(partial, path)
            except FileExistsError:
                return False
            finally:
                partial.unlink(missing_ok=True)
            to_disk(self.folder)
        return True

    def kept(self) -> str:
        return ""

    def away(self, seq: int) -> str:
        return f"move {seq:08d}.jsonl out of '{self.address}'"


class Bucket:
    """One object a record, written on the condition that there is none. days: how long object lock keeps each record."""

    def __init__(self, uri: str, days: int = 0):
        self.address, self.days = uri.rstrip("/"), days

    def lines(self) -> dict[int, bytes]:
        return {seq: record.content for seq, record in self._records().items()}

    def create(self, seq: int, line: bytes) -> bool:
        from .. import s3_records

        return s3_records.create(f"{self.address}/{seq:08d}.jsonl", line, self.days)

    def kept(self) -> str:
        if not (records := self._records()):
            return ""
        free = sum(not record.locked for record in records.values())
        words = [f"{free} of {len(records)} without object lock" if free else f"object lock, {records[min(records)].locked}"]
        if touched := sorted(seq for seq, record in records.items() if record.touched):
            words.append(f"record {', '.join(map(str, touched))} written over or deleted since, and read as it was first")
        return "; ".join(words)

    def away(self, seq: int) -> str:
        return f"delete every version of {self.address}/{seq:08d}.jsonl (aws s3api delete-object --version-id)"

    def _records(self) -> dict[int, Kept]:
        from .. import s3_records

        found = s3_records.read(self.address)
        return {int(match[1]): record for name, record in found.items() if (match := NAME.fullmatch(name))}


class Parameters:
    """One parameter a record, of a run that holds nothing else: MLflow refuses another value for one that is set."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str):
        self.client, self.uri, self.run_id = client, uri, run_id
        self.address = f"{MLFLOW}{run_id}"

    def lines(self) -> dict[int, bytes]:
        with server.speaking(self.uri):
            run = lookup(self.client.get_run, self.run_id)
        found = run.data.params if run else {}  # MLflow has lost it, or the tag names another: the log holds no record
        return {int(key): (value + "\n").encode() for key, value in found.items() if re.fullmatch(r"[0-9]{8}", key)}

    def create(self, seq: int, line: bytes) -> bool:
        from mlflow.exceptions import MlflowException

        text = line.decode().rstrip("\n")
        if len(text) > LONGEST:
            raise BadInput(
                f"a record of {len(text)} characters does not fit into MLflow", "give a shorter reason, or set registry.store"
            )
        with server.speaking(self.uri):
            try:
                self.client.log_param(self.run_id, f"{seq:08d}", text)
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":
                    return False
                raise
            kept = self.client.get_run(self.run_id).data.params.get(f"{seq:08d}")
        if kept is None:
            raise ServiceFailed(f"MLflow at '{server.shown(self.uri)}' accepted record {seq} but does not hold it", "try again")
        return kept == text

    def kept(self) -> str:
        return ""

    def away(self, seq: int) -> str:
        return f"let who runs MLflow's database take parameter {seq:08d} of run {self.run_id} out of it: MLflow itself cannot"
