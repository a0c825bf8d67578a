"""What can be known of an evaluation before anything costly runs is known then: at preflight, and at ingest."""

from __future__ import annotations

import csv
import json

import pytest

from raro.benchmarks import measurable, strata
from raro.config import load
from raro.demonstrations import load_split
from raro.errors import BadInput
from raro.records import Demonstration
from raro.solver import Problem, solve
from raro.steps import ingest, preflight
from raro.tracking import events

pytestmark = pytest.mark.usefixtures("untracked")

QUESTIONS = [f"What is the capital of land {i}?" for i in range(40)]


@pytest.fixture(params=["jsonl", "csv"])
def source(tmp_path, request):
    rows = [
        {"question": q, "answer": f"It is town {i}.", "topic": "north" if i % 2 else "south"} for i, q in enumerate(QUESTIONS)
    ]
    path = tmp_path / f"experts.{request.param}"
    if request.param == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def settings(source, *more: str):
    own = ["group=''", "split=''", "test_share=0.4", f"source={source}"]
    fixed = ["evaluation.benchmark=held_out", "resources.ingest_processes=1", *(f"demonstrations.{one}" for one in own)]
    return load("countdown-mini", [*fixed, *more])


@pytest.mark.parametrize(
    ("more", "told", "remedy"),
    [
        (["evaluation.strata=[topc]"], "has no column 'topc'", "did you mean 'topic'"),
        (["demonstrations.test_share=0"], "the test split holds no problem", "test_share"),
        (["evaluation.benchmark=countdown"], "the benchmark countdown finds none of .* experts' own answers right", "held_out"),
        (["evaluation.benchmark=choice"], "demonstrations.reader is", "reader: choice"),
    ],
)
def test_what_cannot_be_measured_ends_at_ingest(source, tmp_path, more, told, remedy):
    with pytest.raises(BadInput, match=told) as caught:
        ingest.run(settings(source, *more), tmp_path / "run")
    assert remedy in caught.value.remedy and not (tmp_path / "run" / "ingest").exists()


def test_what_can_be_measured_passes_and_says_where_the_gate_will_hold(source, tmp_path):
    run = tmp_path / "run"
    assert ingest.run(settings(source, "evaluation.strata=[topic]"), run)["verdict"] == "proceed"
    notes = [event["text"] for event in events.read(run)[0] if event["kind"] == "note"]
    assert any("gate.min_items asks for 30: a candidate can only be held" in text for text in notes)


def test_a_file_that_was_damaged_since_is_one_clear_line(tmp_path):
    path = tmp_path / "experts.jsonl.gz"
    path.write_bytes(b"no gzip")
    item = Demonstration(question="q", answer="a", source=f"{path}#1", licence="", group="")
    with pytest.raises(BadInput, match="is named .gz, but is not gzip"):
        strata.labels([item], settings(path, "evaluation.strata=[topic]"))


def test_rows_that_moved_since_they_were_ingested_are_not_labelled_by_their_numbers(source, tmp_path):
    config = settings(source, "evaluation.strata=[topic]")
    ingest.run(config, tmp_path / "run")
    items = load_split(tmp_path / "run" / "ingest", "test")
    topics = {item.question: ("south", "north")[QUESTIONS.index(item.question) % 2] for item in items}
    assert strata.labels(items, config)["topic"] == list(topics.values())
    head, *rows = source.read_text().splitlines(keepends=True)
    source.write_text("".join([head, *reversed(rows)]))
    with pytest.raises(BadInput, match=r"experts.*#\d+ is no longer the row that was ingested"):
        strata.labels(items, config)


def test_an_expert_whom_the_checker_finds_wrong_is_counted():
    problem = Problem((2, 3, 4), 24)
    right = Demonstration(question=problem.question, answer=solve(problem.numbers)[24], source="", licence="", group="")
    wrong = Demonstration(question=problem.question, answer="2 + 3 + 4", source="", licence="", group="")
    config = load("countdown-mini", ["gate.min_items=0"])
    assert list(measurable.check([right] * 3, config)) == []
    assert list(measurable.check([right, wrong], config)) == [
        "the benchmark finds 1 of 2 experts' own answers wrong: no model can be right there"
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["gate.reasons={jugde: because}"], "gate.reasons names a rule 'jugde' that does not exist"),
        (["judge.kind=model", "judge.model=EMPTY"], "judge.model '.*' has no config.json"),
    ],
)
def test_settings_that_cannot_be_followed_end_at_preflight(tmp_path, more, told):
    (tmp_path / "empty").mkdir()
    given = [one.replace("EMPTY", str(tmp_path / "empty")) for one in more]
    with pytest.raises(BadInput, match=told):
        preflight.check(load("countdown-mini", given), tmp_path / "run")
