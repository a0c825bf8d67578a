"""Demonstrations: every format read for real, every screen, splits that never divide what belongs together, the ingest step."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from audited import well
from hypothesis import given, settings
from hypothesis import strategies as st

from raro import config
from raro.demonstrations import collect, hashed_split, load_split, seen, sources
from raro.demonstrations.card import described
from raro.demonstrations.readers import LONGEST_LINE
from raro.errors import BadInput, GateRefused, ServiceFailed
from raro.storage import read_json

pytestmark = pytest.mark.usefixtures("untracked")

ROWS = [
    {
        "question": "What dries a wet wall, and in what order?",
        "answer": "Find the leak, mend it, then air the room.",
        "topic": "house",
    },
    {
        "question": "How is a sauce thickened without flour?",
        "answer": "Reduce it, or whisk in cold butter.",
        "topic": "kitchen",
    },
    {"question": "Why do bread crusts soften in a bag?", "answer": "Moisture from the crumb cannot leave.", "topic": "kitchen"},
    {"question": "What is 6 times 7?", "answer": "42", "topic": "sums"},
    {
        "question": "Nenne drei \u00dcbungen f\u00fcr den R\u00fccken.",
        "answer": "Br\u00fccke, Vierf\u00fc\u00dfler,\nKatze \u2013 Kuh.",
        "topic": "body",
    },
    {"question": "Quote the proverb about haste.", "answer": '"Haste makes waste", they say.', "topic": "words"},
]


def many(n: int, start: int = 0) -> list[dict]:
    return [
        {"question": f"What comes after {i}?", "answer": f"{i + 1}", "topic": f"t{i % 40}"} for i in range(start, start + n)
    ]


def write_jsonl(path: Path, rows: list) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_csv(path: Path, rows: list[dict], mark: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        pen = csv.DictWriter(file, list(rows[0]), delimiter=mark)
        pen.writeheader()
        pen.writerows(rows)
    return path


def write_parquet(path: Path, rows: list[dict], schema=None) -> Path:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), path, row_group_size=4)
    return path


def wanted(**keys) -> config.Demonstrations:
    return config.Demonstrations(**{"min_train": 1, "max_quarantined_share": 1.0, **keys})


def gather(source, folder: Path, show_text: bool = True, **keys):
    """(card, {(question, answer)} kept, quarantine) of one pass."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = config.ShowText.full if show_text else config.ShowText.none
    card = collect(wanted(source=str(source), **keys), sources(str(source)), folder, shown)
    kept = {(d.question, d.answer) for split in ("train", "dev", "test") for d in load_split(folder, split)}
    quarantine = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text("utf-8").splitlines()]
    return card, kept, quarantine


# ---------------------------------------------------------------------------------------------------------------- formats


def write_as(kind: str, folder: Path) -> Path:
    if kind.startswith("jsonl") or kind in ("json", "ndjson"):
        return write_jsonl(folder / f"rows.{kind}", ROWS)
    if kind == "csv.gz":
        (folder / "rows.csv.gz").write_bytes(gzip.compress(write_csv(folder / "plain", ROWS).read_bytes()))
        return folder / "rows.csv.gz"
    if kind == "bom":
        return write_csv(folder / "rows.csv", ROWS, encoding="utf-8-sig")
    if kind == "tsv":
        return write_csv(folder / "rows.tsv", ROWS, "\t")
    if kind == "semicolons":
        return write_csv(folder / "ROWS.CSV", ROWS, ";")
    if kind == "csv":
        return write_csv(folder / "rows.csv", ROWS)
    arrow = pytest.importorskip("pyarrow")
    text = {"parquet": arrow.string(), "large": arrow.large_string(), "words": arrow.dictionary(arrow.int32(), arrow.string())}[
        kind
    ]
    return write_parquet(folder / "rows.parquet", ROWS, arrow.schema([(name, text) for name in ROWS[0]]))


KINDS = ["jsonl", "jsonl.gz", "ndjson", "json", "csv", "csv.gz", "bom", "tsv", "semicolons", "parquet", "large", "words"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_demonstrations(kind, tmp_path):
    expected, kept, _ = gather(write_jsonl(tmp_path / "expected.jsonl", ROWS), tmp_path / "expected")
    (tmp_path / "in").mkdir()
    card, same, quarantine = gather(write_as(kind, tmp_path / "in"), tmp_path / "out")
    assert same == kept and len(kept) == len(ROWS) and not quarantine
    assert ("Nenne drei \u00dcbungen f\u00fcr den R\u00fccken.", "Br\u00fccke, Vierf\u00fc\u00dfler,\nKatze - Kuh.") in kept
    assert card.digest() == expected.digest()


def test_columns_are_mapped_and_the_source_is_told(tmp_path):
    rows = [{"prompt": r["question"], "completion": r["answer"], "id": i} for i, r in enumerate(ROWS)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    card, kept, _ = gather(path, tmp_path / "out", question="prompt", answer="completion", group="id", licence="CC-BY-4.0")
    assert len(kept) == len(ROWS)
    everything = [d for split in ("train", "dev", "test") for d in load_split(tmp_path / "out", split)]
    assert {d.source for d in everything} == {f"{path}#{i + 1}" for i in range(len(ROWS))}
    assert {d.licence for d in everything} == {"CC-BY-4.0"} and {d.group for d in everything} == {
        str(i) for i in range(len(ROWS))
    }


def test_a_folder_or_a_glob_is_all_its_files(tmp_path):
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    write_jsonl(data / "a.jsonl", ROWS[:2])
    write_csv(data / "deep" / "b.csv", ROWS[2:4])
    write_jsonl(data / ".hidden.jsonl", ["not json"])
    (data / "README.md").write_text("about the data")
    (data / "about.json").write_text('{\n "name": "about"\n}')
    assert [s.uri for s in sources(f"{data}/")] == [f"{data}/a.jsonl", f"{data}/deep/b.csv"]
    assert len(gather(data, tmp_path / "one")[1]) == 4
    assert [s.uri for s in sources(f"{data}/*.jsonl")] == [f"{data}/a.jsonl"]
    assert [s.uri for s in sources(f"file://{data}/**/*.csv")] == [f"file://{data}/deep/b.csv"]
    odd = write_jsonl(data / "odd[1].jsonl", ROWS[:1])
    assert [s.path for s in sources(str(odd))] == [odd]


def test_packaged_demonstrations_are_a_source():
    (found,) = sources("package://countdown-mini.jsonl")
    assert found.uri == "package://countdown-mini.jsonl" and found.path.is_file()


def test_relative_globs_and_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", ROWS)
    assert [s.uri for s in sources("*.jsonl")] == ["a.jsonl"]
    assert [s.uri for s in sources(".")] == ["./a.jsonl"]
    assert [s.uri for s in sources(f"{tmp_path}/*.jsonl")] == [f"{tmp_path}/a.jsonl"]


# --------------------------------------------------------------------------------------------- not what they claim to be

LINE = json.dumps(ROWS[0]).encode() + b"\n"
IMPOSTORS = {
    "text.parquet": (b"just words\n", "is not Parquet, but plain text"),
    "jsonl.parquet": (LINE, "is not Parquet"),
    "cut.parquet": (b"PAR1" + b"\0" * 100, "is damaged Parquet"),
    "empty.parquet": (b"", "is empty"),
    "array.jsonl": (json.dumps(ROWS).encode(), "is one JSON array"),
    "pretty.jsonl": (json.dumps(ROWS, indent=2).encode(), "is one JSON array"),
    "object.json": (json.dumps({"rows": ROWS}, indent=1).encode(), "spread over several lines"),
    "words.jsonl": (b"Once upon a time\nthere was a file.\n", "is not JSONL: none of its first 2 lines"),
    "comma.jsonl": (b"question,answer\n" + b"a,b\n" * 300, "is not JSONL: none of its first 100 lines"),
    "one.jsonl": (b"hello", "its only line"),
    "empty.jsonl": (b"", "is empty"),
    "blank.jsonl": (b"\n \n\n", "is empty"),
    "packed.jsonl": (gzip.compress(LINE), "is not JSONL, but gzip"),
    "plain.jsonl.gz": (LINE, "is named .gz, but is not gzip"),
    "empty.jsonl.gz": (b"", "is empty"),
    "cut.jsonl.gz": (gzip.compress(os.urandom(3000).hex().encode() + b"\n" + LINE)[:-20], "is truncated or damaged"),
    "utf16.jsonl": (LINE.decode().encode("utf-16"), "is not JSONL, but UTF-16 text"),
    "utf16.csv": ("question,answer\na,b\n".encode("utf-16-be"), "is not CSV, but binary data"),
    "noise.jsonl": (bytes(range(256)) * 4, "is not JSONL, but binary data"),
    "book.csv": (b"PK\x03\x04" + b"x" * 50, "is not CSV, but a zip archive"),
    "parquet.csv": (b"PAR1 and so on", "is not CSV, but Parquet"),
    "page.jsonl": (b"<!DOCTYPE html><html><body>404</body></html>", "is not JSONL, but an HTML page"),
    "pointer.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is not JSONL, but a Git LFS pointer"),
    "mac.csv": (b"question,answer\ra,b\r", "ends its lines as old Macintosh files do"),
    "mixed.csv": (b"question,answer\rq,a\r\nx,y\n", "its header cannot be read"),
    "header.csv": (b"question,answer\n", "holds no rows"),
    "twice.csv": (b"question,answer,answer\na,b,c\n", "has two columns named 'answer'"),
    "rows.txt": (LINE, "the format of"),
    "rows.parquet.gz": (gzip.compress(b"PAR1"), "the format of"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_a_file_that_is_not_what_it_claims_is_one_clear_line(name, tmp_path):
    content, line = IMPOSTORS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        gather(tmp_path / name, tmp_path / "out")
    assert line in caught.value.line and name in caught.value.line
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_damage_in_the_middle_of_parquet_is_found(tmp_path):
    path = write_parquet(
        tmp_path / "rows.parquet", [{"question": os.urandom(40).hex(), "answer": "x" * i} for i in range(1, 99)]
    )
    data = bytearray(path.read_bytes())
    data[200:2000] = b"\xff" * 1800
    path.write_bytes(data)
    with pytest.raises(BadInput, match="damaged Parquet"):
        gather(path, tmp_path / "out")


def test_parquet_columns_that_are_not_text(tmp_path):
    path = write_parquet(tmp_path / "rows.parquet", [{"question": f"q{i}", "answer": i} for i in range(9)])
    card, kept, quarantine = gather(path, tmp_path / "out")
    assert (
        not kept
        and card.reasons == {"not_text": 9}
        and quarantine[0]["detail"] == "column 'answer' holds a number instead of text"
    )


def test_parquet_of_other_types_loses_no_row(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    moment, exact = datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.50")
    others = {
        "binary": arrow.array([b"raw", b"\xff"]),
        "decimal": arrow.array([exact, exact]),
        "timestamp": arrow.array([moment, moment]),
        "list": arrow.array([["a"], []]),
        "struct": arrow.array([{"text": "a"}, None]),
        "map": arrow.array([[("a", 1)], []], arrow.map_(arrow.string(), arrow.int64())),
        "boolean": arrow.array([True, None]),
        "null": arrow.nulls(2),
        "float": arrow.array([float("nan"), 1.0], arrow.float16()),
    }
    for name, column in others.items():
        parquet.write_table(
            arrow.table({"question": [f"{name} 1", f"{name} 2"], "answer": column}), tmp_path / f"{name}.parquet"
        )
    texts = {"dictionary": arrow.array(["x", "y"]).dictionary_encode(), "large": arrow.array(["x", "y"], arrow.large_string())}
    for name, column in texts.items():
        parquet.write_table(
            arrow.table({"question": [f"{name} 1", f"{name} 2"], "answer": column}), tmp_path / f"{name}.parquet"
        )
    card, kept, quarantine = gather(tmp_path, tmp_path / "out")
    assert kept == {(f"{name} {i}", text) for name in texts for i, text in ((1, "x"), (2, "y"))}
    assert card.reasons == {"not_text": 2 * len(others)} and len(quarantine) == 2 * len(others)


def test_a_file_that_may_not_be_read():
    """Root may read anything: as root the test is somebody else for a moment, in a folder that all may enter."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        path = write_jsonl(Path(place) / "rows.jsonl", ROWS)
        gather(path, Path(place) / "before")  # whatever has to be imported is
        path.chmod(0)
        me = os.geteuid()
        try:
            if me == 0:
                os.seteuid(65534)
            with pytest.raises(BadInput, match="may not be read") as caught:
                gather(path, Path(place) / "out")
            with pytest.raises(BadInput, match="may not be read"):
                described(sources(str(path)))
        finally:
            os.seteuid(me)
        assert caught.value.remedy == "check its permissions"


def test_an_undecodable_parquet_value_spoils_its_own_row_only(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    answers = arrow.Array.from_buffers(arrow.string(), 3, arrow.array([b"fine", b"caf\xe9", None]).buffers())
    parquet.write_table(arrow.table({"question": ["a", "b", "c"], "answer": answers}), tmp_path / "rows.parquet")
    _, kept, quarantine = gather(tmp_path / "rows.parquet", tmp_path / "out")
    assert kept == {("a", "fine")} and [(q["row"], q["reason"]) for q in quarantine] == [(2, "encoding"), (3, "not_text")]
    assert quarantine[0]["text"] == {"question": "b", "answer": "caf\\udce9"}


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "rows.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput) as caught:
        gather(path, tmp_path / "out")
    assert "raro-pipelines[columnar]" in caught.value.remedy


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("", "demonstrations.source is empty"),
        ("nowhere.jsonl", "does not exist"),
        ("nowhere/*.jsonl", "does not exist"),
        ("*.nothing", "no file matches"),
        ("/dev/null", "neither a file nor a folder"),
        ("ftp://host/rows.jsonl", "unknown scheme"),
        ("package://nothing.jsonl", "not in the package"),
        ("s3://*", "does not exist"),
        ("a\0b.jsonl", "does not exist"),
        ("x" * 5000, "too long to be a path"),
    ],
)
def test_a_source_that_is_not_there(source, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=line):
        sources(source)


def test_a_folder_without_data(tmp_path):
    with pytest.raises(BadInput, match="is empty"):
        sources(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match="holds no file of .*notes.txt"):
        sources(str(tmp_path))


def test_a_column_that_no_row_has_names_the_nearest(tmp_path):
    rows = [{"Question": r["question"], "answer_text": r["answer"]} for r in ROWS]
    for path in (
        write_jsonl(tmp_path / "a.jsonl", rows),
        write_csv(tmp_path / "a.csv", rows),
        write_parquet(tmp_path / "a.parquet", rows),
    ):
        with pytest.raises(BadInput) as caught:
            gather(path, tmp_path / "out")
        assert "has no column 'question'" in caught.value.line and "did you mean 'Question'?" in caught.value.remedy
        with pytest.raises(BadInput, match="has no column 'answer'.*did you mean 'answer_text'"):
            gather(path, tmp_path / "out", question="Question")
        with pytest.raises(BadInput, match="has no column 'topic'"):
            gather(path, tmp_path / "out", question="Question", answer="answer_text", group="topic")


def test_names_that_cannot_be_printed_do_not_break_the_line_or_the_card(tmp_path):
    (tmp_path / "in").mkdir()
    with open(os.fsencode(tmp_path / "in") + b"/a\xff\n.jsonl", "w") as file:
        file.write(json.dumps(ROWS[0]) + "\n")
    card, _, _ = gather(tmp_path / "in", tmp_path / "out")
    content = card.content(described(sources(str(tmp_path / "in"))), wanted())
    assert content["sources"][0]["uri"].endswith("/a\\udcff\\n.jsonl")
    with pytest.raises(BadInput) as caught:
        gather(write_jsonl(tmp_path / "b.jsonl", ['{"\\ud800\\n": 1}', "{}"]), tmp_path / "out")
    assert str(caught.value).isprintable()


def test_parquet_with_one_column_twice(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    table = arrow.Table.from_arrays([arrow.array(["x"])] * 3, names=["question", "answer", "answer"])
    parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(BadInput, match="two columns named 'answer'"):
        gather(tmp_path / "rows.parquet", tmp_path / "out")


def test_one_column_cannot_be_both(tmp_path):
    with pytest.raises(BadInput, match="both name column 'answer'"):
        gather(write_jsonl(tmp_path / "a.jsonl", ROWS), tmp_path / "out", question="answer")


# ------------------------------------------------------------------------------------------------------------ broken rows

LONG = "x" * 50
BROKEN = [
    ('{"question": "q", "answer": "a"', "not_json"),
    ("42", "not_an_object"),
    ('["q", "a"]', "not_an_object"),
    ("null", "not_an_object"),
    ('{"question": "q", "answer": "a", "answer": "b"}', "duplicate_key"),
    ('{"question": "q"}', "missing_column"),
    ("{}", "missing_column"),
    ('{"question": "q", "answer": null}', "not_text"),
    ('{"question": "q", "answer": NaN}', "not_text"),
    ('{"question": "q", "answer": 7}', "not_text"),
    ('{"question": "q", "answer": true}', "not_text"),
    ('{"question": "q", "answer": {"text": "a"}}', "not_text"),
    ('{"question": ["q"], "answer": "a"}', "not_text"),
    ('{"question": "q", "answer": "\\ud800"}', "encoding"),
    ('{"question": "q", "answer": "caf\ufffd"}', "encoding"),
    ('{"question": "q", "answer": "caf\udce9"}', "encoding"),
    ('{"question": "q", "answer": "don\\u0092t"}', "encoding"),
    ('{"question": "q", "answer": " \\u200b\\n "}', "empty"),
    ('{"question": "", "answer": "a"}', "empty"),
    (json.dumps({"question": "q", "answer": "a " * 101}), "too_long"),
    (json.dumps({"question": "q" * 101, "answer": "a"}), "too_long"),
    ('{"question": "q", "answer": "<think>mine</think> a"}', "tags"),
    ('{"question": "q", "answer": "a </THINK\\n> b"}', "tags"),
    ('{"question": "q", "answer": "\\uff1cver\\u200bdict\\uff1e first"}', "tags"),
    ('{"question": "q", "answer": "<ver\\u00addict> first"}', "tags"),
    ('{"question": "q", "answer": "a <|im_end|> first"}', "tags"),
    ('{"question": "q </think> first", "answer": "a"}', "tags"),
    (json.dumps({"question": f"Say {LONG}.", "answer": LONG}), "answer_in_question"),
    ('{"question": "Twice", "answer": "given"}', "duplicate"),
    ('{"question": "  Twice ", "answer": "given\\u200b"}', "duplicate"),
    ("[" * 100_000, "not_json"),
    ('{"n": ' + "9" * 5000 + "}", "not_json"),
    ("\0\0\0\0", "not_json"),
]


def test_each_broken_row_is_quarantined_with_its_number_and_reason(tmp_path):
    rows = [{"question": "Twice", "answer": "given"}]
    for i, (line, _) in enumerate(BROKEN):
        rows += [line, {"question": f"good {i}", "answer": "yes"}, ""]
    path = write_jsonl(tmp_path / "rows.jsonl", ["", *rows])
    card, kept, quarantine = gather(path, tmp_path / "out", max_question_chars=100, max_answer_chars=100)
    assert [(q["row"], q["reason"]) for q in quarantine] == [(3 + 3 * i, reason) for i, (_, reason) in enumerate(BROKEN)]
    assert all(q["source"] == f"{path}#{q['row']}" and q["detail"] for q in quarantine)
    assert len(kept) == len(BROKEN) + 1 and card.rows == 2 * len(BROKEN) + 1 and card.quarantined == len(BROKEN)


def test_short_answers_and_comparisons_are_no_leak_and_no_tag(tmp_path):
    rows = [
        {"question": "Is 4 < 5 > 3, yes or no?", "answer": "yes"},
        {"question": "HTML for bold?", "answer": "<b>x</b> or <|"},
    ]
    assert len(gather(write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out")[1]) == 2


def test_a_line_too_long_for_memory_is_passed_over(tmp_path):
    lines = [json.dumps(ROWS[0]), '{"question": "q", "answer": "' + "x" * (2 * LONGEST_LINE) + '"}', json.dumps(ROWS[1])]
    _, kept, quarantine = gather(write_jsonl(tmp_path / "rows.jsonl", lines), tmp_path / "out")
    assert len(kept) == 2 and [(q["row"], q["reason"]) for q in quarantine] == [(2, "too_long")]
    (tmp_path / "rows.csv").write_text("question,answer\na,b\nc," + "x" * (2 * LONGEST_LINE) + "\nd,e\n")
    _, kept, quarantine = gather(tmp_path / "rows.csv", tmp_path / "out")
    assert kept == {("a", "b"), ("d", "e")} and [(q["row"], q["reason"]) for q in quarantine] == [(3, "too_long")]


@pytest.mark.check
def test_a_line_of_a_quarter_of_a_gigabyte_fills_no_memory(tmp_path):
    """Packed it is a few kilobytes: what one more byte of it costs does not depend on how many there are."""
    zstd = pytest.importorskip("backports.zstd")
    many_of_one = zstd.compress(b"x" * 2**24)
    with (tmp_path / "rows.jsonl.zst").open("wb") as file:
        file.write(zstd.compress(b'{"question": "q", "answer": "') + 16 * many_of_one)
        file.write(zstd.compress(b'"}\n{"question": "And then?", "answer": "It goes on."}\n'))
    tracemalloc.start()
    _, kept, quarantine = gather(tmp_path / "rows.jsonl.zst", tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 96 * 2**20
    tracemalloc.stop()
    assert kept == {("And then?", "It goes on.")} and [(q["row"], q["reason"]) for q in quarantine] == [(1, "too_long")]


def test_broken_csv_rows(tmp_path):
    lines = [
        *(
            b"question,answer",
            b"a,b",
            b"only one",
            b"one,two,three",
            b"",
            b'"quoted ""well""","over',
            b'two lines"',
            b'"bad" tail,x',
        ),
        *(b"c,d", b"caf\xe9,e", b'f,"open', b"g,h", b'"i","j"', b'k,"never closed', *(b"q%d,a%d" % (i, i) for i in range(99))),
    ]
    (tmp_path / "rows.csv").write_bytes(b"\n".join(lines) + b"\n")
    _, kept, quarantine = gather(tmp_path / "rows.csv", tmp_path / "out")
    good = {("a", "b"), ('quoted "well"', "over\ntwo lines"), ("c", "d"), ("g", "h"), ("i", "j")}
    assert kept == good | {(f"q{i}", f"a{i}") for i in range(99)}
    seen = [(q["row"], q["reason"]) for q in quarantine]
    assert seen == [(3, "not_csv"), (4, "not_csv"), (8, "not_csv"), (10, "encoding"), (11, "not_csv"), (14, "not_csv")]


def test_a_csv_whose_rows_are_all_broken_lacks_no_column(tmp_path):
    (tmp_path / "rows.csv").write_text("question,answer\n" + "one,two,three\n" * 9)
    card, kept, _ = gather(tmp_path / "rows.csv", tmp_path / "out")
    assert not kept and card.reasons == {"not_csv": 9}


def test_no_text_is_shown_where_privacy_forbids_it(tmp_path):
    secret = "patient Zero"
    rows = [
        *(
            f'{{"question": "{secret}", "answer": ',
            json.dumps([secret]),
            f'{{"{secret}": 1}}',
            json.dumps({"question": secret, "answer": 3}),
        ),
        *(json.dumps({"question": secret, "answer": f"<think>{secret}</think>"}), *ROWS, ROWS[0]),
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    _, _, quarantine = gather(path, tmp_path / "open")
    assert secret in quarantine[0]["text"] and quarantine[-1]["text"]["question"] == ROWS[0]["question"]
    gather(path, tmp_path / "closed", show_text=False)
    assert secret not in (tmp_path / "closed" / "quarantine.jsonl").read_text("utf-8")
    assert len((tmp_path / "closed" / "quarantine.jsonl").read_text("utf-8").splitlines()) == len(quarantine) == 6


# ----------------------------------------------------------------------------------------------------------------- splits


@given(st.text(min_size=1), st.floats(0, 0.5), st.floats(0, 0.49))
def test_a_group_has_one_split_and_larger_shares_only_add(group, dev, test):
    split = hashed_split(group, dev, test)
    assert split == hashed_split(group, dev, test) and split in ("train", "dev", "test")
    if split == "test":
        assert hashed_split(group, 0.0, test) == "test"
    if split == "train":
        assert hashed_split(group, dev / 2, test / 2) == "train"


def test_shares_are_kept_and_growth_moves_nothing(tmp_path):
    card, _, _ = gather(write_jsonl(tmp_path / "a.jsonl", many(4000)), tmp_path / "a", dev_share=0.05, test_share=0.1)
    assert abs(card.splits["test"] / 4000 - 0.1) < 0.02 and abs(card.splits["dev"] / 4000 - 0.05) < 0.02
    gather(write_jsonl(tmp_path / "b.jsonl", many(8000)), tmp_path / "b", dev_share=0.05, test_share=0.1)
    for split in ("train", "dev", "test"):
        before = {d.question for d in load_split(tmp_path / "a", split)}
        assert before < {d.question for d in load_split(tmp_path / "b", split)}


def test_groups_and_near_equal_questions_stay_together(tmp_path):
    gather(write_jsonl(tmp_path / "a.jsonl", many(2000)), tmp_path / "a", group="topic", test_share=0.3)
    groups = [{d.group for d in load_split(tmp_path / "a", split)} for split in ("train", "dev", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    rows = [{"question": q, "answer": str(i)} for i in range(200) for q in (f"Who is {i}?", f"who  is {i}", f"WHO IS {i} ?")]
    gather(write_jsonl(tmp_path / "b.jsonl", rows), tmp_path / "b", test_share=0.4)
    groups = [{d.group for d in load_split(tmp_path / "b", split)} for split in ("train", "dev", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 200


def test_a_split_column_is_followed(tmp_path):
    names = ["train", "validation", "test", "Dev", "TRAIN", "nonsense"]
    rows = [{**row, "fold": name} for row, name in zip(ROWS, names, strict=True)]
    card, kept, quarantine = gather(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out", split="fold")
    assert card.splits == {"train": 2, "dev": 2, "test": 1} and [q["reason"] for q in quarantine] == ["unknown_split"]


def test_a_split_column_that_divides_a_group_is_refused(tmp_path):
    rows = [{**row, "fold": "train"} for row in ROWS] + [{**ROWS[0], "answer": "Another.", "fold": "test"}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(BadInput) as caught:
        gather(path, tmp_path / "out", split="fold")
    assert f"{path}#7" in caught.value.line and "in test" in caught.value.line and ROWS[0]["question"] not in str(caught.value)


def test_one_question_under_two_groups_does_not_leak(tmp_path):
    rows = [{"question": "The same?", "answer": f"answer {i}", "topic": f"group {i}"} for i in range(60)]
    card, _, quarantine = gather(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out", group="topic", test_share=0.4)
    assert sum(n > 0 for n in card.splits.values()) == 1 and {q["reason"] for q in quarantine} == {"split_leak"}


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_order_place_or_files(tmp_path_factory, rng: random.Random):
    folder = tmp_path_factory.mktemp("order")
    rows = [*many(30), ROWS[0], ROWS[0], "broken"]
    whole, _, _ = gather(write_jsonl(folder / "a.jsonl", rows), folder / "out")
    shuffled = rng.sample(rows, len(rows))
    cut = rng.randint(3, 30)
    (folder / "parts").mkdir()
    write_jsonl(folder / "parts" / "1.jsonl", shuffled[:cut])
    write_jsonl(folder / "parts" / "2.jsonl", [*shuffled[cut:], ROWS[1]])
    parts, _, _ = gather(folder / "parts", folder / "out2")
    assert parts.kept == whole.kept + 1 and parts.digest() != whole.digest()
    write_jsonl(folder / "parts" / "2.jsonl", [*shuffled[cut:], *many(3)])
    parts, _, _ = gather(folder / "parts", folder / "out2")
    assert parts.digest() == whole.digest()


def test_the_digest_knows_splits_and_licence(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", many(100))
    one = gather(path, tmp_path / "out")[0].digest()
    assert gather(path, tmp_path / "out", test_share=0.4)[0].digest() != one
    assert gather(path, tmp_path / "out", licence="MIT")[0].digest() != one


# ------------------------------------------------------------------------------------------------------------ card and stop


def test_the_card_says_what_was_read(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [*many(50), "broken", {**ROWS[0]}, {**ROWS[0]}])
    card, _, _ = gather(path, tmp_path / "out", licence="MIT")
    content = json.loads(json.dumps(card.content(described(sources(str(path))), wanted())))
    assert content["rows"] == 53 and content["kept"] == 51 and content["quarantined"] == 2
    assert content["reasons"] == {"duplicate": 1, "not_json": 1} and content["licences"] == {"MIT": 51}
    assert sum(content["splits"].values()) == 51 and len(content["digest"]) == 64
    assert content["sources"] == [{"uri": str(path), "size": path.stat().st_size, "sha256": content["sources"][0]["sha256"]}]
    assert content["lengths"]["answer"] == {"mean": 2.6, "median": 2, "p95": 2, "longest": 42}


def test_too_many_quarantined_or_too_few_kept_stop_the_run(tmp_path):
    card, _, _ = gather(write_jsonl(tmp_path / "a.jsonl", [*many(90), *["broken"] * 10]), tmp_path / "out")
    stop = card.stop(wanted(max_quarantined_share=0.09), tmp_path / "q.jsonl")
    assert (
        "10 of 100 rows are quarantined, most as not_json (10): 10.0%, more than 9.0%" in stop.line and "q.jsonl" in stop.line
    )
    assert card.stop(wanted(max_quarantined_share=0.1), tmp_path / "q.jsonl") is None
    assert "demonstrations are left to train on, 500 are needed" in card.stop(wanted(min_train=500), tmp_path / "q.jsonl").line


def test_load_split_refuses_what_ingest_did_not_write(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        load_split(tmp_path, "train")
    (tmp_path / "train.jsonl").write_text('{"question": "q"}\n')
    with pytest.raises(BadInput, match="line 1"):
        load_split(tmp_path, "train")


# --------------------------------------------------------------------------------------------------------------- the step


def whole_config(source: Path, **keys) -> config.Config:
    return config.parse({"demonstrations": {"source": str(source), **keys}})


def ingest(settings: config.Config, run: Path) -> dict:
    from raro.steps import run_step

    return run_step("ingest", settings, run)


def test_the_step_writes_splits_quarantine_and_card(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [*many(200), "broken", "broken again"])
    outputs = ingest(whole_config(path), tmp_path / "run")
    folder = tmp_path / "run" / "ingest"
    assert (
        outputs["verdict"] == "proceed"
        and outputs["train"] + outputs["dev"] + outputs["test"] == 200
        and outputs["quarantined"] == 2
    )
    assert len(load_split(folder, "train")) == outputs["train"]
    assert read_json(folder / "data.json")["digest"] == outputs["digest"]
    assert [json.loads(line)["row"] for line in (folder / "quarantine.jsonl").open()] == [201, 202]
    again = ingest(whole_config(path), tmp_path / "run")
    assert again == outputs
    write_jsonl(path, many(210))
    assert ingest(whole_config(path), tmp_path / "run")["digest"] != outputs["digest"]


def test_the_step_stops_before_training_and_leaves_the_quarantine(tmp_path):
    path, run = write_jsonl(tmp_path / "a.jsonl", [*many(50), *["broken"] * 50]), tmp_path / "run"
    with pytest.raises(GateRefused) as caught:
        ingest(whole_config(path), run)
    assert str(run / "quarantine.jsonl") in caught.value.line
    assert len((run / "quarantine.jsonl").read_text().splitlines()) == 50
    assert not (run / "ingest").exists() and read_json(run / "failure.json")["code"] == 3
    write_jsonl(path, many(50))
    assert ingest(whole_config(path), run)["train"] > 16 and not (run / "quarantine.jsonl").exists()


def test_without_mlflow_there_is_no_champion_to_meet(tmp_path, monkeypatch):
    monkeypatch.delenv("RARO_TRACKING")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert ingest(whole_config(write_jsonl(tmp_path / "a.jsonl", many(50))), tmp_path / "run")["verdict"] == "proceed"


def test_nothing_new_is_the_champion_s_own_data_configuration_and_base(tmp_path, monkeypatch):
    monkeypatch.delenv("RARO_TRACKING")
    from raro.registry.models import champion
    from raro.steps import decide, register
    from raro.steps.harness import Step
    from raro.steps.ingest import _nothing_new

    base, path = tmp_path / "base", write_jsonl(tmp_path / "a.jsonl", many(80))
    base.mkdir()
    (base / "config.json").write_text("{}")
    told = {"demonstrations": {"source": str(path)}, "base": {"uri": str(base)}}
    first, run = config.parse(told), tmp_path / "runs" / "1"
    assert ingest(first, run)["verdict"] == "proceed"
    with Step("train", first, run) as step:
        step.input("ingest")
        (step.folder / "model").mkdir()
        (step.folder / "model" / "config.json").write_text('{"trained": true}')
    with Step("evaluate", first, run, given=lambda: {"champion": ""}) as step:
        step.input("train")
        arms = {"base": [0.1, 0.1, 0.1], "warmstart": [0.1, 0.1, 0.1], "candidate": [0.9, 0.9, 0.9]}
        paired = {f"candidate-{arm}": {"greedy": [0.8, 0.7, 0.9], "sampled": [0.8, 0.7, 0.9]} for arm in ("base", "warmstart")}
        measured = {"benchmark": "countdown", "n": 90, "greedy": arms, "sampled": arms, "paired": paired}
        measured |= well("base", "warmstart")
        (step.folder / "evaluation.json").write_text(json.dumps(measured))
    assert decide.run(first, run)["decision"] == "promote"
    register.run(first, run)
    again = tmp_path / "runs" / "2"
    same = ingest(first, again)
    assert same["verdict"] == "nothing-new"
    write_jsonl(path, many(80)[::-1])
    assert ingest(first, again) == same
    write_jsonl(path, many(81))
    assert ingest(first, again)["verdict"] == "proceed"
    # What is new is measured against the champion's own manifest, and stops the run where it has moved too far.
    drift = read_json(again / "ingest" / "data.json")["drift"]
    assert (drift["against"], drift["digest"]) == ("the champion, version 1", same["digest"])
    assert drift["figures"]["lengths"] < 0.1 and drift["figures"]["sources"] == 0
    write_jsonl(path, [{"question": f"Pourquoi {i}, et comment donc?", "answer": f"Parce que voici {i}."} for i in range(80)])
    with pytest.raises(GateRefused, match="drifted from that of the champion, version 1: .*vocabulary"):
        ingest(first, tmp_path / "runs" / "3")
    assert not (tmp_path / "runs" / "3" / "ingest").exists()
    # Another MLflow has another champion, or none: what was said beside one is not true beside the other.
    elsewhere = config.parse(told | {"tracking": {"uri": f"sqlite:///{tmp_path / 'elsewhere.db'}"}})
    fourth = tmp_path / "runs" / "4"
    assert ingest(elsewhere, fourth)["verdict"] == "proceed"
    for _ in range(2):
        with pytest.raises(GateRefused, match="drifted from that of the champion, version 1: .*vocabulary"):
            ingest(first, fourth)
    assert ingest(elsewhere, fourth)["verdict"] == "proceed"
    write_jsonl(path, many(80))
    assert ingest(first, tmp_path / "runs" / "5")["verdict"] == "nothing-new"
    assert ingest(elsewhere, tmp_path / "runs" / "5")["verdict"] == "proceed"
    write_jsonl(path, many(81))
    assert _nothing_new(champion(first, again), first, same["digest"], again)
    assert not _nothing_new(champion(first, again), config.parse(told | {"seed": 1}), same["digest"], again)
    (base / "config.json").write_text('{"other": "weights"}')
    assert not _nothing_new(champion(first, again), first, same["digest"], again)


def test_a_full_disk_for_what_is_remembered_is_worth_another_try(tmp_path, monkeypatch):
    store = seen.store

    def small():
        database = store()
        database.execute("pragma max_page_count = 4")
        return database

    monkeypatch.setattr(seen, "store", small)
    with pytest.raises(ServiceFailed, match="no space left") as caught:
        gather(write_jsonl(tmp_path / "a.jsonl", many(500)), tmp_path / "out")
    assert "SQLITE_TMPDIR" in caught.value.remedy


@pytest.mark.check
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_progress_tells_bytes_rows_and_their_rate(tmp_path):
    path, told = write_jsonl(tmp_path / "a.jsonl", many(300)), []
    collect(wanted(source=str(path)), sources(str(path)), tmp_path, progress=lambda *what: told.append(what))
    done, total, words = told[-1]
    assert done == total == path.stat().st_size and re.fullmatch(r"300 rows, [\d,]+ a second", words)


def test_memory_stays_flat_on_many_rows(tmp_path):
    with (tmp_path / "a.jsonl").open("w") as file:
        for i in range(200_000):
            file.write(
                json.dumps({"question": f"What comes after {i}? " + "word " * 60, "answer": f"{i + 1} " + "because " * 60})
                + "\n"
            )
    code = (
        "import re, sys; from pathlib import Path; from raro.config import Demonstrations; from raro.demonstrations import *\n"
        "s = Demonstrations(source=sys.argv[1]); c = collect(s, sources(s.source), Path(sys.argv[2])); c.digest()\n"
        "print(c.kept, int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    (tmp_path / "out").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.jsonl", tmp_path / "out"], capture_output=True, text=True, check=True
    )
    kept, mebibytes = map(int, ran.stdout.split())
    assert kept == 200_000 and mebibytes < 200
