"""Decide as a task: its one output is the branch that the pipeline takes."""

import pytest

from raro.storage import read_json


@pytest.mark.parametrize(
    ("asked", "decision"),
    [({}, "promote"), ({"min_gain": 1}, "hold"), ({"min_gain": 1, "hold_gain": 1}, "reject")],
    ids=["promote", "hold", "reject"],
)
def test_the_gate_decides_and_says_why(before, asked, decision):
    begun = before("decide").asking(**asked)
    assert begun.task("decide") == decision
    written = read_json(begun.folder / "decide" / "decision.json")
    assert written["decision"] == decision and written["reasons"]
    assert begun.handed["manifest"].metadata["decision"] == decision
