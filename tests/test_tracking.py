"""Events and their MLflow mirror, against real SQLite stores and (heavier) a real tracking server on loopback."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from servers import free_port, give_store, mlflow_server

from raro.config import Config, load, parse
from raro.errors import BadInput, ServiceFailed
from raro.registry.bases import base_digest
from raro.steps import run_step
from raro.steps.claim import claim
from raro.steps.task import perform
from raro.storage import read_json, write_json
from raro.study import table as study
from raro.tracking import events, kubeflow, runs, server
from raro.tracking.events import Events
from raro.tracking.state import STATE

SOURCE = Path(events.__file__).parents[2]


def settings(**tracking) -> Config:
    return parse({"name": "test", "seed": 7, "tracking": tracking})


def play(run: Path, steps: int = 3) -> None:
    """A stage's worth of events, and the files that steps leave."""
    train = Events(run, "train")
    train.start(steps)
    for step in range(steps):
        train.metrics(step, {"policy/reward": step / 10, "critic/reward": 1 - step / 10, "policy/kl": math.nan})
        train.progress(step + 1, steps)
    train.done({"selected_step": 2}, 4.5)
    (run / "config.json").write_text("{}\n")
    (run / "ingest").mkdir()
    (run / "ingest" / "data.json").write_text(json.dumps({"digest": "ab" * 32, "rows": 9, "kept": 8}))
    (run / "train").mkdir()
    (run / "train" / "pairs.jsonl").write_text("{}\n")
    evaluation = {"greedy": {"candidate": [0.5, 0.4, 0.6]}, "sampled": {"candidate": [0.4, 0.3, 0.5]}, "decision": "hold"}
    (run / "evaluation.json").write_text(json.dumps(evaluation))


def finish(run: Path) -> None:
    stage = Events(run, "finish")
    stage.start()
    stage.done({}, 0.1)


def tree(uri: str) -> dict:
    """{name: run} of the experiment."""
    client = server.connect(uri)
    return {found.info.run_name: found for found in client.search_runs([client.get_experiment_by_name("raro").experiment_id])}


# -------------------------------------------------------------------------------------------------------------------- events


def test_events_are_read_in_order_and_once(tmp_path):
    pen = Events(tmp_path, "train")
    pen.start(2, "two")
    first, offset = events.read(tmp_path)
    pen.metrics(1, {"a": 1})
    pen.note("see", "warning")
    second, end = events.read(tmp_path, offset)
    assert [event["kind"] for event in first + second] == ["start", "metrics", "note"]
    assert {event["stage"] for event in first + second} == {"train"}
    assert events.read(tmp_path, end) == ([], end)
    assert events.read(tmp_path / "nowhere") == ([], 0)
    pen.note("a judge says \x1b[2J")
    assert events.read(tmp_path, end)[0][0]["text"] == r"a judge says \x1b[2J", "it is printed to terminals"


def test_a_half_written_line_waits_and_a_broken_one_is_passed_over(tmp_path):
    pen = Events(tmp_path, "train")
    pen.start()
    line = json.dumps({"time": 1.0, "stage": "train", "kind": "skipped"})
    with open(pen.path, "a") as file:
        file.write(line[:20])
    found, offset = events.read(tmp_path)
    assert len(found) == 1
    with open(pen.path, "a") as file:
        file.write(line[20:] + "\n")
    assert events.read(tmp_path, offset)[0][0]["kind"] == "skipped"
    with open(pen.path, "a") as file:
        file.write(line[:20])  # and here the process was killed
    Events(tmp_path, "train").note("after")
    assert [event["kind"] for event in events.read(tmp_path)[0]] == ["start", "skipped", "note"]


def test_a_disk_that_takes_half_a_line_is_told_and_the_next_line_stands_alone(tmp_path):
    """The system takes what there is room for and says nothing: half an event would take the next one with it."""
    code = (
        "import resource, sys\nfrom raro.tracking.events import Events\nevents = Events(sys.argv[1], 'train')\n"
        "events.metrics(1, {'x': 1.0})\nroom = events.path.stat().st_size + 20\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))\nevents.metrics(2, {'x': 2.0})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    Events(tmp_path, "train").metrics(3, {"x": 3.0})
    assert list(events.trained(tmp_path)) == [1, 3]


def test_processes_writing_at_once_lose_nothing(tmp_path):
    code = """
import sys
from raro.tracking.events import Events
from raro.tracking.state import STATE
pen = Events(sys.argv[1], sys.argv[2])
for i in range(300):
    pen.metrics(i, {"x" * 200: i})
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    found, _ = events.read(tmp_path)
    assert [[e["step"] for e in found if e["stage"] == name] for name in ("a", "b")] == [list(range(300))] * 2


# -------------------------------------------------------------------------------------------------------------------- mirror


def test_the_digest_on_the_server_is_that_of_the_settings_a_run_goes_on_with(tmp_path):
    run, config = tmp_path / "run", settings()
    less = parse({"name": "test", "seed": 7, "resources": {"batch_tokens": 64}})
    for one in (config, less):
        claim(one, run)
        runs.sync(one, run, force=True)
        parent = tree(server.sqlite(run))["run"]
        assert parent.data.tags["raro.config_digest"] == one.digest != parse({}).digest
        path = server.connect(server.sqlite(run)).download_artifacts(parent.info.run_id, "config.json")
        assert read_json(path) == json.loads(one.canonical())


def test_one_parent_and_a_nested_run_per_stage(tmp_path):
    run, config = tmp_path / "run", settings()
    play(run)
    assert runs.sync(config, run, force=True) > 0
    finish(run)
    runs.sync(config, run)
    found = tree(server.sqlite(run))
    assert sorted(found) == ["finish", "run", "train"]
    parent, train = found["run"], found["train"]
    assert train.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, train.info.status) == ("FINISHED", "FINISHED")
    assert parent.data.params["raro.tau_pol"] == "0.6"
    assert parent.data.tags["raro.config_digest"] == config.digest
    assert (parent.data.tags["raro.seed"], parent.data.tags["raro.decision"]) == ("7", "hold")
    (entry,) = parent.inputs.dataset_inputs
    assert entry.dataset.digest == "ab" * 16
    assert {tag.key: tag.value for tag in entry.tags}["sha256"] == "ab" * 32
    assert parent.data.metrics["sampled/candidate/low"] == 0.3
    assert train.data.tags["raro.output.selected_step"] == "2"
    client = server.connect(server.sqlite(run))
    history = client.get_metric_history(train.info.run_id, "policy/reward")
    assert [(point.step, point.value) for point in history] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert math.isnan(client.get_metric_history(train.info.run_id, "policy/kl")[0].value)
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert names == {"config.json", "evaluation.json", "ingest", "train"}
    assert not any(name.startswith("runs") or "mlruns" in name for name in os.listdir(tmp_path))


def test_sending_again_changes_nothing(tmp_path):
    run, config = tmp_path / "run", settings()
    give_store(run)
    play(run)
    runs.sync(config, run, force=True)
    state = json.loads((run / STATE).read_text())
    # As after a crash: everything was sent, but neither the position nor the runs' ids were remembered.
    (run / STATE).write_text(json.dumps({**state, "offset": 0, "parent": "", "experiment": "", "stages": {}, "sent": {}}))
    runs.sync(config, run, force=True)
    found = tree(server.sqlite(run))
    assert len(found) == 2
    history = server.connect(server.sqlite(run)).get_metric_history(found["train"].info.run_id, "policy/reward")
    assert len(history) == 3
    assert len(found["run"].inputs.dataset_inputs) == 1


def test_a_failed_stage_and_its_retry_are_seen(tmp_path):
    run, config = tmp_path / "run", settings()
    give_store(run)
    stage = Events(run, "train")
    stage.start()
    stage.failed({"code": 4, "line": "the judge is away"})
    (run / "failure.json").write_text(json.dumps({"code": 4}))
    runs.sync(config, run, force=True)
    found = tree(server.sqlite(run))
    assert (found["run"].info.status, found["train"].info.status) == ("FAILED", "FAILED")
    assert found["train"].data.tags["raro.failure.line"] == "the judge is away"
    (run / "failure.json").unlink()
    stage.start()
    runs.sync(config, run, force=True)
    found = tree(server.sqlite(run))
    assert (found["run"].info.status, found["train"].info.status) == ("RUNNING", "RUNNING")
    stage.done({}, 1.0)
    finish(run)
    runs.sync(config, run, force=True)
    found = tree(server.sqlite(run))
    assert {one.info.status for one in found.values()} == {"FINISHED"}
    assert not [name for name in found["train"].data.tags if name.startswith("raro.failure")], "that try is over"


def test_an_interrupted_run_is_killed_not_failed(tmp_path):
    run = tmp_path / "run"
    give_store(run)
    Events(run, "train").start()
    (run / "failure.json").write_text(json.dumps({"code": 130}))
    runs.sync(settings(), run, force=True)
    assert {found.info.status for found in tree(server.sqlite(run)).values()} == {"KILLED"}


def test_private_text_is_not_sent(tmp_path):
    run = tmp_path / "run"
    give_store(run)
    play(run)
    runs.sync(parse({"privacy": {"show_text": False}}), run, force=True)
    found = tree(server.sqlite(run))["run"]
    assert "train" not in {file.path for file in server.connect(server.sqlite(run)).list_artifacts(found.info.run_id)}


def evaluated(run: Path, *, text: bool = True) -> None:
    """What the step evaluate leaves of two test problems, the experts' answers in two of Unicode's own lines."""
    rows = [{"sampled": {"base": 0.0, "candidate": float(i)}, "strata": {"length": "short"}} for i in range(2)]
    if text:
        said = [
            {"question": f"Make {i}.", "expert": "1 -\u20281", "answers": {"base": "", "candidate": f"{i}"}} for i in range(2)
        ]
        rows = [one | row for one, row in zip(said, rows, strict=True)]
    (run / "evaluate").mkdir()
    (run / "evaluate" / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def tables_of(run: Path) -> set[str]:
    parent = tree(server.sqlite(run))["run"].info.run_id
    return {file.path for file in server.connect(server.sqlite(run)).list_artifacts(parent, "evaluation")}


@pytest.mark.check
def test_mlflow_evaluates_on_the_tables_of_an_evaluation(tmp_path):
    """load_table and genai.evaluate themselves, in a process of their own: their address is global."""
    run = tmp_path / "run"
    give_store(run)
    play(run)
    evaluated(run)
    for _ in range(2):  # sending again appends nothing
        runs.sync(settings(), run, force=True)
        (run / STATE).write_text(json.dumps(json.loads((run / STATE).read_text()) | {"sent": {}}))
        Events(run, "train").note("again")
    assert tables_of(run) == {f"evaluation/{name}.json" for name in ("items", "genai-base", "genai-candidate")}
    parent = tree(server.sqlite(run))["run"].info
    code = f"""
import mlflow
mlflow.set_tracking_uri({server.sqlite(run)!r})
mlflow.set_experiment(experiment_id={parent.experiment_id!r})
items = mlflow.load_table("evaluation/items.json", run_ids=[{parent.run_id!r}])
assert list(items["sampled/candidate"]) == [0.0, 1.0] and list(items["strata/length"]) == ["short", "short"], items
data = mlflow.load_table("evaluation/genai-candidate.json", run_ids=[{parent.run_id!r}])
assert list(data.columns) == ["inputs", "outputs", "expectations"] and len(data) == 2, data

@mlflow.genai.scorer
def right(inputs, outputs, expectations):
    return inputs["question"] == f"Make {{outputs}}." and expectations["expected_response"] == "1 -\\u20281"

result = mlflow.genai.evaluate(data, scorers=[right])
assert result.metrics["right/mean"] == 1.0, result.metrics
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr


def test_an_experts_line_may_hold_a_lines_end_of_unicodes_own(tmp_path):
    run = tmp_path / "run"
    give_store(run)
    play(run)
    evaluated(run)
    runs.sync(settings(), run, force=True)
    client, parent = server.connect(server.sqlite(run)), tree(server.sqlite(run))["run"].info.run_id
    table = json.loads(Path(client.download_artifacts(parent, "evaluation/genai-base.json")).read_text(encoding="utf-8"))
    assert [row[-1]["expected_response"] for row in table["data"]] == ["1 -\u20281"] * 2
    assert study._items(SimpleNamespace(folder=run), "sampled", "candidate") == [0.0, 1.0]


def test_tables_hold_no_text_where_none_may_be_shown(tmp_path):
    run = tmp_path / "run"
    give_store(run)
    play(run)
    evaluated(run, text=False)
    runs.sync(parse({"privacy": {"show_text": False}}), run, force=True)
    assert tables_of(run) == {"evaluation/items.json"}


def test_an_outage_loses_nothing(tmp_path):
    """The store's folder is blocked by a file; later it is not."""
    (tmp_path / "store").write_text("in the way")
    run, config = tmp_path / "run", settings(uri=f"sqlite:///{tmp_path}/store/mlflow.db")
    play(run)
    assert runs.sync(config, run, force=True) is None
    assert runs.sync(config, run, force=True) is None
    notes = [event for event in events.read(run)[0] if event["kind"] == "note"]
    assert len(notes) == 1, "told once for each outage"
    assert notes[0]["level"] == "warning"
    with pytest.raises(ServiceFailed, match="MLflow at 'sqlite:"):
        runs.sync(settings(uri=config.tracking.uri, on_outage="stop"), run, force=True)
    (tmp_path / "store").unlink()
    assert runs.sync(config, run, force=True) > 0
    assert tree(config.tracking.uri)["train"].data.metrics["critic/reward"] == 0.8


def test_a_store_that_was_removed_is_filled_again(tmp_path):
    run, config = tmp_path / "run", settings()
    give_store(run)
    play(run)
    runs.sync(config, run, force=True)
    (run / server.DATABASE).unlink()
    give_store(run)
    runs.sync(config, run, force=True)
    assert tree(server.sqlite(run))["train"].data.metrics["policy/reward"] == 0.2


def test_how_a_store_is_opened_is_no_part_of_its_name(tmp_path):
    run = tmp_path / "run"
    give_store(run)
    config = settings(uri=f"sqlite:///{run / server.DATABASE}?timeout=20")
    play(run)
    assert runs.sync(config, run, force=True) > 0
    before = read_json(run / STATE)["parent"]
    runs.sync(config, run, force=True)
    assert before and read_json(run / STATE)["parent"] == before, "it was not taken for lost"
    assert (run / server.ARTIFACTS).is_dir()


@pytest.mark.parametrize("shell", [None, "sqlite:///shell.db"])
@pytest.mark.parametrize("process", [None, "sqlite:///process.db"])
def test_mlflows_global_address_is_put_back_where_it_was(monkeypatch, shell, process):
    import mlflow

    mlflow.set_tracking_uri(process)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # where MLflow wrote it
    if shell:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", shell)
    with pytest.raises(KeyError), server.everywhere("sqlite:///block.db"):
        assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///block.db"
        raise KeyError
    assert os.environ.get("MLFLOW_TRACKING_URI") == shell
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert mlflow.is_tracking_uri_set() == bool(process)
    if process:
        assert mlflow.get_tracking_uri() == process
    mlflow.set_tracking_uri(None)


def test_two_threads_do_not_share_mlflows_global_address(monkeypatch):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found, entered = {}, threading.Event()

    def second() -> None:
        with server.everywhere("sqlite:///second.db"):
            entered.set()
            found["second"] = mlflow.get_tracking_uri()

    with server.everywhere("sqlite:///first.db"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
        found["first"] = mlflow.get_tracking_uri()
    thread.join()
    assert found == {"first": "sqlite:///first.db", "second": "sqlite:///second.db"}
    assert not mlflow.is_tracking_uri_set()


def test_the_runs_of_kubeflows_plugin_are_used(tmp_path, monkeypatch):
    give_store(tmp_path)
    uri = server.sqlite(tmp_path)
    client = server.connect(uri)
    experiment = client.create_experiment("platform", artifact_location=str(tmp_path / "artifacts"))
    parent = client.create_run(experiment, tags={"kfp.pipeline_run_id": "x"}).info.run_id
    within = parent
    for _ in ("exit-handler-1", "proceed", "training"):
        within = client.create_run(experiment, tags={"mlflow.parentRunId": within}).info.run_id
        client.set_terminated(within)
    task = client.create_run(experiment, tags={"mlflow.parentRunId": within}).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_RUN_ID", task)
    run = tmp_path / "run"
    play(run)
    runs.sync(settings(), run, force=True)
    assert os.environ["MLFLOW_RUN_ID"] == task
    assert client.get_run(task).data.metrics["policy/reward"] == 0.2
    assert client.get_run(task).info.status == "RUNNING", "the plugin closes its runs"
    assert client.get_run(parent).data.params["raro.tau_pol"] == "0.6"
    assert client.get_run(parent).data.tags["raro.data_digest"] == "ab" * 32
    assert client.get_run(within).data.params == {}, "a stage's run is not the whole run's"
    assert len(client.search_runs([experiment])) == 5


def test_a_resumed_run_fills_the_runs_that_kubeflows_plugin_makes_for_it(tmp_path, monkeypatch):
    """`raro submit --resume`: another run of Kubeflow, thus another parent with other nested runs, over the same folder."""
    give_store(tmp_path)
    uri, run = server.sqlite(tmp_path), tmp_path / "run"
    client = server.connect(uri)
    experiment = client.create_experiment("platform", artifact_location=str(tmp_path / "artifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    def begun() -> str:
        return client.create_run(experiment).info.run_id

    def as_task(parent: str) -> str:
        task = client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", task)
        return task

    first = begun()
    ingested, trained = as_task(first), Events(run, "train")
    Events(run, "ingest").start()
    Events(run, "ingest").done({}, 1.0)
    runs.sync(settings(), run)
    killed = as_task(first)
    trained.start(2)
    trained.metrics(1, {"policy/reward": 0.1})
    trained.failed({"code": 4, "line": "the judge is away"})
    runs.sync(settings(), run)
    for one in (ingested, killed, first):
        client.set_terminated(one, "FAILED")
    second = begun()
    skipped = as_task(second)
    (run / "config.json").write_text("{}\n")
    Events(run, "ingest").skipped()
    runs.sync(settings(), run)
    resumed = as_task(second)
    trained.start(2)
    trained.metrics(2, {"policy/reward": 0.2})
    trained.done({}, 1.0)
    runs.sync(settings(), run)
    assert runs.open_run(settings(), run).run_id == second
    assert client.get_run(second).data.params["raro.tau_pol"] == "0.6"
    assert {file.path for file in client.list_artifacts(second)} == {"config.json"}
    assert [point.step for point in client.get_metric_history(resumed, "policy/reward")] == [1, 2]
    assert client.get_run(killed).data.tags["raro.failure.line"] == "the judge is away"
    assert not [name for name in client.get_run(resumed).data.tags if name.startswith("raro.failure")]
    assert client.get_run(skipped).data.metrics["seconds"] == 1.0
    assert [point.step for point in client.get_metric_history(killed, "policy/reward")] == [1]
    assert {client.get_run(one).info.status for one in (ingested, killed, first)} == {"FAILED"}, "a closed run stays closed"
    assert len(client.search_runs([experiment])) == 6


def test_without_the_plugin_our_parent_is_tagged_with_kubeflows_run(tmp_path, monkeypatch):
    """On a cluster, by the last one that went on in the folder; on this machine a job's id names nothing."""
    config, run = load("countdown-mini"), tmp_path / "run"
    claim(config, run)
    give_store(run)
    monkeypatch.setenv(kubeflow.JOB, "")  # put back afterwards
    for pod, job, tag in (("", "here", None), ("pod", "first", "first"), ("pod", "second", "second")):
        if pod:
            monkeypatch.setenv("KFP_POD_NAME", pod)
        perform("preflight", config.canonical(), str(run), job, SimpleNamespace(path=str(tmp_path / "manifest"), metadata={}))
        runs.sync(config, run, force=True)
        parent = tree(server.sqlite(run))["run"]
        assert parent.data.tags.get("kfp.pipeline_run_id") == tag


def bare(tmp_path: Path, code: str) -> str:
    """Runs code in a process that finds nothing but the standard library, PyYAML and raro."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "yaml").symlink_to(Path(yaml.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{tmp_path / 'bare'}"}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_mlflow_nothing_is_sent_and_one_note_says_so(tmp_path):
    run = tmp_path / "run"
    play(run)
    code = f"""
from raro.config import Config
from raro.errors import BadInput
from raro.tracking import runs, server
assert not server.installed()
print(runs.sync(Config(), {str(run)!r}, force=True), runs.sync(Config(), {str(run)!r}, force=True))
try:
    runs.open_run(Config(), {str(run)!r})
except BadInput as error:
    print(error.line)
"""
    assert bare(tmp_path, code) == "None None\nmlflow is not installed, and the model registry needs it\n"
    assert [event["text"] for event in events.read(run)[0] if event["kind"] == "note"] == [
        "mlflow is not installed: nothing is sent to it; events.jsonl keeps everything"
    ]


@pytest.mark.parametrize("uri", ["", "http://127.0.0.1:9"])
def test_a_short_step_does_not_pay_for_mlflows_client(tmp_path, uri):
    """Its records are left to the next that is longer, or to the end of the run."""
    run = tmp_path / "run"
    play(run)
    code = f"""
import sys
from raro.config import parse
from raro.tracking import runs
assert runs.sync(parse({{"tracking": {{"uri": {uri!r}}}}}), {str(run)!r}) is None
assert "mlflow" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert not (run / server.DATABASE).exists()


@pytest.mark.check
def test_opening_a_store_prints_nothing(tmp_path):
    run = tmp_path / "run"
    play(run)
    code = f"from raro.config import Config; from raro.tracking import runs; runs.sync(Config(), {str(run)!r}, force=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"tracking": {"uri": "/somewhere/mlruns"}}, "is not a tracking server"),
        ({"tracking": {"uri": "htp://host"}}, "is not a tracking server"),
        ({"tracking": {"uri": "http://host"}, "registry": {"store": "/shelf"}}, "takes only s3://"),
        ({"registry": {"model": "a/b"}}, "cannot name a model"),
        ({"registry": {"model": ".."}}, "cannot name a model"),
        ({"registry": {"model": "one\ntwo"}}, "cannot name a model"),
        ({"registry": {"model": "x" * 201}}, "cannot name a model"),
        ({"tracking": {"experiment": " "}}, "cannot name an experiment"),
        ({"tracking": {"experiment": "x" * 501}}, "cannot name an experiment"),
    ],
)
def test_addresses_that_can_never_work_are_found_early(data, says):
    with pytest.raises(BadInput, match=says):
        server.check(parse(data))


def test_preflight_asks_for_a_server_only_where_it_must():
    server.check(settings(uri="http://127.0.0.1:9"))
    with pytest.raises(ServiceFailed, match="does not answer"):
        server.check(settings(uri="http://127.0.0.1:9", on_outage="stop"))


def test_an_experiment_that_was_deleted_is_told_before_anything_is_trained(tmp_path):
    """MLflow takes no run into it: no outage, and nothing could be registered in the end."""
    give_store(tmp_path)
    config = settings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="gone")
    client = server.connect(config.tracking.uri)
    client.delete_experiment(number := client.create_experiment("gone"))
    Events(tmp_path / "run", "ingest").start()
    with pytest.raises(BadInput, match="'gone' was deleted in MLflow"):
        runs.sync(config, tmp_path / "run", force=True)
    client.restore_experiment(number)
    assert runs.sync(config, tmp_path / "run", force=True)


def test_ingest_goes_on_while_the_server_is_away_but_an_outage_opens_no_gate(tmp_path):
    """Nothing listens at the address."""
    away = [f"tracking.uri=http://127.0.0.1:{free_port()}", "resources.ingest_processes=1"]
    config = load("countdown-mini", [*away, "demonstrations.drift_against=''"])
    run_step("preflight", config, tmp_path)
    assert run_step("ingest", config, tmp_path)["verdict"] == "proceed"
    notes = [event["text"] for event in events.read(tmp_path)[0] if event["kind"] == "note" and event["stage"] == "ingest"]
    (told,) = [text for text in notes if "whether this was trained before is unknown" in text]
    assert told.startswith(f"MLflow at '{config.tracking.uri}' failed: it cannot be reached: Connection refused;")
    with pytest.raises(ServiceFailed, match="is to be compared with the champion's.*drift_against"):
        run_step("ingest", load("countdown-mini", away), tmp_path / "compared")


def test_the_line_that_opens_mlflow_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = shlex.split(server.ui_command(load("countdown-mini"), tmp_path / "first run"))
    assert line == ["mlflow", "ui", "--backend-store-uri", "sqlite:///first run/mlflow.db"]


def test_passwords_are_not_shown():
    assert server.shown("https://user:secret@host/x") == "https://...@host/x"
    assert server.shown("at mysql://user:se@cret@host/x, not //h") == "at mysql://...@host/x, not //h"


# ------------------------------------------------------------------------------------------------------------- a real server


@pytest.mark.check
def test_a_server_that_was_away_gets_everything(tmp_path):
    port = free_port()
    run, config = tmp_path / "run", settings(uri=f"http://127.0.0.1:{port}")
    play(run)
    started = time.monotonic()
    assert runs.sync(config, run) is None
    assert time.monotonic() - started < 60
    with mlflow_server(tmp_path, port):
        server.check(settings(uri=config.tracking.uri, on_outage="stop"))
        assert runs.sync(config, run) > 0
        found = tree(config.tracking.uri)
        assert found["train"].data.metrics["policy/reward"] == 0.2
        client = server.connect(config.tracking.uri)
        assert "evaluation.json" in {file.path for file in client.list_artifacts(found["run"].info.run_id)}


@pytest.mark.check
def test_what_an_earlier_run_has_settled_is_not_done_again(tmp_path, monkeypatch):
    """A schedule whose data has not changed, and whose candidate was rejected: the next run ends after ingest and says why. The
    server knows nothing of it after a change of seed or base."""
    port = free_port()

    def ingested(name: str, seed: int = 0) -> dict:
        config = load(
            "countdown-mini", [f"tracking.uri=http://127.0.0.1:{port}", f"seed={seed}", "demonstrations.max_rows=300"]
        )
        outputs = run_step("ingest", config, tmp_path / name)
        if outputs["verdict"] == "nothing-new":
            run_step("record", config, tmp_path / name)
        return outputs

    with mlflow_server(tmp_path, port):
        assert ingested("first")["verdict"] == "proceed"
        first, config = tmp_path / "first", load(tmp_path / "first" / "config.json")
        write_json(first / "warmstart" / "manifest.json", {"given": {"base": base_digest(config, first)}})
        write_json(first / "evaluation.json", {"decision": "reject"})
        finish(first)
        runs.sync(config, first)
        second = ingested("second")
        assert (second["verdict"], second["settled"]) == ("nothing-new", "run 'first', which ended with reject")
        record = read_json(tmp_path / "second" / "record" / "record.json")
        assert record["outcome"] == "nothing-new" and "those of run 'first', which ended with reject" in record["reasons"][0]
        assert ingested("third", seed=1)["verdict"] == "proceed"
        monkeypatch.setattr("raro.registry.bases.base_digest", lambda *_: "another")
        assert ingested("fourth")["verdict"] == "proceed"
