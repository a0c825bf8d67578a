"""Experts' files as rows: JSONL, CSV and Parquet, read in a stream. What a row means is the business of `shapes`.

A file that is not what its name claims raises BadInput with one line. A single broken row never does: it comes out as a `Row`
that carries a reason instead of values, and is quarantined. A further format is one more function from `Source` to rows, with
its entry in READERS (here, or in `documents` and `posts`), and in `files.CLAIMS` the suffixes that name it.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import BadInput
from .columns import missing, undecoded
from .files import Source, check, opened, told

LONGEST_LINE = 16 * 2**20  # bytes; a longer line is quarantined without being held in memory
FIRST_LINES = 100  # a JSONL file whose first lines are all broken is no JSONL file
EXCERPT = 200  # characters of a broken row that the quarantine shows
KEPT = 10 * EXCERPT  # that are kept of it until it is masked: an identifier that was cut is no longer found


class Row(NamedTuple):
    """One row of a source. number: the line on which it starts, or its number in a Parquet file, from 1. values: the columns,
    or None for a broken row, which has a reason, a detail free of the row's text, and the beginning of its text. done: bytes of
    the file read so far. licence, attribution: of this row alone, where the format says them. reader: which understands it,
    where the format decides that. A row with values and a reason was read well, but cannot be understood."""

    uri: str
    number: int
    values: Mapping[str, Any] | None
    done: int = 0
    reason: str = ""
    detail: str = ""
    text: str = ""
    licence: str = ""
    attribution: str = ""
    reader: str = ""

    @property
    def source(self) -> str:
        return f"{self.uri}#{self.number}"


class Refusal(NamedTuple):
    """Why a row is quarantined or left out. reason: a key of REASONS or LEFT_OUT. detail: for a person, without the row's
    text."""

    reason: str
    detail: str


def _lines(source: Source) -> Iterator[tuple[int, int, bytes, bool]]:
    """(line number, bytes read, line, whole) of a text file; of a line longer than LONGEST_LINE only the beginning."""
    with opened(source) as (file, tell):
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            rest, whole = line, True
            while not rest.endswith(b"\n") and len(rest) == LONGEST_LINE and (rest := file.readline(LONGEST_LINE)):
                whole = False
            yield number, tell(), line.removeprefix(b"\xef\xbb\xbf"), whole


def _broken(source: Source, number: int, done: int, reason: str, detail: str, raw: bytes | str) -> Row:
    text = raw[: 4 * KEPT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    return Row(source.uri, number, None, done, reason, detail, text.strip()[:KEPT])


# ------------------------------------------------------------------------------------------------------------------ JSONL


class _Repeated(ValueError):
    """A JSON object that has one key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise _Repeated
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def read_jsonl(source: Source, columns: Sequence[str]) -> Iterator[Row]:
    """One JSON object per line; empty lines are passed over."""
    good, bad = False, 0
    for number, done, line, whole in _lines(source):
        if not line.strip():
            continue
        row = _json_row(source, number, done, line, whole)
        good, bad = good or row.values is not None, bad + (row.values is None)
        yield row
        if not good and bad == FIRST_LINES:
            break
    if not good:
        seen = f"none of its first {bad} lines is a JSON object" if bad > 1 else "its only line is no JSON object"
        raise BadInput(
            f"'{source.uri}' is not JSONL: {seen}", "give one JSON object per line, or name the file by its real format"
        )


def _json_row(source: Source, number: int, done: int, line: bytes, whole: bool) -> Row:
    def broken(reason: str, detail: str) -> Row:
        return _broken(source, number, done, reason, detail, line)

    if not whole:
        return broken("too_long", f"the line is longer than {LONGEST_LINE:,} bytes")
    try:
        values = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return broken("encoding", f"byte {error.start + 1} of the line is not UTF-8")
    except json.JSONDecodeError as error:
        return broken("not_json", f"{error.msg} at character {error.pos + 1}")
    except _Repeated:
        return broken("duplicate_key", "an object names one key twice")
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets thousands deep
        return broken("not_json", "a number too long or brackets too deep")
    if not isinstance(values, dict):
        return broken("not_an_object", f"{_json_name(values)} instead of an object")
    return Row(source.uri, number, values, done)


def _json_name(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


# -------------------------------------------------------------------------------------------------------------------- CSV


class _CsvLines:
    """The lines of a CSV file, as the csv module wants them: text, with undecodable bytes kept as lone surrogates, which the
    screens then find. record: (line number, bytes read, text, whole) of the lines taken since `begin`."""

    def __init__(self, source: Source):
        self._lines = (
            (number, done, line.decode("utf-8", "surrogateescape"), whole) for number, done, line, whole in _lines(source)
        )
        self._again: deque[tuple[int, int, str, bool]] = deque()
        self.record: list[tuple[int, int, str, bool]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.record.append(self._again.popleft() if self._again else next(self._lines))
        return self.record[-1][2]

    def begin(self) -> None:
        """What comes is a new record."""
        self.record = []

    def only_first(self) -> None:
        """The record ends with its first line: the others will come again."""
        self._again.extendleft(reversed(self.record[1:]))


def read_csv(source: Source, columns: Sequence[str]) -> Iterator[Row]:
    """A header line, then quoted or plain fields, divided by a comma, semicolon, tab or bar: the first by which the header has
    the wanted columns, else that which makes most of it; or as a first line `sep=;` says (Excel). A quote that is never closed
    costs the line it stands on, not those it would swallow. columns: none stands for all."""
    csv.field_size_limit(LONGEST_LINE)
    lines = _CsvLines(source)
    header_line = next((line for line in lines if line.strip()), "")
    if said := re.fullmatch(r"sep=([,;\t|])\s*", header_line, re.IGNORECASE):
        header_line = next((line for line in lines if line.strip()), "")
    try:
        marks = said[1] if said else ",;\t|"
        readings = {mark: [name.strip() for name in next(csv.reader([header_line], delimiter=mark), [])] for mark in marks}
    except csv.Error as error:
        raise BadInput(
            f"'{source.uri}' is not CSV: its header cannot be read, {error}", "give a header line of names"
        ) from None
    wanted = set(filter(None, columns))
    likeliest = max(readings, key=lambda mark: len(readings[mark]))
    mark = next((mark for mark, names in readings.items() if wanted and wanted <= set(names)), likeliest)
    header = readings[mark]
    # `raro forget` wants no column by name, and must look through such a file too.
    if error := (wanted and undecoded(source.uri, header)) or missing(source.uri, columns, header, source.later):
        raise error
    reader = csv.reader(lines, delimiter=mark, strict=True)
    while True:
        lines.begin()
        wrong, fields = "", None
        try:
            fields = next(reader, None)
        except csv.Error as error:
            wrong = f"{error}, on line {lines.record[-1][0]}"
        if not lines.record:
            return
        if fields == []:
            continue
        if fields is not None and len(fields) != len(header):
            wrong = f"{len(fields)} fields, the header has {len(header)}"
        number, done, text, _ = lines.record[0]
        if not all(whole for *_, whole in lines.record):
            yield _broken(source, number, done, "too_long", f"a line is longer than {LONGEST_LINE:,} bytes", text)
        elif wrong:
            lines.only_first()
            yield _broken(source, number, done, "not_csv", wrong, text)
        else:
            yield Row(source.uri, number, dict(zip(header, fields or (), strict=True)), done)


# ---------------------------------------------------------------------------------------------------------------- Parquet


def read_parquet(source: Source, columns: Sequence[str]) -> Iterator[Row]:
    """The wanted columns of a Parquet file, batch by batch; all, where none is wanted."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise BadInput(f"'{source.uri}' is Parquet, which needs pyarrow", "pip install 'raro-pipelines[columnar]'") from None
    number, size, wanted = 0, source.path.stat().st_size, list(dict.fromkeys(filter(None, columns)))
    try:
        with parquet.ParquetFile(source.path, buffer_size=2**20, pre_buffer=False) as file:
            if error := missing(source.uri, wanted, file.schema_arrow.names, source.later):
                raise error
            wanted = wanted or [name for name in file.schema_arrow.names if file.schema_arrow.names.count(name) == 1]
            total = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=1024, columns=wanted, use_threads=False):
                texts = [_texts(batch.column(name), arrow) for name in wanted]
                for values in zip(*texts, strict=True):
                    number += 1
                    yield Row(source.uri, number, dict(zip(wanted, values, strict=True)), size * number // total)
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        where = f"after row {number}" if number else "at its beginning or end"
        raise BadInput(f"'{source.uri}' is damaged Parquet: it cannot be read {where}", "copy it again") from error


def _texts(column: Any, arrow: Any) -> list[Any]:
    """A column's values. Text passes through bytes, so that one undecodable value spoils its own row only."""
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kinds = arrow.types
    if kinds.is_string(column.type) or kinds.is_string_view(column.type):
        column = column.cast(arrow.binary())
    elif kinds.is_large_string(column.type):
        column = column.cast(arrow.large_binary())
    else:
        return column.to_pylist()
    return [value if value is None else value.decode("utf-8", "surrogateescape") for value in column.to_pylist()]


READERS: dict[str, Callable[[Source, Sequence[str]], Iterator[Row]]] = {
    "JSONL": read_jsonl,
    "CSV": read_csv,
    "Parquet": read_parquet,
}


def read_rows(source: Source, kind: str, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a file of one of READERS. Raises BadInput where it is not what its name claims, is damaged, or is empty."""
    with told(source):
        check(source, kind)
        yield from READERS[kind](source, columns)
