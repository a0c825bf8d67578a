"""Kubeflow beside the mirror: the runs that its own MLflow plugin makes, one for each of its runs and a nested one for each of
its tasks, and the tag by which a run of Kubeflow is found where there is no plugin.

The plugin's tags: https://github.com/kubeflow/pipelines/blob/master/backend/src/apiserver/plugins/mlflow/util.go
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from .state import State

JOB = "RARO_JOB"
"""In a task's environment: the id of Kubeflow's run, from steps/task.py."""
TAG = "kfp.pipeline_run_id"


def given() -> str:
    """The run that the plugin made for this task; empty where there is none."""
    return os.environ.get("MLFLOW_RUN_ID", "")


def above(client: MlflowClient, task: str) -> tuple[str, str]:
    """(experiment, top run) of the plugin's run for a task. Between the two stands one for each stage, branch and exit handler
    that the task lies in, which the plugin opens and closes at once."""
    found = client.get_run(task)
    while parent := found.data.tags.get("mlflow.parentRunId"):
        found = client.get_run(parent)
    return found.info.experiment_id, found.info.run_id


def moved(client: MlflowClient, state: State) -> bool:
    """Whether another run of Kubeflow goes on in this folder, whose plugin made another parent."""
    task = given()
    return bool(state.parent and task and task not in state.stages.values()) and above(client, task)[1] != state.parent


def tag(client: MlflowClient, state: State) -> bool:
    """Tags our own parent with Kubeflow's run, the last one that went on here; whether it had to. The plugin's other tags name
    the pipeline, its version and the run's page, of which no task is told."""
    job = os.environ.get(JOB, "")
    if given() or not job or job == state.job:
        return False
    client.set_tag(state.parent, TAG, job)
    state.job = job
    return True
