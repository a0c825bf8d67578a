"""What Kubeflow is given to show of an evaluation, in kfp's own artifacts."""

from __future__ import annotations

import json

import pytest
from made_run import make

from raro.steps.shown import evaluation

dsl = pytest.importorskip("kfp.dsl")


def test_an_evaluation_fills_kubeflows_artifacts(tmp_path):
    run = make(tmp_path / "runs" / "job", steps=2)
    report = dsl.HTML(uri=str(tmp_path / "out" / "report"))
    metrics, solved = dsl.Metrics(uri=str(tmp_path / "metrics")), dsl.ClassificationMetrics(uri=str(tmp_path / "solved"))
    report.path = str(tmp_path / "out" / "report")
    evaluation(f"{tmp_path}/runs/", "job", report, metrics, solved)
    assert "38.4 %" in (tmp_path / "out" / "report").read_text()
    assert metrics.metadata["sampled_candidate"] == 0.384 and metrics.metadata["greedy_base_low"] < 0.192
    table = solved.metadata["confusionMatrix"]
    counts = [row["row"] for row in table["rows"]]
    rows = [json.loads(line)["greedy"] for line in (run / "evaluate" / "items.jsonl").read_text().splitlines()]
    wins = sum(row["candidate"] > row["champion"] for row in rows)
    losses = sum(row["candidate"] < row["champion"] for row in rows)
    assert counts[1][0] == wins and counts[0][1] == losses and sum(map(sum, counts)) == len(rows)
    assert [entry["displayName"] for entry in table["annotationSpecs"]] == ["right", "wrong"]


def test_scores_that_say_neither_right_nor_wrong_leave_the_matrix_empty(tmp_path):
    run = make(tmp_path / "run", steps=2)
    path = run / "evaluate" / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pass_at": {}}))
    report, metrics, solved = dsl.HTML(), dsl.Metrics(), dsl.ClassificationMetrics()
    report.path = str(tmp_path / "report")
    evaluation(str(run), "job", report, metrics, solved)
    assert metrics.metadata and not solved.metadata
