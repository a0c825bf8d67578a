"""The evaluation's further evidence in a run of the miniature: what stands in evaluation.json beside the scores."""

from __future__ import annotations

import json
import shutil

import pytest
from chat_server import chat_server, honest

from raro.config import load
from raro.errors import BadInput, ServiceFailed
from raro.steps import evaluate, ingest, preflight
from raro.steps.harness import Step
from raro.storage import fetch, read_json

ITEMS = 24
SMALL = [
    f"evaluation.max_items={ITEMS}",
    "evaluation.samples=1",
    "evaluation.sft_steps=0",
    "evaluation.bootstrap=100",
    "evaluation.critic_items=8",
    "judge.items=12",
    "judge.known=14",
    "judge.timeout=2",
    "judge.retries=1",
    "resources.processes=1",
]


def made(folder, *more):
    """Makes a run whose warm start and candidate are the base itself, up to the evaluation."""
    config = load("countdown-mini", [*SMALL, *more])
    ingest.run(config, folder)
    for name in ("warmstart", "train"):
        with Step(name, config, folder) as step:
            step.input("ingest")
            shutil.copytree(fetch(config.base.uri), step.folder / "model")
    return config


@pytest.fixture(autouse=True)
def untracked(monkeypatch):
    monkeypatch.setenv("RARO_TRACKING", "off")


def test_a_judges_word_stands_beside_the_scores(tmp_path):
    rows = [json.loads(line) for line in fetch("package://countdown-mini.jsonl").read_text().splitlines()]
    experts = {row["question"]: row["answer"] for row in rows}
    with chat_server(honest(lambda question, answer: float(answer == experts.get(question)))) as server:
        more = ["judge.kind=endpoint", "judge.model=m", f"judge.endpoint={server.address}", f"judge.cache={tmp_path / 'cache'}"]
        config = made(tmp_path / "run", *more)
        assert preflight._probed_judge(config) == "" and len(server.seen) == 1
        evaluate.run(config, tmp_path / "run")
    report = read_json(tmp_path / "run" / "evaluate" / "evaluation.json")
    items = [json.loads(line) for line in (tmp_path / "run" / "evaluate" / "items.jsonl").read_text().splitlines()]
    judge = report["judge"]
    assert judge["status"] == "used" and judge["judge"] == {"kind": "endpoint", "endpoint": server.address, "model": "m"}
    assert judge["agreement"]["named"][0] == 1.0
    assert judge["paired"]["candidate-base"] == [0, 0, 0]  # the same model, and asked about but once
    assert judge["wins"]["candidate"][2] <= 0.5 and sum(judge["counts"]["candidate"].values()) == 12
    assert sum(row["judge"]["candidate"] is not None for row in items) == 12


def test_a_judge_that_is_set_up_wrongly_stops_the_run_before_the_training(tmp_path):
    with chat_server(lambda handler, body: handler.send(b"{}", 401)) as server:
        more = ["judge.kind=endpoint", "judge.model=m", f"judge.endpoint={server.address}", "judge.retries=0"]
        with pytest.raises(BadInput, match="401: it does not take the key"):
            preflight.run(load("countdown-mini", more), tmp_path / "run")
        server.behave = lambda handler, body: handler.send(b"{}", 503)
        assert "answers 503" in preflight._probed_judge(load("countdown-mini", more))
        with pytest.raises(ServiceFailed, match="answers 503"):
            preflight._probed_judge(load("countdown-mini", [*more, "judge.on_outage=stop"]))
    with pytest.raises(BadInput, match="outside of the house"):
        preflight.run(load("countdown-mini", [*more, "judge.endpoint=https://8.8.8.8/v1"]), tmp_path / "other")
