"""Record as a task: why nothing was registered, behind a decision or without one."""

from raro.storage import read_json


def test_a_rejection_keeps_its_reasons(before):
    begun = before("decide").asking(min_gain=1, hold_gain=1)
    assert begun.task("decide") == "reject"
    begun.task("record")
    written = read_json(begun.folder / "record" / "record.json")
    assert written["outcome"] == "reject"
    assert written["reasons"] == read_json(begun.folder / "decide" / "decision.json")["reasons"]


def test_nothing_new_needs_no_decision(before):
    begun = before("finish").next_run()
    begun.task("preflight")
    assert begun.task("ingest") == "nothing-new"
    begun.task("record")
    assert read_json(begun.folder / "record" / "record.json")["outcome"] == "nothing-new"
    assert read_json(begun.handed["manifest"].path)["inputs"].keys() == {"ingest"}
