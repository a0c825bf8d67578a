"""An evaluation in MLflow, in a real SQLite store: figures as metrics, and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_evaluation import drawn
from made_run import config, make

from raro.tracking import results, runs, server

ARMS = {"base", "warmstart", "candidate", "champion", "sft"}


def shorten(run: Path, n: int) -> None:
    path = run / "evaluate" / "items.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:n]))


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Path:
    """A made-up run, sent twice."""
    run = make(tmp_path_factory.mktemp("runs") / "run", steps=2)
    shorten(run, 6)
    for _ in range(2):
        runs.sync(config(), run, force=True)
    return run


def parent(run: Path):
    client = server.connect(server.sqlite(run))
    (experiment,) = client.search_experiments(filter_string="name = 'raro'")
    (found,) = client.search_runs([experiment.experiment_id], "tags.`raro.role` = 'parent'")
    return client, experiment.experiment_id, found


def load(run: Path, name: str):
    """A table as a user reads it back; load_table looks at MLflow's global address only."""
    client, experiment, _ = parent(run)
    with server.everywhere(server.sqlite(run)):
        return client.load_table(experiment, f"evaluation/{name}.json")


def test_figures_are_metrics_of_the_parent(sent):
    client, _, found = parent(sent)
    evaluation = json.loads((sent / "evaluation.json").read_text())
    metrics = found.data.metrics
    _, low, _ = evaluation["paired"]["candidate-champion"]["sampled"]
    assert metrics["paired/sampled/candidate-champion/low"] == pytest.approx(low)
    assert metrics["p/sampled/candidate-base"] == pytest.approx(evaluation["tests"]["sampled"]["base"]["p_holm"])
    assert metrics["judge/candidate"] == metrics["rubrics/candidate"] == metrics["choice/candidate"] == pytest.approx(0.41)
    assert metrics["rubrics/expert/low"] == pytest.approx(0.55)
    curve = [(one.step, one.value) for one in client.get_metric_history(found.info.run_id, "pass_at/candidate")]
    assert sorted(set(curve)) == [tuple(point) for point in evaluation["pass_at"]["candidate"]]


def test_tables_are_whole_and_sent_once(sent):
    tables = {name: load(sent, name) for name in ("items", "gate", "tests", "strata", "rubrics", "choice")}
    n = len(json.loads((sent / "decide" / "decision.json").read_text())["evidence"]["rules"])
    sizes = {"items": 6, "gate": n, "tests": 8, "strata": 5, "rubrics": 5, "choice": 4}
    assert {name: len(table) for name, table in tables.items()} == sizes
    assert set(tables["rubrics"].arm) == {"expert", "base", "warmstart", "candidate", "champion"}
    assert tables["choice"].set_index("arm")["candidate less it"]["base"] == pytest.approx(0.29)
    assert set(tables["tests"].against) == ARMS - {"candidate"} and "hard" in set(tables["strata"].label)
    row = tables["tests"][(tables["tests"].way == "sampled") & (tables["tests"].against == "base")].iloc[0]
    found = drawn()[0]["tests"]["sampled"]["base"]
    assert (row.wins, row.losses) == (found["mcnemar"]["wins"], found["mcnemar"]["losses"])


def test_another_decision_takes_the_tables_place(sent):
    path = sent / "decide" / "decision.json"
    decision = json.loads(path.read_text())
    decision["evidence"]["rules"] = decision["evidence"]["rules"][:2]
    path.write_text(json.dumps(decision))
    runs.sync(config(), sent, force=True)
    assert len(load(sent, "gate")) == 2 and len(load(sent, "strata")) == 5


def test_an_evaluation_of_an_earlier_version_has_no_tables():
    assert not list(results.figures({"greedy": {}}))
    assert results.tests({}) == results.strata({}) == results.rules({"evidence": {}}) == []
    assert results.by_arm({}, "rubrics") == results.by_arm({"rubrics": {"status": "refused", "why": "down"}}, "rubrics") == []
