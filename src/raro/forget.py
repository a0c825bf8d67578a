"""`raro forget`: where given rows lie, in data sets, runs, registered models and copies of what was fetched, and the list with
which they stay out.

Nothing is deleted here. A model that was trained on a row can only be replaced by one that was not: the line at the end says
how, and which registered versions are meant.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

from . import traces
from .demonstrations.files import Source, claim, opened, told
from .demonstrations.forgotten import find, read_forgotten, write_forgotten
from .demonstrations.readers import LONGEST_LINE, read_csv
from .errors import BadInput
from .storage import cache_folder, digest_file, read_json
from .tracking import server, state

OVERLAP = 2**16  # bytes that two pieces of an overlong line have in common
STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*')  # of JSON, or what stands between two
DECODER = json.JSONDecoder(strict=False)
TAG = re.compile(r"<[^>]*>")


def forget(runs: Path, rows: Sequence[str], patterns: Sequence[str], output: Path) -> list[dict[str, Any]]:
    """Looks through all run folders below `runs`, prints what holds the rows, and writes their digests to `output`.

    rows: FILE#ROW, as `source` says in the splits and in quarantine. patterns: regular expressions. A row that one run holds
    is looked for by its digest in all others, where it may come from another file. Returns one record per run that holds
    some: {"run", "digest" (of its data), "found" {split: rows}, "model"}. The cache is looked through as well, $RARO_CACHE and
    `.cache` among the runs, where a cluster has it. Raises BadInput.
    """
    if not rows and not patterns:
        raise BadInput("nothing to forget was given", "give --row FILE#ROW or --pattern REGEX")
    if odd := [row for row in rows if not re.fullmatch(r".+#[0-9]+", row)]:
        raise BadInput(f"--row '{odd[0]}' is not FILE#ROW", "write it as `source` has it in the run's ingest/*.jsonl")
    if output.is_dir():
        raise BadInput(f"--output '{output}' is a folder", "name the file to write the digests to")
    lying = traces.folders(runs)
    folders = [run / "ingest" for run in lying if (run / "ingest" / "data.json").is_file()]
    if not folders and not traces.left(lying):
        raise BadInput(f"there is no finished ingest in '{runs}'", "name the folder of the runs with --runs")
    compiled = [_compiled(pattern) for pattern in patterns]
    known = read_forgotten(str(output)) if output.exists() else frozenset()
    first = {hit.digest for folder in folders for hit in find(folder, rows, compiled, known) if hit.digest}
    digests = known | frozenset(map(bytes.fromhex, first))
    found, files, unseen = [], {}, dict.fromkeys(rows)
    for folder in folders:
        if hits := list(find(folder, rows, compiled, digests)):
            unseen = {row: None for row in unseen if all(hit.source != row for hit in hits)}
            data, counts = read_json(folder / "data.json"), Counter(hit.where for hit in hits)
            record = {"run": str(folder.parent), "digest": data["digest"], "found": dict(counts)}
            found.append(record | {"model": _model(folder.parent)})
            named = {hit.source.rpartition("#")[0] for hit in hits}
            files |= {one["sha256"]: one["size"] for one in data["sources"] if one["uri"] in named}
    for one in found:
        places = ", ".join(f"{count:,} in {where}" for where, count in one["found"].items())
        print(f"{one['run']}: {places}; {one['model'] or 'no model registered'}")
        if sent := _sent(Path(one["run"])):
            print(f"{one['run']}: {sent}")
    holders = [Path(one["run"]) for one in found]
    for run in lying:
        if run not in holders and (old := traces.outlived(run)):
            line = "were made from an earlier data set, which is not there to be looked through"
            print(f"{run}: {', '.join(old)} {line}; {_model(run) or 'no model registered'}")
    taught = [(made["model"], made["version"]) for run in holders if (made := traces.registered(run))]
    for run, base in traces.descended(lying, taught):
        print(f"{run}: started from {base}, which was taught such a row; {_model(run) or 'no model registered'}")
    for path in (path for path in (*traces.left(lying), *traces.temporary()) if _holds(path, rows, compiled, digests)):
        print(f"{path}: left by an ingest or init that was killed or refused; remove it: rm -r {shlex.quote(str(path))}")
    for entry in sorted({entry for cache in (cache_folder(), runs / ".cache") for entry in copies(cache, files, compiled)}):
        print(f"{entry}: an unmasked copy of what was fetched; remove it: rm -r {shlex.quote(str(entry))}")
    if not found:
        print(f"none of {len(folders)} data sets in '{runs}' holds such a row")
        return []
    for row in unseen:
        print(f"no row of these data sets is named '{row}'")
    held = write_forgotten(output, sorted(first))
    print(f"{output}: {held:,} digests, no text")
    print(f"next: raro run CONFIG --set demonstrations.forget={output}, then remove the runs and versions named above")
    return found


def _holds(path: Path, rows: Sequence[str], patterns: Sequence[re.Pattern[str]], digests: frozenset[bytes]) -> bool:
    """Whether a row stands in it that is meant; its last line may be half of one."""
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    folder = path if path.is_dir() else path.parent
    return any(_meant(file, {}, patterns) for file in files) or any(True for _ in find(folder, rows, patterns, digests))


def copies(cache: Path, files: Mapping[str, int], patterns: Sequence[re.Pattern[str]]) -> list[Path]:
    """Entries of a cache that hold a file as it was fetched, or unpacked from what was: one of `files` ({sha256: size}), or
    text in which a pattern stands, of whose run nothing may be left."""
    found: list[Path] = []
    for kind in ("7z", "s3"):
        archives = {entry.name for entry in found}  # what was unpacked lies under its archive's digest
        for entry in sorted(path.resolve() for path in (cache / kind).glob("*") if path.is_dir()):  # what was cut off, too
            with contextlib.suppress(FileNotFoundError):  # it has just become whole, under another name
                inside = [path for path in entry.rglob("*") if path.is_file()]
                packed = (path for path in inside if archives and path.suffix.lower() == ".7z")
                if any(_meant(path, files, patterns) for path in inside) or any(digest_file(one) in archives for one in packed):
                    found.append(entry)
    return found


def _meant(path: Path, files: Mapping[str, int], patterns: Sequence[re.Pattern[str]]) -> bool:
    if path.stat().st_size in files.values() and digest_file(path) in files:
        return True
    source = Source(str(path), path)
    with contextlib.suppress(BadInput), told(source):  # damaged: no run was made from it
        return any(pattern.search(text) for text in _texts(source) for pattern in patterns)
    return False


def _texts(source: Source) -> Iterator[str]:
    """A file of JSONL, CSV or XML, line by line, as it stands there and as a reader understands it: each string without its
    escapes, each cell, text without entities and marks. A line that no reader takes for its length comes in pieces."""
    kind, tail = claim(source.path), b""
    if kind not in ("JSONL", "CSV", "XML"):
        return
    with opened(source) as (file, _):
        while piece := file.readline(LONGEST_LINE):
            text = (tail + piece).decode("utf-8", "replace")
            tail = b"" if piece.endswith(b"\n") else piece[-OVERLAP:]
            yield text
            if kind == "JSONL":  # by its strings alone: it may be one document over many lines, or a piece
                for string in STRING.finditer(text):
                    with contextlib.suppress(ValueError):  # an escape that is none
                        yield DECODER.decode(f'"{string[0]}"')
            elif kind == "XML":
                yield (plain := unescape(text))
                yield unescape(TAG.sub("", plain))  # an attribute that holds HTML
    if kind == "CSV":
        for row in read_csv(source, ()):
            yield from (row.values or {}).values()


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadInput(
            f"--pattern '{pattern}' is no regular expression: {error}", "put a backslash before . + ? ( ) [ ]"
        ) from None
    if compiled.search(""):
        raise BadInput(f"--pattern '{pattern}' stands in every text, in an empty one too", "say what must stand there")
    return compiled


def _sent(run: Path) -> str:
    """Where MLflow keeps what it was sent of a run, in words; empty where the run's own folder holds all of it."""
    sent = state.kept(run)
    own = server.local(sent.uri) and run.resolve() in server.file_of(sent.uri).resolve().parents
    if own or not sent.parent:
        return ""
    ids = " ".join(sorted({sent.parent, *sent.stages.values()}))
    return f"MLflow at '{server.shown(sent.uri)}' shows texts of it; delete there, and run `mlflow gc`, the runs {ids}"


def _model(run: Path) -> str:
    """The registered version that a run made, in words; empty where it made none."""
    made = traces.registered(run)
    return f"registered as {made['model']} version {made['version']} ({made['alias']})" if made else ""
