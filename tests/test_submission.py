"""`raro submit` and `raro schedule` against a server that speaks Kubeflow's API (kfp_server.py), its failures included."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from kfp_server import graph, kfp_server
from manifests import ROOT, released_lock

from raro import cli
from raro.config import parse
from raro.errors import ServiceFailed
from raro.pipelines import images, reconcile, submit
from raro.pipelines.api import Kubeflow

TRACKING = "tracking.uri=http://mlflow:5000"
ON_A_GPU = ("--set", "resources.device=auto", "--set", "resources.processes=1")
SUBMIT = ("submit", "--set", TRACKING, *ON_A_GPU)


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Compiling is two thirds of each test's time, and gives the same file for the same profile and lock."""
    kept: dict[tuple, submit.Package] = {}
    compile_for = submit.package

    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        @contextlib.contextmanager
        def package(profile, lock):
            text = Path(lock).read_text(encoding="utf-8")
            if (key := (repr(profile), text)) not in kept:
                kept[key] = stack.enter_context(compile_for(profile, lock))
            yield kept[key]

        patch.setattr(submit, "package", package)
        patch.setattr(reconcile, "package", package)
        yield


@pytest.fixture
def server(monkeypatch):
    with kfp_server() as state:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", state.address)
        for variable in ("KF_PIPELINES_SA_TOKEN_PATH", "KF_PIPELINES_NAMESPACE", "SSL_CERT_FILE", "HTTP_PROXY", "http_proxy"):
            monkeypatch.delenv(variable, raising=False)
        yield state


@pytest.fixture(scope="module")
def lock(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("lock") / "images.lock.yaml"
    path.write_text(released_lock(), encoding="utf-8")
    return str(path)


@pytest.fixture
def send(lock, capsys):
    """Calls the command line; returns (exit code, what it printed, what it complained)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main([*arguments, "--images", lock])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def writes(server) -> list[str]:
    return [line for line in server.log if not line.startswith("GET")]


# ---------------------------------------------------------------------------------------------------------------------- submit


def test_a_run_is_started_with_digests_and_a_folder_of_its_own(server, send):
    code, out, err = send(*SUBMIT, "--service-account", "raro-runner")
    assert (code, err) == (0, "")
    (run,) = server.runs.values()
    assert run["service_account"] == "raro-runner" and re.fullmatch(r"countdown-mini-[0-9a-f]{8}", run["display_name"])
    given = run["runtime_config"]["parameters"]
    assert given["run"] == "/runs/" and json.loads(given["config"])["tracking"]["uri"] == "http://mlflow:5000"
    assert f"in /runs/{run['run_id']}" in out
    (version,) = server.versions.values()
    assert re.fullmatch(r"raro-retraining-[0-9a-f]{12}", version["name"])


def test_nothing_of_a_configuration_is_taken_for_a_template(server, send):
    """Kubeflow and Argo would put something in the place of what stands between two braces, in a parameter too."""
    name = "{{workflow.name}} {{=1}} {{$.x}} {{{"
    assert send(*SUBMIT, "--set", f"name='{name}'")[0] == 0
    (run,) = server.runs.values()
    config = run["runtime_config"]["parameters"]["config"]
    assert "{{" not in config and parse(config).name == name


def test_the_same_pipeline_is_uploaded_once_and_another_profile_is_another_version(server, send):
    for profile in ("gpu", "gpu", "cpu"):
        assert send(*SUBMIT, "--profile", profile)[0] == 0
    assert len(server.pipelines) == 1 and len(server.versions) == 2 and len(server.experiments) == 1 and len(server.runs) == 3


def test_two_first_submits_at_once_use_what_the_other_made(server, send, lock):
    """Both have looked and found neither pipeline, version nor experiment, before either makes it."""
    assert send(*SUBMIT, "--dry-run")[0] == 0
    server.together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as both:
        codes = list(both.map(lambda seed: cli.main([*SUBMIT, "--set", f"seed={seed}", "--images", lock]), (1, 2)))
    assert codes == [0, 0]
    assert [len(shelf) for shelf in (server.pipelines, server.versions, server.experiments, server.runs)] == [1, 1, 1, 2]
    assert len(writes(server)) == 8, "each asked for all four"


def test_what_exists_and_is_not_shown_is_told(server, send):
    server.experiments["hidden"] = {"display_name": "raro", "experiment_id": "hidden"}
    server.hidden = "raro"
    code, _, err = send(*SUBMIT, "--experiment", "raro")
    assert code == 4 and "says that experiment 'raro' exists, and does not show it" in err


def test_dry_run_sends_nothing(server, send):
    code, out, err = send(*SUBMIT, "--dry-run")
    assert (code, err) == (0, "") and writes(server) == []
    assert "(new)" in out and "nothing was sent" in out and "/runs/<id of the run>" in out


def test_resuming_goes_on_in_the_same_folder(server, send):
    """The folder of the first run, also where the run that is named went on in it itself."""
    assert send(*SUBMIT)[0] == 0
    (first,) = server.runs
    for _ in range(2):
        latest = list(server.runs)[-1]
        server.runs[latest]["state"] = "FAILED"
        assert send(*SUBMIT, "--resume", latest)[0] == 0
    places = [run["runtime_config"]["parameters"]["run"] for run in server.runs.values()]
    assert places == ["/runs/", f"/runs/{first}", f"/runs/{first}"]


def test_no_second_run_goes_on_in_a_folder(server, send):
    """Whichever of the folder's runs is named; what others do in theirs is nobody's business."""
    assert send(*SUBMIT)[0] == 0
    (first,) = server.runs
    server.runs[first]["state"] = "FAILED"
    assert send(*SUBMIT, "--resume", first)[0] == 0
    second = list(server.runs)[-1]
    for _ in range(3):
        assert send(*SUBMIT)[0] == 0
    code, _, err = send(*SUBMIT, "--resume", first)
    assert code == 4 and f"run '{second}' still goes on (pending)" in err and len(server.runs) == 5
    server.runs[second]["state"] = "FAILED"
    server.runs[first]["state"] = "RUNNING"  # by Kubeflow's Retry
    code, _, err = send(*SUBMIT, "--resume", second)
    assert code == 4 and f"run '{first}' still goes on (running)" in err and len(server.runs) == 5
    server.runs[first]["state"] = "FAILED"
    assert send(*SUBMIT, "--resume", first)[0] == 0


@pytest.mark.parametrize("id", ["", "abc/", "../etc", "run 7", "run-9999"])
def test_what_is_no_run_is_not_resumed(server, send, id):
    code, _, err = send(*SUBMIT, "--resume", id, "--dry-run")
    assert code == 2 and ("is no id of a run" in err or "Run run-9999 not found" in err) and not server.runs


def test_a_run_that_goes_on_and_one_of_another_pipeline_are_not_resumed(server, send):
    assert send(*SUBMIT)[0] == 0
    (first,) = server.runs
    code, _, err = send(*SUBMIT, "--resume", first)
    assert code == 4 and f"run '{first}' still goes on (pending)" in err and len(server.runs) == 1
    server.runs[first] |= {"state": "SUCCEEDED", "runtime_config": {"parameters": {"text": "x"}}}
    code, _, err = send(*SUBMIT, "--resume", first)
    assert code == 2 and "is a run of another pipeline" in err and len(server.runs) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "tracking.uri is empty"),
        (["--set", "tracking.uri=sqlite:///x.db"], "is not a server"),
        (["--set", TRACKING, "--set", "base.uri=/home/me/model"], "base.uri '/home/me/model' lies on this machine"),
        (["--set", TRACKING, "--set", "demonstrations.source=answers.jsonl"], "lies on this machine, where no pod sees it"),
        (["--set", TRACKING, "--set", "base.uri=/runs/../home/model"], "lies on this machine"),
        (["--set", TRACKING, "--set", "base.uri=hf://org/name@main"], "base.uri 'hf://org/name@main' lies on the hub"),
        (["--set", TRACKING, "--set", "demonstrations.forget=forgotten.txt"], "demonstrations.forget 'forgotten.txt' lies on"),
        (["--set", TRACKING, "--set", "demonstrations.benchmarks=[tests.jsonl#question]"], "demonstrations.benchmarks[0]"),
        (["--set", TRACKING, "--set", "demonstrations.benchmarks=[bench.jsonl]"], "benchmarks[0] 'bench.jsonl' lies on this"),
        (["--set", TRACKING, "--set", "demonstrations.drift_against=data.json"], "demonstrations.drift_against 'data.json'"),
        (["--set", TRACKING, "--set", "evaluation.rubrics=cases.jsonl"], "evaluation.rubrics 'cases.jsonl' lies on"),
        (["--set", TRACKING, "--set", "judge={kind: model, model: /home/me/judge}"], "judge.model '/home/me/judge' lies on"),
        (["--set", TRACKING, "--set", "judge.ca=/etc/raro/authority/ca.crt"], "judge.ca '/etc/raro/authority/ca.crt' lies on"),
        (
            ["--set", TRACKING, "--set", "registry.store=/runs/models"],
            "registry.store '/runs/models' is a folder, and a tracking",
        ),
        (["--set", TRACKING, "--set", "registry.store=models"], "remedy: give s3://, or leave it empty: models then go"),
        (["--set", "tracking.uri=http://localhost:5000"], "tracking.uri 'http://localhost:5000' is each pod itself"),
        (["--set", "tracking.uri=http://[::1]:5000"], "tracking.uri 'http://[::1]:5000' is each pod itself"),
        (
            ["--set", TRACKING, "--set", "judge={kind: endpoint, model: a/b, endpoint: 'http://127.0.0.1:8000/v1'}"],
            "judge.endpoint",
        ),
        (["--set", TRACKING, "--set", "registry.policy=policy.yaml"], "registry.policy 'policy.yaml' lies on this machine"),
        (["--set", TRACKING, "--set", "registry.policy=policy.yaml"], "remedy: give a path below /runs/, the volume"),
        (
            ["--set", TRACKING, "--set", "registry.signing_key=file:/home/me/key.pem"],
            "registry.signing_key lies on this machine",
        ),
        (["--set", TRACKING, "--set", "notify.webhook=file:/home/me/hook"], "notify.webhook lies on this machine"),
        (["--set", TRACKING, "--set", "resources.device=cuda"], "preflight runs on a node without a GPU"),
        (
            ["--set", TRACKING, *ON_A_GPU, "--set", "resources.processes=4"],
            "resources.processes is 4, and the profile gives train 1 GPUs",
        ),
        (["--set", TRACKING], "resources.device is cpu, and the profile gives train 1 GPUs"),  # the miniature's own
        (["--set", TRACKING, "--profile", "tpu"], "profile 'tpu' does not exist"),
        (["--set", TRACKING, "--endpoint", "kubeflow.example.org"], "'kubeflow.example.org' is not Kubeflow's address"),
        (["--set", TRACKING, "--endpoint", "http://[x"], "'http://[x' is not Kubeflow's address"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(server, send, arguments, line):
    code, _, err = send("submit", *arguments)
    assert code == 2 and line in err and "remedy: " in err and server.log == []


def test_what_every_pod_sees_is_taken(server, send, tmp_path):
    profile = tmp_path / "profile.yaml"
    profile.write_text("authority: raro-authority\n")
    config = tmp_path / "config.yaml"
    config.write_text("""
base: {uri: "models:/raro-model@champion"}
demonstrations: {source: "/runs/data/*.jsonl", forget: s3://raro/forgotten.txt, benchmarks: ["s3://raro/tests.jsonl#question"]}
evaluation: {rubrics: s3://raro/cases.jsonl}
judge: {kind: endpoint, model: some/name, endpoint: "https://judge.local/v1", ca: /etc/raro/authority/ca.crt}
registry: {store: s3://raro/store, policy: /runs/policy.yaml, signing_key: file:/runs/keys/pipeline.pem}
notify: {webhook: "env:TEAM_HOOK"}
tracking: {uri: "http://mlflow:5000"}
""")
    code, _, err = send("submit", str(config), "--profile", str(profile), "--dry-run")
    assert (code, err) == (0, "")


def test_a_lock_that_is_not_resolved_is_refused(server, tmp_path, capsys):
    path = tmp_path / "lock.yaml"
    path.write_text(re.sub(r"(registry|digest): \S+", r"\1: unresolved", (ROOT / images.LOCK).read_text(encoding="utf-8")))
    assert cli.main([*SUBMIT, "--images", str(path)]) == 2
    assert "has no digest yet" in capsys.readouterr().err and server.log == []


def test_watching_tells_each_task_once_and_ends_with_the_run(server, send, monkeypatch):
    monkeypatch.setattr(submit, "POLL", 0.01)
    started = graph("RUNNING", train_driver="RUNNING")
    running = graph("RUNNING", train_driver="SUCCEEDED", train="RUNNING")
    done = graph("SUCCEEDED", train_driver="SUCCEEDED", train="SUCCEEDED", register_2="SUCCEEDED", record="SKIPPED")
    server.scripts["run-0004"] = iter([started, running, running, done])
    code, out, err = send(*SUBMIT, "--watch")
    assert (code, err) == (0, ""), out
    assert out.splitlines()[1:] == [
        "train       running",
        "train       succeeded",
        "register    succeeded",
        "run run-0004 succeeded",
    ]


@pytest.mark.parametrize(
    ("end", "code", "line"),
    [
        (graph("FAILED", finish="FAILED", train="FAILED", evaluate="RUNTIME_STATE_UNSPECIFIED"), 4, "failed in train\n"),
        (graph("FAILED", train_driver="FAILED", train="RUNTIME_STATE_UNSPECIFIED"), 4, "failed before train\n"),
        (graph("FAILED", training_driver="FAILED"), 4, "failed before training\n"),
        (graph("FAILED"), 4, "run run-0004 failed\n"),
        (graph("CANCELED", train="FAILED"), 130, "was canceled"),
    ],
)
def test_watching_a_run_that_ends_badly(server, send, monkeypatch, end, code, line):
    monkeypatch.setattr(submit, "POLL", 0.01)
    server.scripts["run-0004"] = iter([end])
    found, out, err = send(*SUBMIT, "--watch")
    assert found == code and line in err and "unspecified" not in out


def test_watching_tells_titles_and_errors_where_they_come(server, send, monkeypatch):
    monkeypatch.setattr(submit, "POLL", 0.01)
    task = {"task_id": "1", "display_name": "train: plays", "state": "FAILED", "error": {"code": 2, "message": "OOMKilled"}}
    server.scripts["run-0004"] = iter([{"state": "FAILED", "run_details": {"task_details": [task]}}])
    code, out, err = send(*SUBMIT, "--watch")
    assert code == 4 and "train       failed" in out and "failed in train: OOMKilled" in err


def test_watching_survives_an_outage(server, send, monkeypatch):
    monkeypatch.setattr(submit, "PATIENCE", 60.0)
    monkeypatch.setattr(submit, "POLL", 0.05)
    assert send(*SUBMIT)[0] == 0
    server.scripts["run-0004"] = iter([{"state": "SUCCEEDED"}])
    server.down = True
    threading.Timer(0.5, lambda: setattr(server, "down", False)).start()
    assert submit.follow(Kubeflow(), "run-0004") == 0
    server.down = True
    monkeypatch.setattr(submit, "PATIENCE", 0.0)
    with pytest.raises(ServiceFailed, match="run run-0004 goes on"):
        submit.follow(Kubeflow(), "run-0004")


def test_watching_survives_a_token_that_expires(server, send, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(submit, "PATIENCE", 60.0)
    monkeypatch.setattr(submit, "POLL", 0.05)
    assert send(*SUBMIT)[0] == 0
    server.scripts["run-0004"] = iter([{"state": "SUCCEEDED"}])
    (token := tmp_path / "token").write_text("old")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    server.token = "new"
    threading.Timer(0.5, lambda: token.write_text("new")).start()
    assert submit.follow(Kubeflow(), "run-0004") == 0
    said = capsys.readouterr().err
    assert said.count("refuses the token") == 1 and "renew the token" in said
    monkeypatch.setattr(submit, "PATIENCE", 0.0)
    for change in ({"token": "newer"}, {"page": True}):
        for name, value in change.items():
            setattr(server, name, value)
        with pytest.raises(ServiceFailed, match="run run-0004 goes on") as left:
            submit.follow(Kubeflow(), "run-0004")
        assert left.value.code == 4


# --------------------------------------------------------------------------------------------------------- a server's failures


def test_nobody_answers(server, send, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://user:hunter2@127.0.0.1:1")
    code, _, err = send(*SUBMIT)
    assert code == 4 and "Kubeflow at 'http://...@127.0.0.1:1' does not answer" in err and "Traceback" not in err
    assert "hunter2" not in err


def test_the_token_has_expired_and_a_new_one_is_read(server, send, monkeypatch, tmp_path):
    server.token = "new"
    token = tmp_path / "token"
    token.write_text("old\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    code, _, err = send(*SUBMIT)
    assert code == 2 and "refuses the token" in err and "KF_PIPELINES_SA_TOKEN_PATH" in err and server.runs == {}
    api = Kubeflow()
    token.write_text("new\n")  # as Kubernetes renews it, under a client that goes on
    assert api.experiment("raro", create=False) is None
    for spoil in (lambda: token.write_bytes(b"\xff"), token.unlink):
        spoil()
        code, _, err = send(*SUBMIT)
        assert code == 2 and f"the token's file '{token}' cannot be read" in err


def test_a_login_page_is_not_the_api(server, send):
    server.page = True
    code, _, err = send(*SUBMIT)
    assert code == 2 and "perhaps a page to log in" in err


def test_a_server_that_fails_is_worth_another_try(server, send):
    server.fail_after = 0
    code, _, err = send(*SUBMIT)
    assert code == 4 and "connection to the database was lost" in err and "try again" in err


# ------------------------------------------------------------------------------------------------------------------- schedules


@pytest.fixture
def schedule(tmp_path):
    """Writes a schedule.yaml and returns its path."""

    def write(*entries: dict, **common: object) -> str:
        path = tmp_path / "schedule.yaml"
        body = {"owner": "team", "profile": "cpu", **common}
        path.write_text(yaml.safe_dump({**body, "schedules": [{"set": [TRACKING], **entry} for entry in entries]}))
        return str(path)

    return write


NIGHTLY = {"name": "nightly", "cron": "0 0 2 * * *"}
WEEKLY = {"name": "weekly", "cron": "0 0 4 * * 0", "enabled": False}


def apply(send, path: str, *more: str) -> tuple[int, str, str]:
    return send("schedule", "apply", "--file", path, *more)


def standing(server) -> dict[str, tuple[str, str]]:
    """{name: (cron, status)} of what is on the server."""
    return {job["display_name"]: (job["trigger"]["cron_schedule"]["cron"], job["status"]) for job in server.jobs.values()}


def test_applying_creates_once_and_then_agrees(server, send, schedule):
    path = schedule(NIGHTLY, WEEKLY, experiment="nights", service_account="raro-runner")
    code, out, err = apply(send, path, "--dry-run")
    assert (code, err) == (0, "") and writes(server) == [] and "+ team-nightly: create" in out
    assert "at 02:00:00, every day (UTC)" in out and len(re.findall(r"02:00:00", out)) == 4 and "nothing was changed" in out
    assert apply(send, path)[0] == 0
    assert standing(server) == {"team-nightly": ("0 0 2 * * *", "ENABLED"), "team-weekly": ("0 0 4 * * 0", "DISABLED")}
    job = next(iter(server.jobs.values()))
    assert (job["max_concurrency"], job["no_catchup"], job["service_account"]) == ("1", True, "raro-runner")
    before = len(writes(server))
    code, out, _ = apply(send, path)
    assert code == 0 and len(writes(server)) == before and "= team-nightly: unchanged" in out


def test_a_change_is_a_swap_in_which_two_are_never_enabled(server, send, schedule):
    apply(send, schedule(NIGHTLY))
    (old,) = server.jobs
    server.log.clear()
    code, out, _ = apply(send, schedule({**NIGHTLY, "cron": "0 30 3 * * *", "set": [TRACKING, "raro.steps=7"]}))
    assert code == 0 and "~ team-nightly: replace" in out
    assert 'cron: "0 0 2 * * *", now "0 30 3 * * *"' in out and "parameters.config.raro.steps:" in out
    (new,) = server.jobs
    assert writes(server) == [
        "POST /recurringruns",
        f"POST /recurringruns/{old}:disable",
        f"POST /recurringruns/{new}:enable",
        f"DELETE /recurringruns/{old}",
    ]
    assert standing(server) == {"team-nightly": ("0 30 3 * * *", "ENABLED")}


@pytest.mark.parametrize("survived", range(4))
def test_a_swap_cut_off_anywhere_is_finished_by_the_next(server, send, schedule, survived):
    apply(send, schedule(NIGHTLY))
    path = schedule({**NIGHTLY, "cron": "0 30 3 * * *"})
    server.fail_after = survived
    code, _, err = apply(send, path)
    assert code == 4 and "try again" in err
    assert sum(job["status"] == "ENABLED" for job in server.jobs.values()) <= 1
    server.fail_after = None
    assert apply(send, path)[0] == 0
    assert standing(server) == {"team-nightly": ("0 30 3 * * *", "ENABLED")}
    assert "unchanged" in apply(send, path)[1]


@pytest.mark.parametrize("survived", [0, 1, 2, 3, None])
def test_an_unchanged_one_is_made_anew_by_the_same_swap(server, send, schedule, survived):
    """Kubeflow keeps the pipeline in a schedule as it translated it then; an upgrade reaches only one that is made again."""
    path = schedule(NIGHTLY)
    apply(send, path)
    (old,) = server.jobs
    assert "~ team-nightly: replace\n" in apply(send, path, "--again", "--dry-run")[1] and set(server.jobs) == {old}
    server.log.clear()
    server.fail_after = survived
    code, out, _ = apply(send, path, "--again")
    assert "made anew" in out and sum(job["status"] == "ENABLED" for job in server.jobs.values()) <= 1
    if survived is None:
        (new,) = server.jobs
        swap = [f"POST /recurringruns/{old}:disable", f"POST /recurringruns/{new}:enable", f"DELETE /recurringruns/{old}"]
        assert code == 0 and writes(server) == ["POST /recurringruns", *swap]
    server.fail_after = None
    if survived:  # cut off when the new one stood: without the flag, too, the new one is kept
        assert "finish" in apply(send, path)[1]
        assert old not in server.jobs
    assert standing(server) == {"team-nightly": ("0 0 2 * * *", "ENABLED")}
    if survived:
        assert "replace" in apply(send, path, "--again")[1]


def test_the_default_service_account_is_nobodys_edit(server, send, schedule):
    """The server writes down the name of its default where none is given."""
    path = schedule(NIGHTLY)
    assert apply(send, path)[0] == 0
    (job,) = server.jobs.values()
    assert job["service_account"] == "pipeline-runner" and "= team-nightly: unchanged" in apply(send, path)[1]
    job["status"] = "DISABLED"
    _, out, _ = apply(send, path, "--dry-run")
    assert "switch, changed by hand" in out and "enabled: false, now true" in out and "service_account" not in out
    assert apply(send, path, "--overwrite")[0] == 0 and len(server.jobs) == 1
    for account, now in (("raro-runner", 'none, now "raro-runner"'), ("", '"raro-runner", now none')):
        code, out, _ = apply(send, schedule(NIGHTLY, service_account=account))
        assert code == 0 and "replace\n" in out and f"service_account: {now}" in out
        (job,) = server.jobs.values()
        assert job["service_account"] == (account or "pipeline-runner")
        assert "unchanged" in apply(send, schedule(NIGHTLY, service_account=account))[1]
    assert apply(send, schedule())[0] == 0 and not server.jobs


def test_what_is_no_longer_in_the_file_is_removed_and_others_stay(server, send, schedule):
    apply(send, schedule(NIGHTLY, WEEKLY))
    apply(send, schedule({"name": "theirs", "cron": "0 0 1 * * *"}, owner="others"))
    code, out, _ = apply(send, schedule(WEEKLY))
    assert code == 0 and "- team-nightly: remove" in out
    assert set(standing(server)) == {"team-weekly", "others-theirs"}


@pytest.mark.parametrize(
    ("edit", "shown"),
    [
        (lambda job: job.update(status="DISABLED"), "enabled: false, now true"),
        (lambda job: job["trigger"]["cron_schedule"].update(cron="0 0 5 * * *"), 'cron: "0 0 5 * * *", now "0 0 2 * * *"'),
        (lambda job: job.update(no_catchup=False), "no_catchup: false, now true"),
        (lambda job: job["runtime_config"]["parameters"].update(config="{}"), "parameters.config."),
    ],
)
def test_a_schedule_edited_by_hand_is_shown_and_left_alone(server, send, schedule, edit, shown):
    path = schedule(NIGHTLY, WEEKLY)
    apply(send, path)
    edit(next(job for job in server.jobs.values() if job["display_name"] == "team-nightly"))
    before = len(writes(server))
    code, out, err = apply(send, path)
    assert code == 2 and "was changed by hand on the server; nothing was changed now" in err and len(writes(server)) == before
    assert "team-nightly" in out and "changed by hand" in out and shown in out
    assert apply(send, path, "--dry-run")[0] == 0
    assert apply(send, path, "--overwrite")[0] == 0
    assert standing(server)["team-nightly"] == ("0 0 2 * * *", "ENABLED") and len(server.jobs) == 2


def test_a_name_that_somebody_else_took_is_refused_and_nothing_half_applied(server, send, schedule):
    apply(send, schedule(NIGHTLY))
    job = next(iter(server.jobs.values()))
    job["description"] = "made in the browser"
    before = len(writes(server))
    code, _, err = apply(send, schedule({"name": "another", "cron": "0 0 1 * * *"}, NIGHTLY))
    assert code == 2 and "a schedule named 'team-nightly' stands on the server and is not ours" in err
    assert len(writes(server)) == before


@pytest.mark.parametrize(
    ("entry", "common", "line"),
    [
        ({"cron": "0 2 * * *"}, {}, "schedule 'nightly': cron '0 2 * * *' has five fields"),
        ({"config": "no-such"}, {}, "schedule 'nightly': config 'no-such' does not exist"),
        ({"set": []}, {}, "schedule 'nightly': tracking.uri is empty"),
        ({"crom": "0 0 2 * * *"}, {}, "unknown config key 'crom'"),
        ({"name": "Nightly Run"}, {}, "'Nightly Run' cannot name a schedule"),
        ({}, {"timezone": "Mars/Olympus"}, "timezone 'Mars/Olympus' is not known"),
        ({}, {"timezone": "America"}, "timezone 'America' is not known"),
        ({}, {"owner": "a/b"}, "owner 'a/b' cannot be a name"),
        ({}, {"profile": "tpu"}, "profile 'tpu' does not exist"),
    ],
)
def test_a_file_that_is_wrong_anywhere_sends_nothing(server, send, schedule, entry, common, line):
    code, _, err = apply(send, schedule(WEEKLY, {**NIGHTLY, **entry}, **common))
    assert code == 2 and line in err and server.log == []


def test_two_of_one_name_and_no_list(server, send, schedule, tmp_path):
    code, _, err = apply(send, schedule(NIGHTLY, NIGHTLY))
    assert code == 2 and "are named 'nightly'" in err
    (tmp_path / "schedule.yaml").write_text("owner: team\n")
    assert apply(send, str(tmp_path / "schedule.yaml"))[0] == 2
    assert apply(send, str(tmp_path / "none.yaml"))[0] == 2 and server.log == []


def test_list_and_delete(server, send, schedule):
    path = schedule(NIGHTLY, WEEKLY, {"name": "third", "cron": "0 0 1 1 * *"})
    apply(send, path)
    code, out, _ = send("schedule", "list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["team-nightly", "team-third", "team-weekly"]
    assert "0 0 2 * * *" in out and "owner team" in out
    code, _, err = send("schedule", "delete", "nightly", "nihgtly", "--file", path)
    assert code == 2 and "no schedule 'nihgtly'" in err and len(server.jobs) == 3
    job = next(job for job in server.jobs.values() if job["display_name"] == "team-nightly")
    server.jobs["copy"] = job | {"recurring_run_id": "copy", "display_name": "made by hand\x1b[2J"}  # with our description
    assert send("schedule", "delete", "nightly", "nightly", "--file", path)[0] == 0
    assert set(standing(server)) == {"team-weekly", "team-third", "made by hand\x1b[2J"}
    assert r"made by hand\x1b[2J" in send("schedule", "list")[1]


def test_the_committed_schedule_only_lacks_the_images(server, send):
    code, out, err = send("schedule", "apply", "--file", str(ROOT / "pipelines" / "schedule.yaml"), "--dry-run")
    assert (code, err) == (0, "") and "raro-nightly: create" in out and "; disabled" in out
