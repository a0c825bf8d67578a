"""The pipeline, really executed: every branch through kfp's local runner with the real steps on the packaged mini base.

The runs are the default configuration made very small; what the gate asks for is set so that each branch is taken. Two go at
once where they do not need each other: most of their time is imports.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from raro.components import readmes
from raro.config import load
from raro.errors import BadInput
from raro.steps import TITLES
from raro.storage import read_json, verify
from raro.tracking import events

ROOT = Path(__file__).parents[1]
SMALL = {
    "warmstart.steps": 1, "warmstart.questions": 4, "warmstart.thoughts": 2,
    "raro.steps": 3, "raro.questions": 2, "raro.rollouts": 2, "raro.pairs": 4, "raro.verdicts": 2, "raro.checkpoint_every": 1,
    "evaluation.max_items": 8, "evaluation.samples": 1, "evaluation.sft_steps": 0, "evaluation.track_every": 0,
    "evaluation.track_items": 4, "evaluation.bootstrap": 100, "probes.select_items": 8, "probes.matrix_items": 4,
    "resources.processes": 1,
}  # fmt: skip
LONGER = {"raro.steps": 25, "resources.processes": 2}
"""Long enough for a run to be cut short in, by two processes as is the default."""
GATES = {
    "promote": {"gate.min_gain": -1, "gate.hold_gain": -1, "gate.min_items": 0, "gate.level": 1},
    "hold": {"gate.min_gain": 1, "gate.hold_gain": -1},
    "reject": {"gate.min_gain": 1, "gate.hold_gain": 1},
}
FULL = ["preflight", "ingest", "warmstart", "train", "evaluate", "decide"]


@dataclass
class Launched:
    """A `raro run` at work. folder: its run."""

    folder: Path
    process: subprocess.Popen

    def ended(self) -> tuple[int, str]:
        """(exit code, what it said on both streams)."""
        said, _ = self.process.communicate(timeout=400)
        return self.process.returncode, said

    def reached(self, stage: str, kind: str) -> bool:
        """Whether an event has come. Fails where the run has ended without it."""
        found = any((e["stage"], e["kind"]) == (stage, kind) for e in events.read(self.folder)[0])
        assert found or self.process.poll() is None, self.ended()
        return found


def launch(folder: Path, settings: dict | None = None, tracked: bool = False) -> Launched:
    """`raro run` in a process of its own; without settings the run's own configuration. Tracked, its last steps import MLflow,
    which takes them longer than what they do."""
    values = {key: json.dumps(value, default=str) for key, value in (settings or {}).items()}
    overrides = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    config = ["countdown-mini"] if settings else []
    command = [sys.executable, "-m", "raro.cli", "run", *config, *overrides, "--output", str(folder)]
    environment = {**os.environ, "COLUMNS": "120"} | ({} if tracked else {"RARO_TRACKING": "off"})
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    return Launched(folder, subprocess.Popen(command, env=environment, text=True, **streams))


def stages(folder: Path) -> dict[str, str]:
    """{stage: how it ended} of a run's latest launch, in order."""
    found: dict[str, str] = {}
    for event in events.read(folder)[0]:
        if (event["stage"], event["kind"]) == ("preflight", "start"):
            found.clear()
        if event["kind"] in ("done", "skipped", "failed"):
            found[event["stage"]] = event["kind"]
    return found


def wait_for(found: Callable[[], object]) -> None:
    """Until `found` says so."""
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def process_at_work(launched: Launched) -> int:
    """The process that executes the step at work: the youngest of the pipeline's group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(path.parent.name), path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if b"kfp.dsl.executor_main" in command and str(launched.folder).encode() in command and not command.startswith(b"sh\0"):
            found.append((int(rest[19]), pid))
    return max(found)[1]


# ---------------------------------------------------------------------------------------------------------- what is committed


def test_the_compiled_pipeline_is_fresh(tmp_path):
    """Versions aside, which differ between machines."""
    environment = {key: value for key, value in os.environ.items() if key != "RARO_IMAGE"}
    target = tmp_path / "retraining.yaml"
    subprocess.run(
        [sys.executable, "-m", "raro.cli", "compile", "--output", str(target)], env=environment, check=True, capture_output=True
    )
    plain = lambda path: re.sub(r"sdkVersion: \S+", "", path.read_text(encoding="utf-8"))  # noqa: E731
    assert plain(target) == plain(ROOT / "pipelines" / "retraining.yaml"), "run `make pipeline`"


def committed() -> dict:
    """{component: {its tasks}} of the compiled pipeline, those that are graphs; root too."""
    spec = next(yaml.safe_load_all((ROOT / "pipelines" / "retraining.yaml").read_text(encoding="utf-8")))
    return {name: one["dag"]["tasks"] for name, one in {**spec["components"], "root": spec["root"]}.items() if "dag" in one}


def test_a_condition_is_never_alone():
    """The local runner takes a bare If on a named output for false, without a word."""
    conditions = [
        [t["triggerPolicy"]["condition"] for t in tasks.values() if "condition" in t.get("triggerPolicy", {})]
        for tasks in committed().values()
    ]
    conditions = [found for found in conditions if found]
    assert sorted(len(found) for found in conditions) == [2, 3]
    for condition in (one for found in conditions for one in found):
        assert set(re.findall(r"pipelinechannel--([\w-]+)", condition)) <= {"data-decision", "judgement-decision"}


def test_each_stage_is_a_pipeline_of_its_own_and_neither_it_nor_a_task_is_cached():
    graphs = committed()
    stages = {"data": ["preflight", "ingest"], "training": ["warmstart", "train"], "judgement": ["evaluate", "decide"]}
    assert {name: set(graphs[f"comp-{name}"]) for name in stages} == {name: set(steps) for name, steps in stages.items()}
    tasks = {name: task for found in graphs.values() for name, task in found.items()}
    for name in (*stages, *TITLES):
        assert tasks[name]["cachingOptions"] == {}, name


@pytest.mark.parametrize("name", TITLES)
def test_components_are_thin(name):
    folder = ROOT / "components" / name
    tree = ast.parse((folder / "component.py").read_text(encoding="utf-8"))
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    top |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    allowed = {module for module in top if module.split(".")[0] in sys.stdlib_module_names | {"kfp"}} | {"raro.components"}
    assert top <= allowed
    assert len((folder / "component.py").read_text(encoding="utf-8").splitlines()) < 40
    assert (folder / "README.md").read_text(encoding="utf-8") == readmes.readme(name), "run `python -m raro.components.readmes`"
    assert yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))["name"] == name


def test_there_is_a_component_for_each_step():
    assert sorted(TITLES) == readmes.names()


def test_a_configuration_too_large_to_travel_is_refused(tmp_path):
    from raro.pipelines.retraining import run_local

    long = tmp_path / "long.yaml"
    long.write_text(f"prompts:\n  policy: '{'ä' * 30_000}'\n", encoding="utf-8")
    with pytest.raises(BadInput, match="at most 100 can travel"):
        run_local(load(long), tmp_path)


# -------------------------------------------------------------------------------------------------------------- the branches


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Where the runs lie that meet one another's champion."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(runs, tmp_path_factory):
    """Two runs, each cut short in training and started again: one by Ctrl-C, whose candidate is then promoted; one by the loss
    of the process, whose candidate is then rejected. The latter's name would break a runner that quotes carelessly."""
    quoted = {"name": '"it\'s" {{$}} größer'}
    alone = SMALL | {"raro.steps": LONGER["raro.steps"]}
    lost = launch(tmp_path_factory.mktemp("alone") / "lost", alone | GATES["reject"] | quoted)
    interrupted = launch(runs / "first", SMALL | LONGER | GATES["promote"], tracked=True)
    strikes = {
        lost.folder: (lost, lambda: os.kill(process_at_work(lost), signal.SIGKILL)),
        interrupted.folder: (interrupted, lambda: interrupted.process.send_signal(signal.SIGINT)),
    }
    deadline = time.monotonic() + 300
    while strikes:  # each as soon as it trains: the one must not end while the other is waited for
        for folder, (one, strike) in list(strikes.items()):
            if one.reached("train", "metrics") and [*(folder / "checkpoints").glob("step-*")]:  # the figures come first
                strikes.pop(folder)
                strike()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    said = {"lost": lost.ended(), "interrupted": interrupted.ended()}
    before = {one.folder: (stages(one.folder), read_json(one.folder / "failure.json")) for one in (lost, interrupted)}
    leftover = [path for one in before for path in (*one.glob(".*.partial"), *one.glob("train"))]
    again = {"rejected": launch(lost.folder), "promoted": launch(interrupted.folder, tracked=True)}
    return said, before, leftover, {name: (one.folder, one.ended()) for name, one in again.items()}


@pytest.fixture(scope="module")
def promoted(first) -> Path:
    folder, (code, said) = first[3]["promoted"]
    assert code == 0, said
    return folder


def test_interrupted(first, runs):
    said, before, leftover, _ = first
    code, told = said["interrupted"]
    assert code == 130 and f"raro run --output {runs / 'first'}" in told, told
    how, failure = before[runs / "first"]
    assert how == dict.fromkeys(FULL[:3], "done") | {"train": "failed", "finish": "done"}
    assert (failure["stage"], failure["code"], failure["permanent"]) == ("train", 130, False)
    assert leftover == []


def test_a_lost_process(first):
    said, before, _, again = first
    code, told = said["lost"]
    assert code == 4 and "step 'train' ended without a word" in told, told
    how, failure = before[again["rejected"][0]]
    assert how == dict.fromkeys(FULL[:3], "done") | {"finish": "done"}
    assert failure["stage"] == "train" and failure["last_checkpoint"].startswith("checkpoints/")


def test_reject(first):
    folder, (code, said) = first[3]["rejected"]
    assert code == 3, said
    resumed = {"preflight": "done", "ingest": "skipped", "warmstart": "skipped"}
    assert stages(folder) == resumed | dict.fromkeys(["train", "evaluate", "decide", "record", "finish"], "done")
    record = read_json(folder / "record" / "record.json")
    assert record["outcome"] == "reject" and record["reasons"]
    assert not (folder / "register").exists() and not (folder / "failure.json").exists()
    assert any("resumed from checkpoint" in event.get("text", "") for event in events.read(folder)[0])


def test_promote(promoted):
    how = stages(promoted)
    assert how == {"preflight": "done", "ingest": "skipped", "warmstart": "skipped"} | dict.fromkeys(
        ["train", "evaluate", "decide", "register", "finish"], "done"
    )
    assert not (promoted / "record").exists() and not (promoted / "failure.json").exists()
    registration = read_json(promoted / "register" / "registration.json")
    assert registration["alias"] == "champion"
    summary = read_json(promoted / "finish" / "summary.json")
    assert summary["state"] == "succeeded" and summary["decision"] == "promote"
    train = summary["cost"]["stages"]["train"]
    assert train["tokens"] > 0 and train["cpu_hours"] > 0 and summary["cost"]["total"]["seconds"] > train["seconds"]
    assert read_json(promoted / "evaluation.json")["decision"] == "promote"
    assert "<html" in (promoted / "report.html").read_text(encoding="utf-8")


def test_what_lies_on_disk_is_whole_and_linked(promoted):
    manifests = {name: read_json(promoted / name / "manifest.json") for name in [*FULL, "register", "finish"]}
    for name, body in manifests.items():
        verify(promoted / name, body)
        for before, root in body["inputs"].items():
            assert manifests[before]["root"] == root
    assert set(manifests["register"]["inputs"]) == {"ingest", "train", "evaluate", "decide"}
    artifacts = [json.loads(path.read_text()) for path in (promoted / ".pipeline").rglob("manifest")]
    handed = {body["step"]: body["root"] for body in artifacts if body["step"] != "finish"}
    assert all(manifests[name]["root"] == root for name, root in handed.items() if name != "preflight")
    assert set(handed) == {*FULL, "register"}


def test_mlflow_has_the_run_its_steps_and_the_champion(promoted):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{promoted / 'mlflow.db'}")
    everything = client.search_runs([client.get_experiment_by_name("raro").experiment_id])
    nested = {run.data.tags["raro.stage"]: run for run in everything if "mlflow.parentRunId" in run.data.tags}
    (parent,) = (run for run in everything if "mlflow.parentRunId" not in run.data.tags)
    assert set(nested) >= {*FULL, "register", "finish"}
    assert parent.info.status == "FINISHED" and nested["train"].info.status == "FINISHED"
    assert parent.data.metrics["cost/tokens"] > nested["train"].data.metrics["cost/tokens"] > 0
    assert client.get_model_version_by_alias("countdown-mini", "champion").run_id == parent.info.run_id
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {
        "report.html",
        "evaluation.json",
        "config.json",
    }


@pytest.fixture(scope="module")
def after_the_first(promoted, runs):
    """Two runs that meet the champion: one with nothing new, one with another gate, both at once."""
    return {
        "again": launch(runs / "again", SMALL | LONGER | GATES["promote"], tracked=True),
        "hold": launch(runs / "hold", SMALL | GATES["hold"], tracked=True),
    }


def test_nothing_new(after_the_first):
    code, said = after_the_first["again"].ended()
    assert code == 0, said
    folder = after_the_first["again"].folder
    assert stages(folder) == dict.fromkeys(["preflight", "ingest", "record", "finish"], "done")
    assert read_json(folder / "record" / "record.json")["outcome"] == "nothing-new"
    assert read_json(folder / "finish" / "summary.json")["state"] == "nothing-new"


def test_hold_beside_the_champion(after_the_first):
    code, said = after_the_first["hold"].ended()
    assert code == 0, said
    folder = after_the_first["hold"].folder
    assert stages(folder) == dict.fromkeys([*FULL, "register", "finish"], "done")
    assert read_json(folder / "register" / "registration.json")["alias"] == "challenger"
    assert "champion" in read_json(folder / "evaluation.json")["sampled"]


def test_a_failure_goes_through_the_exit_handler(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "1 + 1", "answer": "2"}\n' * 3 + "broken\n" * 3)
    settings = SMALL | {"demonstrations.source": data, "demonstrations.group": "", "demonstrations.split": ""}
    launched = launch(tmp_path / "run", settings)
    code, said = launched.ended()
    assert code == 3 and "of 6 rows are quarantined" in said and "remedy:" in said and "Traceback" not in said
    assert stages(launched.folder) == {"preflight": "done", "ingest": "failed", "finish": "done"}
    assert not (launched.folder / "ingest").exists() and (launched.folder / "quarantine.jsonl").exists()
    summary = read_json(launched.folder / "finish" / "summary.json")
    assert summary["state"] == "failed" and summary["failure"]["stage"] == "ingest"
    assert "of 6 rows are quarantined" in (launched.folder / "report.html").read_text(encoding="utf-8")
