"""Evaluate as a task: the figures, and what Kubeflow shows of them."""

from pathlib import Path

from raro.storage import read_json


def test_it_measures_every_arm_and_shows_it(before):
    begun = before("evaluate")
    begun.task("evaluate")
    found = read_json(begun.folder / "evaluate" / "evaluation.json")
    assert found["n"] == 8 and {"base", "warmstart", "candidate"} <= set(found["sampled"])
    assert "<html" in Path(begun.handed["report"].path).read_text(encoding="utf-8")
    shown = begun.handed["metrics"].metadata
    assert shown and all(0 <= value <= 1 for value in shown.values())
    rows = begun.handed["solved"].metadata["confusionMatrix"]["rows"]
    assert sum(sum(row["row"]) for row in rows) == found["n"]
