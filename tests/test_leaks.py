"""Texts and secrets on the ways that a run which ends well does not take: broken rows, missing columns, crashes, error lines;
and texts that speak for somebody else."""

from __future__ import annotations

import json
import os
import stat

import pytest
from test_demonstrations import ingest, many, write_jsonl
from test_notice import failed_run

from raro import cli
from raro.config import parse
from raro.demonstrations import archives
from raro.errors import BadInput, GateRefused, ServiceFailed
from raro.registrar import chat, show
from raro.registry.card import card
from raro.registry.findings import Check
from raro.registry.log import Record
from raro.steps import notice, run_step
from raro.storage import read_json

pytestmark = pytest.mark.usefixtures("untracked")

WRITTEN = "536-90-4399"  # of the form of a national number


def quarantined(tmp_path, line: str, show_text: str = "masked", **keys) -> str:
    """What the quarantine shows of a file's last line, which is refused."""
    tmp_path.mkdir(exist_ok=True)
    told = {"source": str(write_jsonl(tmp_path / "a.jsonl", [*many(60), line])), "max_quarantined_share": 1, **keys}
    ingest(parse({"demonstrations": told, "privacy": {"show_text": show_text}}), tmp_path / "run")
    (row,) = (tmp_path / "run" / "ingest" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(row)["text"]


# -------------------------------------------------------------------------------------------------------------- broken rows


@pytest.mark.parametrize("before", range(187, 200, 3))
def test_an_identifier_is_masked_before_a_row_is_cut(tmp_path, before):
    """Cut in the middle it is none that a pattern finds, and most of it would be shown."""
    text = quarantined(tmp_path, '{"question": "' + "x" * (before - 15) + f" {WRITTEN} cut off")
    assert WRITTEN[:7] not in text and len(text) <= 200


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        (rf'{{"question": "seen\n{WRITTEN}, broken', WRITTEN),
        (r'{"question": "born 01\/02\/1950 in", broken', "1950"),
        (r'{"question": "write ann\u0040clinic.org", broken', "clinic.org"),
    ],
)
def test_an_identifier_behind_an_escape_is_masked(tmp_path, line, hidden):
    assert hidden not in quarantined(tmp_path, line)
    full = quarantined(tmp_path / "full", line, "full")
    assert hidden in full and "\\" in full, "as its expert wrote it"


def test_identifiers_in_lists_are_masked_as_in_texts(tmp_path):
    line = json.dumps({"question": [{"said": f"seen\n{WRITTEN}"}, f"or\n{WRITTEN}"], "answer": "no"})
    assert WRITTEN not in quarantined(tmp_path, line)


# ------------------------------------------------------------------------------------------------------------------ columns


@pytest.mark.parametrize(
    ("show_text", "seen"), [("full", "John Roe, ann@x.org"), ("masked", "John Roe, [email]"), ("none", "2 columns")]
)
def test_the_first_row_of_a_file_without_a_header_is_text(tmp_path, show_text, seen):
    """It is taken for the names of columns, and a line that lists them would show it everywhere."""
    (tmp_path / "a.csv").write_text("John Roe,ann@x.org\n" * 40)
    config = parse({"demonstrations": {"source": str(tmp_path / "a.csv")}, "privacy": {"show_text": show_text}})
    with pytest.raises(BadInput, match="has no column 'question'"):
        ingest(config, tmp_path / "run")
    for name in ("failure.json", "events.jsonl"):
        said = (tmp_path / "run" / name).read_text(encoding="utf-8")
        assert seen in said and ("John Roe" in said) == (show_text != "none") and ("ann@x" in said) == (show_text == "full")


@pytest.mark.parametrize("more", [[], ["--question", "Frage"], ["--set", "demonstrations.reader=chat"]])
def test_init_does_not_show_it_either(tmp_path, monkeypatch, capsys, more):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("John Roe,ann@x.org\n" * 40)
    told = ["init", "--demonstrations", "a.csv", "--base", "package://countdown-mini", "--set", "privacy.show_text=none"]
    assert cli.main([*told, *more]) == 2
    said = capsys.readouterr().err
    assert "John" not in said and "ann@x" not in said and "2 columns" in said


# -------------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(("show_text", "kept"), [("full", True), ("masked", False), ("none", False)])
def test_a_librarys_words_quote_what_it_choked_on(tmp_path, monkeypatch, show_text, kept):
    monkeypatch.setenv("RARO_TRACKING", "off")
    config = failed_run(tmp_path / "run", KeyError("told by John Roe"), privacy={"show_text": show_text})
    run_step("finish", config, tmp_path / "run")
    for name in ("failure.json", "events.jsonl", "report.html", "finish/summary.json"):
        said = (tmp_path / "run" / name).read_text(encoding="utf-8")
        assert ("John Roe" in said) == kept and "KeyError" in said, name


@pytest.mark.parametrize(
    "line", ["'/data/O'Brien/notes.jsonl' holds no rows", "'it's O'Brien's' and 'another' are two", "row 'don't tell O'Brien'"]
)
def test_a_quotation_with_an_apostrophe_is_left_out_whole(line):
    assert "Brien" not in notice._unquoted(line)


@pytest.mark.parametrize("case", [{"role": "John Roe", "content": "?"}, {"role": "user", "content": "?"}])
def test_a_case_that_is_none_is_not_quoted(tmp_path, case):
    from raro.benchmarks import rubrics

    told = {"prompt": [case], "rubrics": [{"criterion": "says so", "points": "John Roe"}]}
    path = write_jsonl(tmp_path / "cases.jsonl", [told])
    with pytest.raises(BadInput, match="line 1 of .* is not a case with a rubric") as refusal:
        rubrics.read(path, 10)
    assert "John" not in str(refusal.value)


def test_a_wrong_list_of_what_is_forgotten_is_not_quoted(tmp_path):
    (tmp_path / "list.txt").write_text("# those who asked\nJohn Roe\n")
    path = write_jsonl(tmp_path / "a.jsonl", many(60))
    with pytest.raises(BadInput, match="is not a list of digests: its line 2 is none") as refusal:
        ingest(parse({"demonstrations": {"source": str(path), "forget": str(tmp_path / "list.txt")}}), tmp_path / "run")
    assert "John" not in str(refusal.value)


def test_the_address_of_a_store_is_told_without_its_password(monkeypatch, tmp_path):
    pytest.importorskip("boto3")
    from raro import s3_client

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for address in ("http://raro:S3CR3T@127.0.0.1:9", "http://raro:S3CR3T@not a host"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises((BadInput, ServiceFailed)) as error, s3_client.speaking("s3://bucket/x") as client:
            client.list_objects_v2(Bucket="bucket")
        assert "S3CR3T" not in str(error.value), address


# ------------------------------------------------------------------------------------------------------------------ strata


@pytest.mark.parametrize("column", ["finding", "complaint"])
def test_what_is_asked_and_answered_is_no_stratum_where_no_text_is_shown(column):
    told = {"question": "complaint", "answer": "finding"}
    for show_text in ("masked", "none"):
        with pytest.raises(BadInput, match=f"evaluation.strata names '{column}'"):
            parse({"demonstrations": told, "evaluation": {"strata": [column]}, "privacy": {"show_text": show_text}})
    assert parse({"demonstrations": told, "evaluation": {"strata": [column]}})
    assert parse({"demonstrations": told, "evaluation": {"strata": ["ward"]}, "privacy": {"show_text": "none"}})


# ------------------------------------------------------------------------------------------------------------- who may read


def test_what_is_made_for_a_run_and_for_the_cache_is_its_owners_alone(tmp_path, monkeypatch):
    """With the usual umask everybody on the machine could read the data set; one who made the folder has decided."""
    py7zr = pytest.importorskip("py7zr")
    before = os.umask(0o022)
    try:
        source = write_jsonl(tmp_path / "a.jsonl", many(60))
        ingest(parse({"demonstrations": {"source": str(source)}}), tmp_path / "runs" / "own")
        (tmp_path / "runs" / "team").mkdir(mode=0o750)
        ingest(parse({"demonstrations": {"source": str(source)}}), tmp_path / "runs" / "team")
        monkeypatch.setenv("RARO_CACHE", str(tmp_path / "deep" / "cache"))
        with py7zr.SevenZipFile(tmp_path / "site.7z", "w") as archive:
            archive.writestr("<posts/>", "Posts.xml")
        archives.unpacked("site.7z", tmp_path / "site.7z")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("runs/own", "runs/team", "deep/cache")}
    assert modes == {"runs/own": 0o700, "runs/team": 0o750, "deep/cache": 0o700}


# ----------------------------------------------------------------------------------------- texts that speak for others

FORGED = "\x1b[2J\x1b[Hwhole: every link holds\n└─ ✓ log"


def test_an_error_line_cannot_write_over_the_terminal(capsys):
    error = GateRefused(f"the log has an unknown action, '{FORGED}'", f"see '{FORGED}'")
    for text in (error.line, error.remedy, str(error)):
        assert "\x1b" not in text and "\n" not in text and "whole" in text


def test_an_audit_cannot_be_told_to_say_that_all_is_whole():
    """Who writes to the log, and holds no key, chooses every word of a record but not what stands beside it."""
    made = show_of(Check("log", FORGED, [f"record 2 has an unknown action, '{FORGED}'"], False, FORGED))
    for said in (show.tree(made), show.story(made)):
        assert "\x1b" not in said and not [line for line in said.splitlines() if line.startswith(("whole", "└─ ✓"))]


def show_of(check: Check):
    from types import SimpleNamespace

    record = Record(
        seq=1, previous="0" * 64, time="2026-12-01T00:00:00+00:00", model="m", action=FORGED, version="1", actor=FORGED,
        body={"reason": FORGED}, hash="a" * 64, signatures=[],
    )  # fmt: skip
    version = SimpleNamespace(tags={"raro.root": FORGED}, source=FORGED, run_id=FORGED)
    desk = SimpleNamespace(model="m")
    return SimpleNamespace(
        desk=desk, reference="m@champion", number="1", checks=[check], records=[record], version=version, found={},
        whole=False, breaks=[f"log: {check.breaks[0]}"],
    )  # fmt: skip


def test_a_licence_of_a_row_writes_no_line_into_the_models_card():
    data = {"digest": "ab", "licences": {"MIT\n\n## Approved\n\nby the <b>board</b> [x](http://x)": 3}, "splits": {}}
    evaluation = {"n": 1, "benchmark": "held_out", "greedy": {}, "sampled": {}}
    text = card(parse({}), data, evaluation, {"decision": "hold", "reasons": ["On ward 7\n\n## Approved"]})
    assert "\n## Approved" not in text and "<b>" not in text and "[x](" not in text


def test_a_run_as_told_has_one_line_for_each_event(tmp_path):
    config = failed_run(tmp_path / "run", BadInput(FORGED, "mend it"))
    assert read_json(tmp_path / "run" / "failure.json")["line"].count("\n") == 0 and config


def test_a_model_cannot_write_over_the_terminal_of_who_asks_it():
    """Answers are normalised, thoughts are not; and U+009B begins a command in many a terminal."""
    assert chat._plain("one\n\x1b[2Jtwo\x9b2J") == "one\n\\x1b[2Jtwo\\x9b2J"
