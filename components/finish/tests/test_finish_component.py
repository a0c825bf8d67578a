"""Finish as a task: it closes every run, however Kubeflow says that the tasks before ended."""

from types import SimpleNamespace

from raro.storage import read_json


def test_a_run_that_succeeded(before):
    begun = before("finish")
    begun.task("finish", status=SimpleNamespace(state="SUCCEEDED"))
    summary = read_json(begun.folder / "finish" / "summary.json")
    assert summary["state"] == "succeeded" and summary["decision"] == "promote"
    assert "<html" in (begun.folder / "report.html").read_text(encoding="utf-8")


def test_a_run_that_failed_without_a_word(before):
    begun = before("train")
    begun.task("finish", status=SimpleNamespace(state="FAILED"))
    summary = read_json(begun.folder / "finish" / "summary.json")
    assert summary["state"] == "failed"
    assert "<html" in (begun.folder / "report.html").read_text(encoding="utf-8")
