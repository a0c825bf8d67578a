"""Finish: the exit handler. It runs whatever happened before, and leaves a report, a summary and a closed MLflow run.

It reads only what the other steps left on disk. A step that ended without a word (its process was killed) is found by its
events, which start and do not end, and gets its failure.json here. Whom it tells: notice.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import INTERRUPTED, Canceled, RaroError, ServiceFailed
from ..report import cost
from ..report.stages import Stages, launch
from ..storage import read_json, write_json
from ..tracking import events
from . import notice
from .harness import FAILURE, Step, failure_record
from .trainjob import Order, remove

# What a scheduler says of the tasks before. Kubeflow also says RUNNING of some that failed: then the last steps tell.
WELL, CANCELED = ("", "SUCCEEDED", "COMPLETE"), ("CANCELED", "CANCELLED", "CANCELING")
LAST = {"register", "record"}
KILLED = "perhaps it was killed for its memory: lower rollout.slots; start again, it goes on from its last checkpoint"
STATES = {"done": "done", "kept": "skipped", "failed": "failed", "running": "lost"}


class Lost(ServiceFailed):
    """A task was killed, or failed outside its step: its pod never began, or its results were not taken."""


def run(config: Config, run: Path, state: str = "") -> dict:
    """Writes RUN/report.html and STEP/summary.json. state: what the scheduler says of the tasks before, FAILED among others."""
    with Step("finish", config, run, always=True) as step:
        stages = Stages().take(launch(events.read(run)[0]))
        failure = _failure(config, run, outcomes(stages), state)
        summary = summarise(run, stages, failure)
        summary["cost"] = cost.bill(events.read(run)[0], asdict(config), _result(run / "evaluation.json"))
        write_json(step.folder / "summary.json", summary)
        if unheard := notice.tell(config, run, summary):
            step.events.note(unheard, "warning")
        if Order.given():
            _remove_nodes(run, step)
        from ..report import page

        page.write(run)  # last: should it fail, people are told and nodes are gone
        if failure:
            write_json(run / FAILURE, failure | {"told": True})  # what tries again from here on is a person: harness.py
        step.outputs |= {key: summary[key] for key in ("state", "decision") if summary[key]}
        return step.outputs


def _remove_nodes(run: Path, step: Step) -> None:
    """A training task that was killed may have left its nodes training."""
    try:
        remove(run)
    except RaroError as error:
        step.events.note(f"a TrainJob may be left over: {error.line}", "warning")


def outcomes(stages: Stages) -> dict[str, dict[str, Any]]:
    """{stage: {"state": done | skipped | failed | lost, "seconds"}} of the latest launch, `finish` left out."""
    return {
        name: {"state": STATES[stage.status], "seconds": round(stage.elapsed(stages.latest) or 0.0, 3)}
        for name, stage in stages.by_name.items()
        if name != "finish" and stage.status in STATES
    }


def _failure(config: Config, run: Path, stages: Mapping[str, Mapping[str, Any]], state: str) -> dict[str, Any] | None:
    """failure.json, written here where a step could not."""
    path = run / FAILURE
    if path.exists():
        return read_json(path)
    lost = [name for name, stage in stages.items() if stage["state"] == "lost"]
    if not lost and (state in WELL or state != "FAILED" and stages.keys() & LAST):
        return None
    for name in lost:
        shutil.rmtree(run / f".{name}.partial", ignore_errors=True)
    line = "a task failed before its step began, or after it had ended"
    error: RaroError = Lost(line, "look at the task's log and its pod's events")
    if state in CANCELED:
        error = Canceled("the run was canceled", "raro submit --resume goes on from there")
    elif lost:
        error = Lost(f"step '{lost[-1]}' ended without a word", KILLED)
    failure = failure_record(lost[-1] if lost else "pipeline", config, run, error)
    write_json(path, failure)
    return failure


def summarise(run: Path, stages: Stages, failure: Mapping[str, Any] | None) -> dict[str, Any]:
    """The run in a few plain values. seconds: since the launch; overhead: the share of them spent outside the steps."""
    ended = outcomes(stages)
    decision = _result(run / "decide" / "decision.json") if "decide" in ended else {}
    state = "succeeded"
    if failure:
        state = "interrupted" if failure["code"] == INTERRUPTED else "failed"
    elif "warmstart" not in ended:
        state = "nothing-new"
    whole, outside = stages.overhead() or (0.0, 0.0)
    return {
        "state": state,
        "decision": decision.get("decision"),
        "reasons": decision.get("reasons", []),
        "registration": _result(run / "register" / "registration.json") if "register" in ended else None,
        "failure": failure,
        "stages": ended,
        "seconds": round(whole, 1),
        "overhead": round(outside / whole, 4) if whole else 0.0,
    }


def _result(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
