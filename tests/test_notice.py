"""Who is told how a run ended: a real HTTP server on loopback hears it, or answers badly, and the run ends as it had ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from servers import Quiet, free_port, served

from raro.config import parse
from raro.errors import BadInput, GateRefused, ServiceFailed
from raro.learning.update import NotFinite
from raro.steps import notice, run_step
from raro.steps.claim import claim
from raro.steps.harness import record_failure
from raro.storage import read_json
from raro.tracking import events

SECRET = "T0K3N-in-the-path"
WRITTEN = "what the expert wrote about a patient"


@contextmanager
def webhook(*answers: int) -> Iterator[SimpleNamespace]:
    """A server that gives these answers, then 200. heard: the bodies it was sent."""
    heard, left = [], list(answers)

    class Handler(Quiet):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            code = left.pop(0) if left else 200
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

    with served(Handler) as server:
        yield SimpleNamespace(url=f"{server.address}/{SECRET}", heard=heard)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(notice, "BACKOFF", 0.01)
    monkeypatch.setenv("RARO_TRACKING", "off")


def failed_run(run, error: BaseException, checkpoint: bool = False, **settings):
    """A run that failed in training, with its exit handler still to come."""
    config = parse({"name": "miniature", **settings})
    claim(config, run)
    if checkpoint:
        (run / "checkpoints" / "step-20").mkdir(parents=True)
        (run / "checkpoints" / "step-20" / "state.json").write_text("{}")
    pen = events.Events(run, "train")
    pen.start()
    record_failure("train", config, run, error)
    return config


def told(run) -> list[str]:
    return [event["text"] for event in events.read(run)[0] if event.get("level") == "warning"]


def test_a_failure_is_told_with_its_reason_hint_and_checkpoint(tmp_path, monkeypatch):
    with webhook() as hook:
        monkeypatch.setenv("RARO_WEBHOOK", hook.url)
        error = ServiceFailed("the store does not answer", "see that it runs")
        config = failed_run(tmp_path / "run-7", error, checkpoint=True)
        run_step("finish", config, tmp_path / "run-7")
    (heard,) = hook.heard
    assert heard["run"] == "run-7" and heard["name"] == "miniature" and heard["state"] == "failed"
    assert heard["stage"] == "train" and heard["reason"] == "the store does not answer" and heard["hint"] == "see that it runs"
    assert heard["last_checkpoint"] == "checkpoints/step-20" and heard["permanent"] is False
    assert heard["cost"]["cpu_hours"] >= 0 and heard["config_digest"] == config.digest
    assert not told(tmp_path / "run-7")


def test_slack_takes_text_and_its_markup_is_escaped(tmp_path, monkeypatch):
    with webhook() as hook:
        monkeypatch.setenv("TEAM_HOOK", hook.url)
        error = GateRefused("<!channel> & 3 > 2", "none")
        named = {"webhook": "env:TEAM_HOOK", "format": "slack"}
        config = failed_run(tmp_path / "run", error, checkpoint=True, notify=named)
        run_step("finish", config, tmp_path / "run")
    (heard,) = hook.heard
    assert set(heard) == {"text"}
    assert heard["text"].splitlines() == [
        ":x: *miniature*, run `run`: failed in train",
        "> &lt;!channel&gt; &amp; 3 &gt; 2",
        "> none",
        "It goes on from `checkpoints/step-20`.",
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError(WRITTEN), "KeyError; its words are in the task's log"),
        (BadInput(f"row 3 holds '{WRITTEN}'", f"mend '{WRITTEN}'"), "row 3 holds '…'"),
        (NotFinite("the gradient is not finite", "lower the rate"), "the gradient is not finite"),
    ],
)
@pytest.mark.parametrize("shown", ["none", "masked"])
def test_nothing_that_experts_wrote_is_told(tmp_path, monkeypatch, error, reason, shown):
    with webhook() as hook:
        monkeypatch.setenv("RARO_WEBHOOK", hook.url)
        config = failed_run(tmp_path / "run", error, privacy={"show_text": shown})
        run_step("finish", config, tmp_path / "run")
    assert hook.heard[0]["reason"] == reason and WRITTEN not in json.dumps(hook.heard)


@pytest.mark.parametrize(
    ("answers", "tries", "why"),
    [
        ([], 1, None),
        ([503], 2, None),
        ([503, 500], 2, "answers 500"),
        ([404], 1, "answers 404"),
        ([302], 1, "answers 302"),
    ],
)
def test_one_more_try_where_it_may_help_and_the_run_ends_as_it_had(tmp_path, monkeypatch, answers, tries, why):
    with webhook(*answers) as hook:
        monkeypatch.setenv("RARO_WEBHOOK", hook.url)
        config = failed_run(tmp_path / "run", ServiceFailed("away", "wait"))
        assert run_step("finish", config, tmp_path / "run")["state"] == "failed"
    assert len(hook.heard) == tries
    expected = [f"nobody was told how the run ended: the webhook at '127.0.0.1' {why}"] if why else []
    assert told(tmp_path / "run") == expected
    assert SECRET not in (tmp_path / "run" / "events.jsonl").read_text() + (tmp_path / "run" / "report.html").read_text()


def test_nobody_there_fails_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_WEBHOOK", f"http://127.0.0.1:{free_port()}/{SECRET}")
    config = failed_run(tmp_path / "run", ServiceFailed("away", "wait"))
    assert run_step("finish", config, tmp_path / "run")["state"] == "failed"
    assert told(tmp_path / "run")[0].endswith("does not answer: ConnectionRefusedError")
    assert read_json(tmp_path / "run" / "finish" / "summary.json")["failure"]["line"] == "away"


def test_people_are_told_though_the_page_cannot_be_written(tmp_path, monkeypatch):
    with webhook() as hook:
        monkeypatch.setenv("RARO_WEBHOOK", hook.url)
        config = failed_run(tmp_path / "run", ServiceFailed("away", "wait"))
        (tmp_path / "run" / "report.html").mkdir()
        with pytest.raises(BadInput, match="report.html"):
            run_step("finish", config, tmp_path / "run")
    assert [one["reason"] for one in hook.heard] == ["away"]


def test_only_failures_where_only_they_are_wanted(tmp_path, monkeypatch):
    with webhook() as hook:
        monkeypatch.setenv("RARO_WEBHOOK", hook.url)
        interrupted = failed_run(tmp_path / "one", KeyboardInterrupt(), notify={"when": "failure"})
        run_step("finish", interrupted, tmp_path / "one")
        assert not hook.heard
        failed = failed_run(tmp_path / "two", BadInput("wrong", "mend"), notify={"when": "failure"})
        run_step("finish", failed, tmp_path / "two")
        assert [one["run"] for one in hook.heard] == ["two"]


@pytest.mark.parametrize(
    ("reference", "value", "line"),
    [
        ("https://hooks.example.org/secret", "", "notify.webhook is no reference"),
        ("env:TEAM_HOOK", "", "notify.webhook: its variable is empty"),
        ("file:/nowhere/hook", "", "notify.webhook: its file cannot be read"),
        ("env:TEAM_HOOK", f"mailto:{SECRET}", "the webhook's variable holds no address"),
        ("env:TEAM_HOOK", f"http://[{SECRET}", "the webhook's variable holds no address"),
        ("env:TEAM_HOOK", f"http://host:{SECRET}/", "the webhook's variable holds no address"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused_by_preflight(tmp_path, monkeypatch, reference, value, line):
    monkeypatch.setenv("TEAM_HOOK", value)
    with pytest.raises(BadInput) as refusal:
        run_step("preflight", parse({"notify": {"webhook": reference}}), tmp_path / "run")
    assert refusal.value.line == line and SECRET not in str(refusal.value) and "secret" not in refusal.value.line
