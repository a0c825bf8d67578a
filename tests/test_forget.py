"""Right to erasure: what holds given rows, and a data set rebuilt without them; and the data benchmark runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict

import pytest
from test_demonstrations import gather, ingest, many, whole_config, write_jsonl

from raro.config import parse
from raro.demonstrations import load_split
from raro.errors import BadInput
from raro.forget import copies, forget
from raro.storage import read_json, write_json
from raro.tracking import server
from raro.tracking.state import STATE, State

pytestmark = pytest.mark.usefixtures("untracked")

SECRET = {"question": "What did John Roe of Ward 7 complain of?", "answer": "A cough, for three weeks."}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def runs(tmp_path):
    """Two runs that hold the row, in different files, one of them with a registered model; and one that does not."""
    one = write_jsonl(tmp_path / "one.jsonl", [*many(30), SECRET])
    two = write_jsonl(tmp_path / "two.jsonl", [{**SECRET, "question": SECRET["question"] + " "}, *many(40, 100)])
    for name, path in (("a", one), ("b", two), ("c", write_jsonl(tmp_path / "three.jsonl", many(30)))):
        ingest(whole_config(path), tmp_path / "runs" / name)
    (tmp_path / "runs" / "a" / "register").mkdir()
    made = {"model": "raro-model", "version": "4", "alias": "champion"}
    (tmp_path / "runs" / "a" / "register" / "registration.json").write_text(json.dumps(made))
    return tmp_path / "runs"


def test_by_pattern_every_run_and_model_is_named_and_the_list_holds_no_text(runs, tmp_path, capsys):
    found = forget(runs, [], [r"John\s+Roe"], tmp_path / "forgotten.txt")
    assert [one["run"].rpartition("/")[2] for one in found] == ["a", "b"]
    said = capsys.readouterr().out
    assert "registered as raro-model version 4 (champion)" in said and "no model registered" in said
    text = (tmp_path / "forgotten.txt").read_text()
    assert "Roe" not in text and len([line for line in text.splitlines() if line[0] != "#"]) == 1


def test_what_a_tracking_server_shows_of_a_run_is_named(runs, tmp_path, capsys):
    """Judged pairs, items and the report hold texts, and outlive the run's folder; a store inside it does not."""
    for name, uri in (("a", "https://user:secret@mlflow.example"), ("b", server.sqlite(runs / "b"))):
        kept = State(uri=uri, parent="1234", stages={"train": "5678"})
        write_json(runs / name / STATE, asdict(kept))
    forget(runs, [], [r"John\s+Roe"], tmp_path / "forgotten.txt")
    said = [line for line in capsys.readouterr().out.splitlines() if "MLflow" in line]
    assert len(said) == 1 and said[0].startswith(f"{runs / 'a'}: MLflow at 'https://...@mlflow.example' shows texts")
    assert said[0].endswith("the runs 1234 5678")


def test_by_row_it_is_found_in_other_files_too(runs, tmp_path, capsys):
    found = forget(runs, [f"{tmp_path}/one.jsonl#31", "one.jsonl#31"], [], tmp_path / "forgotten.txt")
    assert [one["run"].rpartition("/")[2] for one in found] == ["a", "b"]
    assert capsys.readouterr().out.count("no row of these data sets is named") == 1


def test_the_data_set_is_rebuilt_without(runs, tmp_path):
    listed = tmp_path / "forgotten.txt"
    forget(runs, [], ["John Roe"], listed)
    told = {"source": str(tmp_path / "one.jsonl"), "forget": str(listed)}
    outputs = ingest(parse({"demonstrations": told}), tmp_path / "rebuilt")
    folder = tmp_path / "rebuilt" / "ingest"
    assert read_json(folder / "data.json")["left_out"] == {"forgotten": 1} and outputs["rows"] == 31
    assert not any("Roe" in path.read_text() for path in folder.iterdir())
    assert outputs["digest"] == ingest(whole_config(write_jsonl(tmp_path / "c.jsonl", many(30))), tmp_path / "d")["digest"]
    # A longer list is read again, a second call adds to it.
    forget(runs, [], ["What comes after 3\\?"], listed)
    assert ingest(parse({"demonstrations": told}), tmp_path / "rebuilt")["digest"] != outputs["digest"]
    assert read_json(folder / "data.json")["left_out"] == {"forgotten": 2}


def test_copies_of_what_was_fetched_are_named(runs, tmp_path, capsys):
    """By the very file that a run was made from, packed or not; and by the text, where no run is left that tells of it."""
    entries = {name: tmp_path / "cache" / "s3" / name for name in ("same", "packed", "archive", "other", "damaged")}
    entries["unpacked"] = tmp_path / "cache" / "7z" / hashlib.sha256(b"an archive").hexdigest()
    entries["cluster"] = runs / ".cache" / "s3" / "b"
    for entry in entries.values():
        entry.mkdir(parents=True)
    line = json.dumps(SECRET) + "\n"
    (entries["same"] / "renamed.bin").write_bytes((tmp_path / "one.jsonl").read_bytes())
    (entries["packed"] / "deep").mkdir()
    (entries["packed"] / "deep" / "a.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    (entries["archive"] / "site.7z").write_bytes(b"an archive")
    (entries["other"] / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many(3)))
    (entries["damaged"] / "a.jsonl.gz").write_text("no gzip")
    (entries["unpacked"] / "Posts.xml").write_text('<row Body="John Roe"/>')
    (entries["cluster"] / "a.csv").write_text("question,answer\nWho?,John Roe\n")
    forget(runs, [], ["John Roe"], tmp_path / "forgotten.txt")
    said = capsys.readouterr().out
    assert {name for name, entry in entries.items() if f"rm -r {entry}" in said} == {
        "same", "packed", "archive", "unpacked", "cluster"
    }  # fmt: skip
    assert all(entry.exists() for entry in entries.values())
    forget(runs, [f"{tmp_path}/one.jsonl#31"], [], tmp_path / "forgotten.txt")
    assert capsys.readouterr().out.count("rm -r") == 1, "the file itself"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", json.dumps({"question": "Who?", "answer": "M\u00fcller,\nJohn"})),
        ("a.jsonl", json.dumps({"deep": [{"said": ['M\u00fcller,\n"John"']}]})),
        ("squad.json", json.dumps({"data": [{"title": "M\u00fcller,\nJohn"}]}, indent=1)),
        ("a.jsonl", '{"cut off": "M\\u00fcller,\\nJohn'),
        ("a.jsonl.gz", gzip.compress(json.dumps({"question": "M\u00fcller,\nJohn"}).encode(), mtime=0)),
        ("a.csv", 'question;answer\nWho?;"M\u00fcller,\n""John"""\n'),
        ("Posts.xml", '<posts>\n<row Id="1" Body="M&#252;ller,&#xA;John"/>\n</posts>'),
        ("Posts.xml", '<posts>\n<row Body="&lt;p&gt;M&amp;uuml;ller,&lt;br&gt;&#xA;&lt;b&gt;John"/>\n</posts>'),
    ],
)
def test_copies_are_searched_as_a_reader_reads_them(tmp_path, name, content):
    entry = tmp_path / "cache" / "s3" / "one"
    entry.mkdir(parents=True)
    (entry / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for pattern, found in ((r'M\u00fcller,\s+"?John', [entry]), ("M\u00fcller, Ada", [])):
        assert copies(tmp_path / "cache", {}, [re.compile(pattern)]) == found


def test_an_overlong_line_is_searched_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("raro.forget.LONGEST_LINE", 100)
    monkeypatch.setattr("raro.forget.OVERLAP", 40)
    (tmp_path / "s3" / "one").mkdir(parents=True)
    for before in range(80, 110):
        (tmp_path / "s3" / "one" / "a.jsonl").write_text(json.dumps(["x" * before, "M\u00fcller", "x" * 200]))
        assert copies(tmp_path, {}, [re.compile("M\u00fcller")])


def test_quarantined_rows_are_found_too(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [*many(40), {"question": "John Roe?", "answer": 7}])
    ingest(whole_config(path), tmp_path / "runs" / "a")
    (found,) = forget(tmp_path / "runs", [], ["John Roe"], tmp_path / "forgotten.txt")
    assert found["found"] == {"quarantine": 1}


def test_a_quarantined_text_is_searched_as_it_was_written(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [*many(40), {"question": 'John\n"Roe"?', "answer": [7]}])
    ingest(whole_config(path), tmp_path / "runs" / "a")
    (found,) = forget(tmp_path / "runs", [], [r'John\s"Roe"'], tmp_path / "forgotten.txt")
    assert found["found"] == {"quarantine": 1}


def test_what_a_killed_or_refused_ingest_left_is_named(runs, tmp_path, capsys):
    """No data set was made, and no run will be removed for it: the text lies there for ever."""
    line = (runs / "a" / "ingest" / "train.jsonl").read_text()
    killed, cut_off = runs / "killed" / ".ingest.partial", tmp_path / "cache" / "s3" / ".one.123.partial"
    replaced, refused, other = runs / "b" / ".ingest.12.old", runs / "refused", runs / "c" / ".ingest.partial"
    for folder in (killed, cut_off, replaced, refused, other):
        folder.mkdir(parents=True)
    (killed / "train.jsonl").write_text(line + '{"question": "half of')
    (replaced / "train.jsonl").write_text(line)
    (cut_off / "one.jsonl").write_text(json.dumps(SECRET)[:50])
    (other / "train.jsonl").write_text((runs / "c" / "ingest" / "train.jsonl").read_text() + '{"question": "John')
    told = {"source": f"{tmp_path}/one.jsonl#31", "reason": "length", "text": SECRET}
    (refused / "quarantine.jsonl").write_text(json.dumps(told) + "\n")
    left = {killed, replaced, refused / "quarantine.jsonl"}
    for rows, patterns, named in (([], ["John Roe"], left | {cut_off}), ([told["source"]], [], left)):
        forget(runs, rows, patterns, tmp_path / "forgotten.txt")
        said = capsys.readouterr().out
        assert {path for path in (*left, cut_off, other) if f"rm -r {path}\n" in said} == named


@pytest.mark.parametrize(
    ("rows", "patterns", "line"),
    [
        ([], [], "nothing to forget was given"),
        ([], ["("], "is no regular expression"),
        ([], [""], "'' stands in every text"),
        ([], ["(John)?"], "stands in every text"),
        (["a#1"], [], "no finished ingest in"),
        (["a.jsonl:1"], [], "'a.jsonl:1' is not FILE#ROW"),
        (["a#1", "31"], [], "'31' is not FILE#ROW"),
    ],
)
def test_bad_input(rows, patterns, line, tmp_path):
    if patterns:
        ingest(whole_config(write_jsonl(tmp_path / "a.jsonl", many(30))), tmp_path / "runs" / "a")
    with pytest.raises(BadInput, match=line):
        forget(tmp_path / "runs", rows, patterns, tmp_path / "forgotten.txt")


def test_a_folder_is_no_list(runs, tmp_path):
    with pytest.raises(BadInput, match="is a folder, not a list of digests"):
        ingest(whole_config(write_jsonl(tmp_path / "a.jsonl", many(30)), forget=str(tmp_path)), tmp_path / "run")
    with pytest.raises(BadInput, match="is a folder"):
        forget(runs, [], ["John Roe"], tmp_path)


def test_nothing_found_writes_nothing(runs, tmp_path, capsys):
    assert forget(runs, [], ["nobody"], tmp_path / "forgotten.txt") == []
    assert "none of 3 data sets" in capsys.readouterr().out and not (tmp_path / "forgotten.txt").exists()


def test_a_list_that_is_none_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("John Roe\n")
    with pytest.raises(BadInput, match="is not a list of digests"):
        gather(write_jsonl(tmp_path / "a.jsonl", many(3)), tmp_path / "out", forget=str(tmp_path / "list.txt"))
    assert not list((tmp_path / "out").glob("train.jsonl")) or not load_split(tmp_path / "out", "train")


def test_the_data_benchmark_ends_with_one_json_object():
    command = [sys.executable, "-m", "raro.cli", "bench", "--data", "--rows", "50,100"]
    said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert said.returncode == 0, said.stderr
    result = json.loads(said.stdout.splitlines()[-1])
    assert {"jsonl", "parquet", "xml", "all screens"} < set(result) and result["xml"]["100"]["rows_per_second"] > 0


# ------------------------------------------------------------------------------------------- places that are easily overlooked


def test_the_runs_of_a_study_are_looked_through(runs, tmp_path, capsys):
    """They lie two folders deeper, by arm and seed; what was killed in one of them, too."""
    study = runs / "study-own-1234" / "sft" / "seed-0"
    study.parent.mkdir(parents=True)
    (runs / "b").rename(study)
    killed = study.with_name("seed-1") / ".ingest.partial"
    killed.mkdir(parents=True)
    (killed / "train.jsonl").write_text((runs / "a" / "ingest" / "train.jsonl").read_text())
    found = forget(runs, [], [r"John\s+Roe"], tmp_path / "forgotten.txt")
    assert [one["run"] for one in found] == [str(runs / "a"), str(study)]
    assert f"rm -r {killed}\n" in capsys.readouterr().out


def test_what_was_made_from_data_that_is_no_longer_there_is_named(runs, tmp_path, capsys):
    """The row was taken out of its file and ingest done again: nothing in the run's data tells of it any more."""
    identity = json.loads((runs / "a" / "ingest" / "manifest.json").read_text())["root"]
    checkpoint = runs / "a" / "checkpoints" / "step-000005"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text(json.dumps({"identity": {"data": identity}}))
    (runs / "a" / "warmstart").mkdir()
    (runs / "a" / "warmstart" / "manifest.json").write_text(json.dumps({"inputs": {"ingest": identity}}))
    forget(runs, [], ["John Roe"], tmp_path / "forgotten.txt")
    assert "an earlier data set" not in capsys.readouterr().out
    ingest(whole_config(write_jsonl(tmp_path / "one.jsonl", many(30))), runs / "a")
    found = forget(runs, [], ["John Roe"], tmp_path / "forgotten.txt")
    said = [line for line in capsys.readouterr().out.splitlines() if "an earlier data set" in line]
    assert [one["run"].rpartition("/")[2] for one in found] == ["b"]
    assert len(said) == 1 and said[0].startswith(f"{runs / 'a'}: checkpoints, warmstart were made from an earlier data set")
    assert "registered as raro-model version 4 (champion)" in said[0]


def test_runs_that_start_from_a_model_that_was_taught_the_row_are_named(runs, tmp_path, capsys):
    """What a base has learnt stays in what is trained from it, whatever data follows, however often."""
    for name, base, version in (
        ("f", "models:/raro-model/4", "5"),
        ("d", "models:/raro-model/5", ""),
        ("e", "models:/raro-model/3", ""),
    ):
        ingest(whole_config(write_jsonl(tmp_path / f"{name}.jsonl", many(30))), runs / name)
        (runs / name / "base.json").write_text(json.dumps({"uri": base}))
        if version:
            (runs / name / "register").mkdir()
            made = {"model": "raro-model", "version": version, "alias": "challenger"}
            (runs / name / "register" / "registration.json").write_text(json.dumps(made))
    forget(runs, [], ["John Roe"], tmp_path / "forgotten.txt")
    said = [line for line in capsys.readouterr().out.splitlines() if "started from" in line]
    assert [line.partition(": ")[0].rpartition("/")[2] for line in said] == ["f", "d"]
    assert "started from raro-model version 4" in said[0] and "registered as raro-model version 5" in said[0]


def test_what_a_killed_init_left_is_named(runs, tmp_path, monkeypatch, capsys):
    """It screens all rows in a folder of its own, which a signal that kills leaves behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for name, run in (("raro-ab12", "a"), ("raro-cd34", "c"), ("other", "a")):
        (tmp_path / "temporary" / name).mkdir(parents=True)
        (tmp_path / "temporary" / name / "train.jsonl").write_text((runs / run / "ingest" / "train.jsonl").read_text())
    forget(runs, [], ["John Roe"], tmp_path / "forgotten.txt")
    said = capsys.readouterr().out
    assert said.count("temporary") == 2 and f"rm -r {tmp_path / 'temporary' / 'raro-ab12'}\n" in said
