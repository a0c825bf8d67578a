"""What Kubeflow's own page shows of an evaluation, beside its manifest: the report so far, scores, who solved what.

kfp is not imported here; its artifacts are taken as they come.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from ..report import page
from ..storage import read_json
from ..tracking.results import scores
from .task import Artifact, folder_of

RIVALS = ("champion", "warmstart")
"""Whom the candidate is laid beside: the first that was measured."""


class Metrics(Protocol):
    """What is used of dsl.Metrics."""

    def log_metric(self, metric: str, value: float) -> None: ...


class Classification(Protocol):
    """What is used of dsl.ClassificationMetrics."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...


def evaluation(run: str, job: str, report: Artifact, metrics: Metrics, solved: Classification) -> None:
    """Fills the artifacts from a finished evaluate. solved: the rival's greedy answers by row, the candidate's by column,
    each right or wrong; left empty where scores say neither. run, job: as task.perform takes them."""
    folder = folder_of(run, job)
    Path(report.path).parent.mkdir(parents=True, exist_ok=True)
    Path(report.path).write_text(page.html(folder), encoding="utf-8")
    found = read_json(folder / "evaluate" / "evaluation.json")
    for name, value in scores(found).items():
        metrics.log_metric(name.replace("/", "_"), round(value, 6))
    if found.get("pass_at"):
        solved.log_confusion_matrix(*matrix(folder / "evaluate" / "items.jsonl"))


def matrix(items: Path) -> tuple[list[str], list[list[int]]]:
    """(categories, counts[rival][candidate]) of right and wrong greedy answers."""
    with items.open(encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [json.loads(line)["greedy"] for line in file]
    rival = next(arm for arm in RIVALS if arm in rows[0])
    counts = [[0, 0], [0, 0]]
    for row in rows:
        counts[row[rival] != 1.0][row["candidate"] != 1.0] += 1
    return ["right", "wrong"], counts
