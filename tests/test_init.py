"""`raro init`: what a person's own data is taken for, in every format, and what is refused because it could be two things."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_cli import refused
from test_demonstrations import many, write_csv, write_jsonl
from test_readers import FIXTURES, as_parquet

from raro import cli
from raro.config import load
from raro.demonstrations import sources
from raro.demonstrations.guess import guessed

BASE = "package://countdown-mini"
LOOSE = ["--set", "demonstrations.min_train=1", "--set", "demonstrations.max_quarantined_share=0.9"]


def init(source: object, *more: str) -> int:
    return cli.main(["init", "--demonstrations", str(source), "--base", BASE, "--output", "own.yaml", *more])


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("fixture", "told", "shown"),
    [
        ("casehold.jsonl", {"reader": "choice", "question": "context", "choices": "endings", "answer": "label"}, "holds over"),
        ("medqa.jsonl", {"reader": "choice", "choices": "options", "answer": "answer_idx"}, "Parainfluenza virus"),
        ("chat.jsonl", {"reader": "chat", "messages": "messages"}, "Eight minutes for firm yolks."),
        ("sharegpt.jsonl", {"reader": "chat", "messages": "conversations"}, "Moving water."),
        ("countdown.jsonl", {"reader": "countdown"}, "Make 24 from 1, 3, 8."),
        ("cuad.json", {"reader": "squad", "group": "title"}, "laws of Ireland"),
        ("deepmath.jsonl", {"reader": "columns", "question": "question", "answer": "final_answer"}, "cyclic?"),
        ("medcasereasoning.jsonl", {"question": "case_prompt", "answer": "final_diagnosis"}, "Gout"),
        ("Posts.xml", {"reader": "stackexchange"}, "reverse a list in place?"),
    ],
)
def test_each_format_is_known_and_three_rows_are_shown(fixture, told, shown, capsys):
    assert init(FIXTURES / fixture, *LOOSE) == 0
    said = capsys.readouterr().out
    assert shown in said and 1 <= said.count("\n  question  ") <= 3
    settings = load("own.yaml").demonstrations
    assert {key: getattr(settings, key) for key in told} == told


@pytest.mark.parametrize("name", ["casehold", "chat", "deepmath", "countdown"])
def test_parquet_is_taken_for_the_same(name, tmp_path):
    if name == "chat":  # Arrow wants one type per column
        lines = (FIXTURES / "chat.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(lines[0]), json.loads(lines[2])]
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "chat.parquet")
        path, told = tmp_path / "chat.parquet", "chat"
    else:
        path = as_parquet(name, tmp_path / "in")
        told = {"casehold": "choice", "deepmath": "columns", "countdown": "countdown"}[name]
    assert guessed(load("paper").demonstrations, sources(str(path))).reader == told


def test_squad_rows_and_arc_choices(tmp_path):
    row = {
        "id": "1",
        "title": "T",
        "context": "It rains.",
        "question": "What?",
        "answers": {"text": ["rains"], "answer_start": [3]},
    }
    squad = write_jsonl(tmp_path / "squad.jsonl", [row, row | {"id": "2"}])
    found = guessed(load("paper").demonstrations, sources(str(squad)))
    assert (found.reader, found.group) == ("squad", "title")
    arc = [
        {"id": f"{i}", "question": f"Which of {i}?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}
        for i in range(20)
    ]
    assert init(write_jsonl(tmp_path / "arc.jsonl", arc)) == 0
    settings = load("own.yaml").demonstrations
    assert (settings.reader, settings.question, settings.answer) == ("choice", "question", "answerKey")


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_csv_with_any_delimiter_and_names_of_its_own(mark, tmp_path, capsys):
    rows = "".join(f"{i}{mark}Was ist {i}?{mark}Es ist {i}.\n" for i in range(40))
    (tmp_path / "a.csv").write_text(f"Nr{mark}Anfrage{mark}Answer\n{rows}", "utf-8")
    said = refused(capsys, "init", "--demonstrations", "a.csv", "--base", BASE)
    assert "no columns recognised" in said and "Nr, Anfrage, Answer" in said  # Nr is text too: which one asks?
    assert init("a.csv", "--question", "Anfrage") == 0
    assert (load("own.yaml").demonstrations.question, load("own.yaml").demonstrations.answer) == ("Anfrage", "Answer")
    assert "not read: Nr" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ask me", "ask\x85me", "ask\x7fme"])
def test_a_column_left_over_takes_the_unknown_place_and_licences_are_followed(name, tmp_path):
    rows = [{name: row["question"], "Answer": row["answer"], "n": 1, "license": "MIT"} for row in many(40)]
    assert init(write_jsonl(tmp_path / "a.jsonl", rows)) == 0
    settings = load("own.yaml").demonstrations
    assert (settings.question, settings.answer, settings.licence_column) == (name, "Answer", "license")


@pytest.mark.parametrize(
    ("row", "line", "remedy"),
    [
        (
            {"instruction": "Add {}.", "input": "{} and 1", "output": "{}"},
            "can be read in 2 ways: reader columns: question 'instruction', answer 'output'; or",
            "choose with --question",
        ),
        ({"problem": "P{}", "solution": "S{}", "answer": "A{}"}, "can be read in 2 ways", "choose with --answer"),
        (
            {
                "messages": [{"role": "user", "content": "{}"}, {"role": "assistant", "content": "b"}],
                "prompt": "{}",
                "answer": "x{}",
            },
            "can be read in 2 ways: reader chat: messages 'messages'; or reader columns",
            "demonstrations.reader=chat or =columns",
        ),
        (
            {
                "chosen": [{"role": "user", "content": "{}"}, {"role": "assistant", "content": "b"}],
                "rejected": [{"role": "user", "content": "{}"}, {"role": "assistant", "content": "c"}],
            },
            "can be read in 2 ways: reader chat: messages 'chosen'; or reader chat: messages 'rejected'",
            "--set demonstrations.messages=COLUMN",
        ),
        ({"left": "a{}", "right": "b{}"}, "no columns recognised as question and answer", "there are: left, right"),
        ({"only": "a{}"}, "no columns recognised as question and answer", "there are: only"),
        ({"numbers": [1, 2]}, "no columns recognised as question and answer", "there are: numbers"),
    ],
    ids=["alpaca", "solution", "chat-or-columns", "preferences", "unknown", "one", "numbers"],
)
def test_what_could_be_two_things_or_none_is_one_line(row, line, remedy, tmp_path, capsys):
    write_jsonl(tmp_path / "a.jsonl", [json.loads(json.dumps(row).replace("{}", str(i))) for i in range(30)])
    said = refused(capsys, "init", "--demonstrations", "a.jsonl", "--base", BASE)
    assert line in said and remedy in said and [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_choice_of_the_person_settles_it(tmp_path, capsys):
    rows = [{"problem": f"P{i}", "solution": f"S{i}", "answer": f"A{i}"} for i in range(30)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert init("a.jsonl", "--answer", "solution") == 0 and load("own.yaml").demonstrations.answer == "solution"
    Path("own.yaml").unlink()
    assert init("a.jsonl", "--answer", "answer", "--set", "demonstrations.template='Solve: {problem}'") == 0
    assert "Solve: P" in capsys.readouterr().out and load("own.yaml").demonstrations.template == "Solve: {problem}"
    said = refused(
        capsys, "init", "--demonstrations", "a.jsonl", "--base", BASE, "--output", "b", "--set", "demonstrations.reader=chat"
    )
    assert "holds nothing that the reader chat understands" in said
    said = refused(
        capsys, "init", "--demonstrations", "a.jsonl", "--base", BASE, "--output", "b", "--set", "demonstrations.answr=x"
    )
    assert "did you mean 'demonstrations.answer'?" in said and not Path("b").exists()


@pytest.mark.parametrize(("show", "seen"), [("full", "+1 650 253 0000"), ("masked", "[phone]"), ("none", " characters")])
def test_rows_are_shown_as_privacy_allows(show, seen, tmp_path, capsys):
    rows = [{"question": f"Who is number {i}, +1 650 253 0000?", "answer": f"Nobody {i}\x1b[31m"} for i in range(30)]
    write_csv(tmp_path / "a.csv", rows)
    assert init("a.csv", "--set", f"privacy.show_text={show}") == 0
    said = capsys.readouterr().out
    assert seen in said and "\x1b" not in said and load("own.yaml").privacy.show_text == show
    assert ("Who is number" in said) == (show != "none") and ("650 253" in said) == (show == "full")


def test_personal_data_that_nobody_screens_for_is_told_of(tmp_path, capsys):
    rows = [
        {"question": f"Write to jane{i}@example.org about case {i}?", "answer": f"Yes, SSN 536-90-{4399 + i}."}
        for i in range(40)
    ]
    write_jsonl(tmp_path / "own.jsonl", rows)
    assert init(tmp_path / "own.jsonl", *LOOSE, "--set", "privacy.show_text=none") == 0
    said = capsys.readouterr().out
    assert "email in " in said and "national_id in " in said and "set demonstrations.personal_data" in said
    assert "jane" not in said and "536-90" not in said
    (tmp_path / "own.yaml").unlink()
    assert init(tmp_path / "own.jsonl", *LOOSE, "--set", "demonstrations.personal_data={email: mask, national_id: mask}") == 0
    assert "Nothing screens" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("{}", "record_number in 40, name in 40, date (of birth) in 20"),
        ("{email: mask, phone: mask, date: mask, name: mask}", "record_number in 40"),
        ("{record_number: keep, name: keep}", "date (of birth) in 20"),
        ("{record_number: keep, name: mask, date: mask}", ""),
    ],
)
def test_kinds_that_are_left_out_of_personal_data_are_told_of(asked, told, tmp_path, capsys):
    """A date is told of only where it stands near a birth: DOB, born, geboren."""
    births = ["DOB: 03/14/1961", f"Seen on 2024-05-06{', and again' * 5}; born late", "am 14.3.1961 geboren", "born in 1961"]
    rows = [
        {"question": f"Patient: Jane Roe, MRN: 88{i:04}. {births[i % 4]}. What now?", "answer": f"Wait {i} days."}
        for i in range(40)
    ]
    write_jsonl(tmp_path / "own.jsonl", rows)
    settings = ("--set", f"demonstrations.personal_data={asked}", "--set", "privacy.show_text=none")
    assert init(tmp_path / "own.jsonl", *LOOSE, *settings) == 0
    said = capsys.readouterr().out
    if told:
        assert f"rows: {told}. Nothing screens for these: set demonstrations.personal_data for each" in said
    assert ("Nothing screens" in said) == bool(told) and "88000" not in said


def test_what_is_no_data_is_refused_as_ingest_would(tmp_path, capsys):
    (tmp_path / "rows.json").write_text('[\n {"question": "a", "answer": "b"}\n]')
    assert "is one JSON array" in refused(capsys, "init", "--demonstrations", "rows.json", "--base", BASE)
    (tmp_path / "Users.xml").write_text('<users><row Id="1"/></users>')
    assert "is a list of users" in refused(capsys, "init", "--demonstrations", "Users.xml", "--base", BASE)
    (tmp_path / "a.txt").write_text("What? That.")
    assert "is not known" in refused(capsys, "init", "--demonstrations", "a.txt", "--base", BASE)


@pytest.mark.parametrize(
    "wrong", ["demonstrations=5", "base=null", "demonstrations.reader=magic", "privacy.show_text=some", "x"]
)
def test_settings_that_cannot_be_write_nothing(wrong, tmp_path, capsys):
    write_jsonl(tmp_path / "a.jsonl", many(30))
    refused(capsys, "init", "--demonstrations", "a.jsonl", "--base", BASE, "--set", wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_the_written_file_is_a_whole_configuration(tmp_path):
    assert init(write_jsonl(tmp_path / "a.jsonl", many(60))) == 0
    text = Path("own.yaml").read_text("utf-8")
    assert re.search(r"^  reader: \"columns\"$", text, re.MULTILINE) and 'show_text: "full"' in text
    assert load("own.yaml").demonstrations.source == str(tmp_path / "a.jsonl")
