"""Data as people bring it at first: spreadsheets, folders of several things, other encodings: read, or told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import refused
from test_demonstrations import ingest, many, whole_config, write_csv, write_jsonl, write_parquet
from test_init import BASE, init

from raro.demonstrations import Source
from raro.demonstrations.readers import read_csv
from raro.errors import BadInput
from raro.storage import read_json
from raro.tracking import events


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("names", "answers", "kind"),
    [
        ("A B C D", "ABCD", "letters"),
        ("option_a option_b option_c option_d", ["a", "(b)", "C.", "option_d"], "letters"),
        ("option1 option2", "12", "numbers"),
        ("opa opb opc opd", "0123", "numbers"),
    ],
)
def test_answers_that_only_name_columns_are_refused(names, answers, kind, tmp_path, capsys):
    names = names.split()
    rows = [
        {"question": f"Which of {i}?", **{name: f"text {name} {i}" for name in names}, "answer": answers[i % len(answers)]}
        for i in range(40)
    ]
    write_csv(tmp_path / "mc.csv", rows)
    for chosen in ([], ["--question", "question", "--answer", "answer"]):
        said = refused(capsys, "init", "--demonstrations", "mc.csv", "--base", BASE, *chosen)
        assert f"the answers of 'mc.csv' are {kind} that name its columns {', '.join(names)}" in said
        assert "one column as a list" in said
    shown = "{question} " + " ".join(f"{name}: {{{name}}}" for name in names)
    assert init("mc.csv", "--set", f"demonstrations.template={json.dumps(shown)}") == 0  # whoever is asked sees the choices
    Path("own.yaml").unlink()
    write_csv(tmp_path / "mc.csv", [row | {"answer": row[names[i % 2]]} for i, row in enumerate(rows)])
    assert init("mc.csv") == 0


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path, capsys):
    folder = tmp_path / "mix"
    folder.mkdir()
    for name, start in (("a.jsonl", 0), ("alpaca.json", 100), ("deep.json", 200)):
        write_jsonl(folder / name, many(80, start))
    for name in ("book.xlsx", "plain.txt", "README.txt", "LICENSE", "notes.md", "SHA256SUMS", ".hidden.txt"):
        (folder / name).write_text("x")
    assert init("mix") == 0
    said = capsys.readouterr().out
    assert "files not read: mix/alpaca.json, mix/book.xlsx, mix/deep.json and 1 more" in said and "80 rows read" in said
    ingest(whole_config(folder), tmp_path / "run")
    unread = [f"{folder}/{name}" for name in ("alpaca.json", "book.xlsx", "deep.json", "plain.txt")]
    assert read_json(tmp_path / "run" / "ingest" / "data.json")["unread"] == unread
    told = [e["text"] for e in events.read(tmp_path / "run")[0] if e["kind"] == "note"]
    assert "4 files of the source are not read: see ingest/data.json" in told
    for card in ("data-card.md", "data-card.html"):
        text = (tmp_path / "run" / "ingest" / card).read_text("utf-8").replace("\\", "")
        assert "Files not read" in text and all(uri in text for uri in unread)
    Path("own.yaml").unlink()
    assert init("mix/a.jsonl") == 0 and "files not read" not in capsys.readouterr().out


def test_a_header_that_is_not_utf_8_is_told_with_what_helps(tmp_path, capsys):
    rows = [{"question": row["question"], "Befund (Ober\u00e4rztin)": row["answer"]} for row in many(40)]
    path = write_csv(tmp_path / "odd.csv", rows, encoding="latin-1")
    for chosen in ([], ["--answer", "Befund"]):
        said = refused(capsys, "init", "--demonstrations", "odd.csv", "--base", BASE, *chosen)
        assert "'odd.csv' has a header that is not UTF-8" in said and "iconv -f WINDOWS-1252 -t UTF-8" in said
    with pytest.raises(BadInput, match="has a header that is not UTF-8"):
        list(read_csv(Source("odd.csv", path), ["question"]))
    assert len(list(read_csv(Source("odd.csv", path), []))) == 40  # `raro forget` looks through such a file too


@pytest.mark.parametrize(
    ("name", "content", "line", "remedy"),
    [
        ("book.xlsx", b"PK\x03\x04" + b"x" * 50, "is not read: it is a workbook", "save the sheet as CSV (UTF-8)"),
        ("book.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office file of the old kind", "save the sheet as CSV (UTF-8)"),
        ("rows.zip", b"PK\x03\x04", "is not read: it is a zip archive", "unpack it"),
        ("rows.pq", b"PAR1" + b"x" * 50, "is not read: it is Parquet", "name it .parquet"),
        ("page.htm", b"<!DOCTYPE html>", "is not read: it is an HTML page", "fetch the data itself"),
        ("rows.gz", b"\x1f\x8b", "the format of 'rows.gz' is not known", "name it with one of .jsonl"),
        ("rows.txt", b"What? That.", "the format of 'rows.txt' is not known", "name it with one of .jsonl"),
    ],
)
def test_a_file_of_another_format_is_known_by_its_first_bytes(name, content, line, remedy, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    said = refused(capsys, "init", "--demonstrations", name, "--base", BASE)
    assert line in said and remedy in said
    (tmp_path / "README.md").write_text("about the data")
    said = refused(capsys, "init", "--demonstrations", ".", "--base", BASE)
    assert "'.' holds no file of" in said and name in said and remedy in said


def test_a_header_alone_is_no_data(tmp_path, capsys):
    (tmp_path / "header.csv").write_text("question,answer\n")
    said = refused(capsys, "init", "--demonstrations", "header.csv", "--base", BASE)
    assert "'header.csv' holds no row that can be read" in said


def test_files_of_one_folder_with_other_columns_are_told_what_to_do(tmp_path, capsys):
    (tmp_path / "two").mkdir()
    rows = [{"prompt": row["question"], "response": row["answer"]} for row in many(40, 100)]
    write_jsonl(tmp_path / "two" / "a.jsonl", many(40))
    for name, write in (("b.csv", write_csv), ("c.parquet", write_parquet)):
        path = write(tmp_path / "two" / name, rows)
        said = refused(capsys, "init", "--demonstrations", "two", "--base", BASE)
        assert f"'two/{name}' has no column 'question'" in said and "did you mean" not in said
        assert "the files of one folder must share their columns: rename them in this one, or run it apart" in said
        path.unlink()
    write_csv(tmp_path / "two" / "a.csv", rows)
    said = refused(capsys, "init", "--demonstrations", "two/a.csv", "--base", BASE, "--question", "qestion")
    assert "correct the setting" in said and "the files of one folder" not in said


@pytest.mark.parametrize(
    ("column", "answers", "share"),
    [("answer_index", [1, 2, 3, 4], "75%"), ("answer", ["1", "2", "3", "4"], "75%"), ("answer", list("abcd"), "0%")],
)
@pytest.mark.parametrize("chosen", [[], ["--set", "demonstrations.reader=choice"], ["--question", "question"]])
def test_answers_that_name_no_choice_are_told_of(column, answers, share, chosen, tmp_path, capsys):
    rows = [
        {"question": f"Which of {i}?", "choices": [f"text {j} {i}" for j in range(4)], column: answers[i % 4]}
        for i in range(40)
    ]
    write_jsonl(tmp_path / "mc.jsonl", rows)
    said = refused(capsys, "init", "--demonstrations", "mc.jsonl", "--base", BASE, *chosen)
    assert f"'{column}' of 'mc.jsonl' names a choice of 'choices' in {share} of the rows" in said
    assert "places count from 0" in said
    write_jsonl(tmp_path / "mc.jsonl", [row | {column: i % 4} for i, row in enumerate(rows)])
    assert init("mc.jsonl", *chosen) == 0


def test_excel_s_line_that_names_the_delimiter_is_no_header(tmp_path, capsys):
    rows = "".join(f"How much is {i}, plus one?;It is {i + 1}.\n" for i in range(40))
    (tmp_path / "excel.csv").write_text(f"\ufeffsep=;\nQuestion;Answer\n{rows}", "utf-8")
    assert init("excel.csv", "--set", "demonstrations.test_share=0.3") == 0
    said = capsys.readouterr().out
    assert "question 'Question', answer 'Answer'" in said and "40 rows read, 40 kept" in said and "excel.csv#3" in said


def test_a_file_whose_every_row_is_broken_says_how(tmp_path, capsys):
    (tmp_path / "slashed.csv").write_text("question,answer\n" + '"the \\"first\\" one","that"\n' * 40)
    said = refused(capsys, "init", "--demonstrations", "slashed.csv", "--base", BASE)
    assert "'slashed.csv' holds no row that can be read: the one in line 2 is not_csv" in said
    assert "double the quotes inside" in said


@pytest.mark.parametrize(
    ("row", "line", "remedy"),
    [
        ({"data": [{"title": "t", "paragraphs": []}]}, "is one SQuAD document", "name it .json"),
        ({"prompt": [{"role": "user", "content": "why?"}]}, "'prompt' of 'odd.jsonl' holds messages", "an assistant's after"),
        ({"messages": [{"role": "user", "content": "why?"}, {"role": "assistant", "tool_calls": []}]}, "messages", "text only"),
        ({"messages": '[{"role": "user", "content": "why?"}]'}, "written as text", "as JSON in a JSONL file"),
    ],
)
def test_what_looks_like_known_data_and_cannot_be_read_is_told_what_to_do(row, line, remedy, tmp_path, capsys):
    write_jsonl(tmp_path / "odd.jsonl", [row] * 20)
    said = refused(capsys, "init", "--demonstrations", "odd.jsonl", "--base", BASE)
    assert line in said and remedy in said


def test_one_question_with_many_answers_is_told_to_leave_nothing_to_measure(tmp_path, capsys):
    write_jsonl(tmp_path / "one.jsonl", [{"question": "Why?", "answer": f"For reason {i}."} for i in range(40)])
    assert init("one.jsonl") == 0
    said = capsys.readouterr().out
    assert "the test split holds no problem" in said and "add data" in said


def test_the_next_command_can_be_copied_whatever_the_file_is_called(tmp_path, capsys):
    write_jsonl(tmp_path / "rows.jsonl", many(60))
    assert init("rows.jsonl", "--output", "my run.yaml", "--set", "demonstrations.test_share=0.2") == 0
    said = capsys.readouterr().out
    assert "raro run 'my run.yaml'" in said and "gate.min_items asks for 30: a candidate can only be held" in said
