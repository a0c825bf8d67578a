"""The evaluation as tables in MLflow: what `mlflow.load_table` reads and `mlflow.genai.evaluate` takes as data.

    evaluation/items.json       every test problem: strata, each arm's score, and texts as they may be shown
    evaluation/genai-ARM.json   inputs, outputs, expectations of one arm; only where texts may be shown

    data = mlflow.load_table("evaluation/genai-candidate.json", run_ids=[RUN])
    mlflow.genai.evaluate(data, scorers=[...])

Written in the layout of MLflow's log_table, which itself needs pandas and, sent twice, would append.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

ITEMS = "evaluate/items.jsonl"
LISTED = "mlflow.loggedArtifacts"
"""The tag by which MLflow's page and load_table know tables (mlflow.utils.mlflow_tags)."""
Rows = Sequence[Mapping[str, Any]]


def send(client: MlflowClient, run_id: str, path: Path) -> None:
    """Writes the tables of evaluate/items.jsonl into the run; sent again, they are the same."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    write(client, run_id, dict(made(rows)))


def write(client: MlflowClient, run_id: str, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes tables, by name, in pandas' split layout, in place of what stood there."""
    for name, table in tables.items():
        client.log_dict(run_id, table, name)
    listed = json.loads(client.get_run(run_id).data.tags.get(LISTED, "[]"))
    new = [entry for name in tables if (entry := {"path": name, "type": "table"}) not in listed]
    if new:
        client.set_tag(run_id, LISTED, json.dumps(listed + new))


def made(rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, table) of the rows of items.jsonl, tables in pandas' split layout: columns, data."""
    if not rows:
        return
    yield "evaluation/items.json", split([_flat(row) for row in rows])
    for arm in rows[0].get("answers", {}):
        yield f"evaluation/genai-{arm}.json", split([_example(row, arm) for row in rows])


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Strata, scores and answers each in a column of its own: `sampled/candidate`, `strata/length`, `answers/base`."""
    found = {}
    for key, value in row.items():
        found |= {f"{key}/{name}": one for name, one in value.items()} if isinstance(value, Mapping) else {key: value}
    return found


def _example(row: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """As mlflow.genai.evaluate takes it. expected_response is what its own scorers look for."""
    return {
        "inputs": {"question": row["question"]},
        "outputs": row["answers"][arm],
        "expectations": {"expected_response": row["expert"]},
    }


def split(rows: Rows) -> dict[str, Any]:
    """Rows in pandas' split layout; None where a row lacks a column."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]}
