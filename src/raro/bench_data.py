"""`raro bench --data`: rows per second and peak memory of ingest, for each format and size, each in a process of its own.

The rows are made up: a question of about 300 characters and an answer of about 400, seeded, no two alike; in XML posts of 1 KB
and more, as the sites have them, where `rows` counts questions. `all screens` adds near-duplicates, language, licences and
personal data to JSONL.

Machines are busy, so the figures are taken by CPU time too. `cores`: rows per second of as many cores as there are processes,
by the CPU time of all, and no more than the one that reads allows; with one process, rows per second of CPU. Memory is that of
the reading process at its peak and as often that of the largest of the others. Growth: the largest size beside the smallest.
The last line is one JSON object.
"""

from __future__ import annotations

import itertools
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from .errors import BadInput
from .steps.preflight import cores

SCREENS = {
    "near_duplicates": 0.8,
    "languages": ["en"],
    "licences": ["MIT"],
    "licence": "MIT",
    "personal_data": {"email": "mask", "phone": "mask", "date": "mask", "national_id": "drop", "account": "mask"},
}
WORKER = r"""
import json, re, resource, sys, time
from pathlib import Path
from raro.config import ShowText, parse
from raro.demonstrations import collect, sources
settings = parse({"demonstrations": json.loads(sys.argv[1])}).demonstrations
folder, processes = Path(sys.argv[2]), int(sys.argv[3])
started = time.perf_counter()
card = collect(settings, sources(settings.source), folder, ShowText.full, None, processes)
card.digest()
seconds = time.perf_counter() - started
own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
cpu = [used.ru_utime + used.ru_stime for used in (own, others)]
peak = (own.ru_maxrss + (processes * others.ru_maxrss if cpu[1] else 0)) / 1024
print(json.dumps({"rows": card.rows, "seconds": seconds, "reader": cpu[0], "others": cpu[1], "peak_mib": peak}))
"""


def main(sizes: str, processes: int) -> dict[str, Any]:
    """Runs every format at every size and prints a table; returns what the last line holds. sizes: whole numbers, by commas.
    processes: as resources.ingest_processes. Raises BadInput."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", sizes):
        raise BadInput(f"--rows '{sizes}' is not a list of sizes", "write for example 10000,100000,1000000")
    if not 1 <= processes <= 64:
        raise BadInput(f"--processes {processes} is out of bounds", "write 1 to 64")
    counts = sorted(set(map(int, sizes.split(","))))
    kinds = {"jsonl": {}, "parquet": {}, "xml": {"reader": "stackexchange"}, "all screens": SCREENS}
    table = Table("what", "rows", "rows/s", "cores, rows/s", "cores, MB/s", "seconds of CPU", "peak memory, MiB")
    result: dict[str, Any] = {"processes": processes, "cores": cores(), "machine": platform.machine()}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="raro-bench-") as place, Progress(*columns) as progress:
        task = progress.add_task("", total=len(kinds) * len(counts))
        for kind, count in itertools.product(kinds, counts):
            progress.update(task, description=f"{kind}, {count:,} rows: being made")
            path = _made(Path(place), kind, count)
            progress.update(task, description=f"{kind}, {count:,} rows: read and screened")
            told = _measured({"source": str(path), **kinds[kind]}, Path(place), processes)
            figures = _figures(told, path.stat().st_size / 1e6, processes)
            result.setdefault(kind, {})[str(count)] = figures
            table.add_row(kind, f"{count:,}", *(f"{value:,}" for value in figures.values()))
            progress.console.print(f"{kind}, {count:,} rows: {json.dumps(figures)}", soft_wrap=True)  # should a later one fail
            progress.advance(task)
            path.unlink()
    for kind in kinds:
        peaks = [result[kind][str(count)]["peak_mib"] for count in (counts[0], counts[-1])]
        result[kind]["memory_growth"] = round(peaks[1] / max(1, peaks[0]), 2)
    progress.console.print(table)
    print(json.dumps(result))
    return result


def _figures(told: dict[str, Any], megabytes: float, processes: int) -> dict[str, float]:
    cpu = told["reader"] + told["others"]
    shared = max(told["reader"], cpu / processes)
    return {
        "rows_per_second": round(told["rows"] / told["seconds"]),
        "cores_rows_per_second": round(told["rows"] / shared),
        "cores_mb_per_second": round(megabytes / shared, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mib": round(told["peak_mib"]),
    }


def _measured(settings: dict[str, Any], place: Path, processes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        command = [sys.executable, "-c", WORKER, json.dumps(settings), folder, str(processes)]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


_TEXT = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into than them "
    "can only other new some could time these two may then do first any my now such like our over man me even most made after"
)
_WORDS = _TEXT.split()


def _made(place: Path, kind: str, count: int) -> Path:
    """A file of `count` rows."""
    draw = random.Random(0)
    rows = ((_text(draw, 65, i), _text(draw, 85, i)) for i in range(count))
    if kind == "parquet":
        return _parquet(place / "rows.parquet", rows)
    path = place / ("Posts.xml" if kind == "xml" else "rows.jsonl")
    with path.open("w", encoding="utf-8") as file:
        if kind == "xml":
            file.write("<posts>\n")
        for i, (question, answer) in enumerate(rows):
            if kind == "xml":
                file.write(_posts(i, question, answer))
            else:
                file.write(json.dumps({"question": question, "answer": answer}) + "\n")
        if kind == "xml":
            file.write("</posts>\n")
    return path


def _posts(i: int, question: str, answer: str) -> str:
    """A question and its answers as a dump writes them, with all attributes: three answers to two questions, none to every
    fifth; three paragraphs each, 1 KB and more as on the sites."""
    said = [answer, f"{question} {answer}"][: i % 2 + 1] if i % 5 else []
    body = lambda text: quoteattr(f"<p>{text}</p>\n\n<p>{text}</p>\n\n<pre><code>x = {i}\n</code></pre>\n\n<p>{text}</p>\n")  # noqa: E731
    common = 'CreationDate="2020-01-02T03:04:05.678" Score="3" OwnerUserId="7" LastActivityDate="2020-02-03T04:05:06.789"'
    accepted = f'AcceptedAnswerId="{10 * i + 1}" ' if said else ""
    asked = f'{accepted}{common} ViewCount="310" Title="About {i}" Tags="|a|b|" AnswerCount="{len(said)}" CommentCount="0"'
    rows = [f'<row Id="{10 * i}" PostTypeId="1" {asked} Body={body(question)} ContentLicense="CC BY-SA 4.0" />']
    for place, text in enumerate(said, 1):
        answered = f'PostTypeId="2" ParentId="{10 * i}" {common} CommentCount="0" ContentLicense="CC BY-SA 4.0"'
        rows.append(f'<row Id="{10 * i + place}" {answered} Body={body(text)} />')
    return "".join(f"  {row}\n" for row in rows)


def _text(draw: random.Random, words: int, number: int) -> str:
    return f"{' '.join(draw.choices(_WORDS, k=words))} {number}"


def _parquet(path: Path, rows: Any) -> Path:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    schema = arrow.schema([("question", arrow.string()), ("answer", arrow.string())])
    with parquet.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rows, 10_000)):
            questions, answers = zip(*batch, strict=True)
            writer.write_table(arrow.table({"question": questions, "answer": answers}, schema=schema))
    return path
