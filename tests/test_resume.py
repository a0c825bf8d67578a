"""What an earlier launch of a run leaves behind when a person starts it again, and what a scheduler's own tries meet: the tasks
as a cluster performs them, in their order, with the exit handler last.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest

from raro.config import Config, parse
from raro.steps.claim import claim
from raro.steps.task import perform
from raro.storage import read_json
from raro.tracking import server

GOOD = files("raro.data").joinpath("countdown-mini.jsonl").read_text(encoding="utf-8")


@pytest.fixture
def made(tmp_path) -> tuple[Config, Path, Path]:
    """(configuration, the run's folder, the demonstrations' file, which is not fit)."""
    data = tmp_path / "data.jsonl"
    data.write_text("broken\n" * 9, encoding="utf-8")
    small = {"policy_tokens": 64, "critic_tokens": 64}
    return parse({"demonstrations": {"source": str(data)}, "rollout": small}), tmp_path / "run", data


def tried(name: str, config: Config, run: Path, **more: str) -> int:
    """One try of one task: its exit code."""
    handed = SimpleNamespace(path=str(run / f".{name}.handed"), metadata={})
    try:
        perform(name, config.canonical(), str(run), "job", handed, **more)
    except SystemExit as left:
        return left.code
    return 0


def ended(run: Path) -> tuple[str, str]:
    """(state in the summary, status of MLflow's parent run)."""
    client = server.connect(server.sqlite(run))
    (parent,) = client.search_runs([client.get_experiment_by_name("raro").experiment_id], "tags.`raro.role` = 'parent'")
    return read_json(run / "finish" / "summary.json")["state"], parent.info.status


def test_automatic_tries_stop_at_once_and_a_person_s_go_on(made, capfd):
    config, run, data = made
    assert tried("preflight", config, run) == 0 and tried("ingest", config, run) == 2
    data.write_text(GOOD, encoding="utf-8")
    assert tried("ingest", config, run) == 2  # Kubeflow's own: the data is not even looked at
    assert capfd.readouterr().err.count("is not JSONL") == 2
    assert tried("finish", config, run, state="FAILED") == 0 and ended(run) == ("failed", "FAILED")
    failure = read_json(run / "failure.json")
    assert failure["stage"] == "ingest" and failure["permanent"] and failure["told"]
    assert tried("ingest", config, run) == 0  # Kubeflow's Retry: what had succeeded is not performed again
    assert tried("finish", config, run, state="SUCCEEDED") == 0 and ended(run) == ("nothing-new", "FINISHED")
    assert not (run / "failure.json").exists()


def test_resuming_goes_on_though_the_exit_handler_was_killed(made):
    config, run, data = made
    assert tried("preflight", config, run) == 0 and tried("ingest", config, run) == 2
    data.write_text(GOOD, encoding="utf-8")
    assert tried("preflight", config, run) == 0 and tried("ingest", config, run) == 0


def test_a_pod_that_never_started_is_told_of_its_own_launch_alone(made):
    config, run, data = made
    data.write_text(GOOD, encoding="utf-8")
    assert tried("preflight", config, run) == 0
    assert tried("finish", config, run, state="FAILED") == 0 and ended(run) == ("failed", "FAILED")
    assert read_json(run / "failure.json")["stage"] == "pipeline"
    assert tried("ingest", config, run) == 0
    assert tried("finish", config, run, state="SUCCEEDED") == 0 and ended(run) == ("nothing-new", "FINISHED")


@pytest.mark.parametrize(("state", "told"), [("CANCELED", ("interrupted", "KILLED")), ("RUNNING", ("failed", "FAILED"))])
def test_a_run_that_did_not_end_well_is_no_run_without_anything_new(made, state, told):
    """Canceled while a task waits for a node; and where Kubeflow leaves a stage at RUNNING, though what follows never came."""
    config, run, data = made
    data.write_text(GOOD, encoding="utf-8")
    assert tried("preflight", config, run) == 0 and tried("ingest", config, run) == 0
    assert tried("finish", config, run, state=state) == 0 and ended(run) == told


def test_a_run_that_ended_is_one_whatever_kubeflow_calls_it(made):
    config, run, data = made
    data.write_text(GOOD, encoding="utf-8")
    assert tried("preflight", config, run) == 0 and tried("ingest", config, run) == 0 and tried("record", config, run) == 0
    assert tried("finish", config, run, state="RUNNING") == 0 and ended(run) == ("nothing-new", "FINISHED")


def test_there_is_nothing_to_go_on_with(made, monkeypatch, capfd):
    config, run, data = made
    data.write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv("KFP_POD_NAME", "pod")
    assert tried("preflight", config, run) == 2 and not (run / "config.json").exists()
    assert f"no run lies in '{run}' to go on with" in capfd.readouterr().err
    claim(config, run)
    assert tried("preflight", config, run) == 0


def test_a_failure_is_told_again_where_the_exit_handler_is_tried_again(made):
    config, run, _ = made
    assert tried("preflight", config, run) == 0 and tried("ingest", config, run) == 2
    for _ in range(2):
        assert tried("finish", config, run, state="FAILED") == 0
        assert read_json(run / "finish" / "summary.json")["failure"]["stage"] == "ingest"
