"""Rows examined in several processes: the same result however many, and no process left behind, whatever ends the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_demonstrations import many, wanted, write_jsonl
from test_readers import FIXTURES

from raro.config import ShowText
from raro.demonstrations import Reading, collect, sources, workers
from raro.errors import ServiceFailed

SCREENS = {
    "near_duplicates": 0.8,
    "languages": ("en",),
    "personal_data": {"email": "mask", "phone": "mask", "national_id": "drop"},
}


def outcome(folder: Path, processes: int, **keys) -> dict:
    """Every byte that collect wrote, and all that the card says."""
    folder.mkdir()
    settings = wanted(**keys)
    card = collect(settings, sources(settings.source), folder, ShowText.full, None, processes)
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"card": card.content([], settings)}


@pytest.fixture
def soon(monkeypatch):
    """Other processes start after a few rows, in small batches."""
    monkeypatch.setattr(workers, "ALONE", 7)
    monkeypatch.setattr(workers, "BATCH", 5)


def test_the_result_does_not_depend_on_the_number_of_processes(soon, tmp_path):
    rows = [
        *many(90),
        {"question": "Write to jo@example.org or call 650 253 0000, would you?", "answer": "I shall, on Monday."},
        {"question": "Whose number is 078-05-1121?", "answer": "SSN 219-09-9999 is what was printed."},
        {"question": "x", "answer": ""},
        {"question": 5, "answer": "y"},
        {"nothing": 1},
        many(90)[3],
        {
            "question": "Ist das hier ein deutscher Satz, der lang genug ist, um erkannt zu werden?",
            "answer": "Ja, ohne Zweifel.",
        },
        {"question": "a <think> b", "answer": "c"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with path.open("ab") as file:
        file.write(b'{"question": "\xff", "answer": "broken"}\nno json\n')
    alone = outcome(tmp_path / "alone", 1, source=str(path), **SCREENS)
    assert alone == outcome(tmp_path / "two", 2, source=str(path), **SCREENS)
    assert alone == outcome(tmp_path / "three", 3, source=str(path), **SCREENS)
    assert len(alone["card"]["reasons"]) >= 7 and alone["card"]["kept"] > 80


@pytest.mark.parametrize("file, reader", [("Posts.xml", "stackexchange"), ("chat.jsonl", "chat"), ("cuad.json", "squad")])
def test_every_reader_means_the_same_in_another_process(soon, monkeypatch, tmp_path, file, reader):
    monkeypatch.setattr(workers, "ALONE", 0)
    keys = {"source": str(FIXTURES / file), "reader": reader}
    assert outcome(tmp_path / "alone", 1, **keys) == outcome(tmp_path / "two", 2, **keys)


def test_a_few_rows_start_no_process(monkeypatch, tmp_path):
    monkeypatch.setattr(workers.Workers, "_submit", None)
    assert outcome(tmp_path / "out", 4, source=str(write_jsonl(tmp_path / "a.jsonl", many(30))))["card"]["kept"] == 30


def test_what_is_on_its_way_is_bounded_by_bytes(monkeypatch):
    monkeypatch.setattr(workers, "BYTES", 1000)
    rows = [workers.Row("u", i, {"question": "x" * 600}) for i in range(10)]
    assert [len(batch) for batch, _ in workers._batches(iter(rows))] == [2] * 5


def test_a_killed_process_is_one_clear_line(soon, tmp_path):
    settings = wanted(source=str(write_jsonl(tmp_path / "a.jsonl", many(400))))
    rows = Reading(settings).rows(*sources(settings.source))
    with workers.Workers(settings, ShowText.full, frozenset(), 2) as pool, pytest.raises(ServiceFailed, match="was killed"):
        for number, _ in enumerate(pool.examined(rows)):
            if number == 50:
                os.kill(next(iter(pool._pool._processes)), signal.SIGKILL)


CODE = """
import sys
from pathlib import Path
from raro.config import Demonstrations, ShowText
from raro.demonstrations import Reading, collect, sources, workers
from raro.steps.stopping import interruptible
interruptible()
workers.ALONE = 10
settings = Demonstrations(source=sys.argv[1])
said = lambda *_: print("going", flush=True)
collect(settings, sources(settings.source), Path(sys.argv[2]), ShowText.full, said, 2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_reads(tmp_path, number):
    """Ctrl-C and SIGTERM reach its whole group, as a terminal and `raro run` send them, but no worker, which would leave half a
    result; a kill only the first."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for i in range(300_000):
            file.write(json.dumps({"question": f"What comes after {i}?", "answer": f"{i + 1}, because " * 20}) + "\n")
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, path, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "going\n"
    until(lambda: len(members(3, process.pid)) - len(members(2, process.pid)) == 2)  # of the session, not of the group
    (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
    said = process.communicate(timeout=60)[1]
    until(lambda: not members(3, process.pid))
    assert said.count("Traceback") == (number != signal.SIGKILL)


def members(place: int, leader: int) -> list[int]:
    """The live processes whose group (place 2) or session (3) this one leads."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = folder.joinpath("stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += [int(folder.name)] * (int(told[place]) == leader and told[0] != "Z")
    return found


def until(holds, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
