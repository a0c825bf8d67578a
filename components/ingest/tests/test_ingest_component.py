"""Ingest as a task: its one output decides whether a GPU is asked for."""

from raro.storage import read_json


def test_new_demonstrations_proceed(before):
    begun = before("ingest")
    assert begun.task("ingest") == "proceed"
    outputs = begun.handed["manifest"].metadata
    assert outputs["train"] > outputs["dev"] > 0 and outputs["test"] > 0
    assert read_json(begun.handed["manifest"].path)["outputs"]["verdict"] == "proceed"


def test_what_the_champion_was_made_of_is_nothing_new(before):
    begun = before("finish").next_run()
    begun.task("preflight")
    assert begun.task("ingest") == "nothing-new"
