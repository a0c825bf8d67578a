"""Readings of blind signals: green in a healthy run, red where a guard would speak, and nothing of what was not measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from raro.config import Guards
from raro.game.guards import Watch
from raro.report.readings import readings
from raro.report.tracked import tracked

HEALTHY = {
    "critic/tie": 0.15, "policy/malformed": 0.0, "policy/truncated": 0.02, "policy/kl": 0.1, "critic/kl": 0.1,
    "policy/entropy": 0.29, "critic/accuracy": 0.79, "critic/accuracy_first": 0.8, "critic/accuracy_second": 0.77,
    "critic/accuracy_replay": 0.85, "policy/zero_advantage": 0.05, "health/accuracy": 0.96, "health/tie": 0.95,
    "learn/role_cosine": -0.01, "game/retest": 0.9, "game/retested": 50.0, "game/older": 0.5, "critic/malformed": 0.01,
    "policy/tokens": 60.0,
}  # fmt: skip


def record(
    gap: float = 0.05,
    length: float = 0.55,
    fresh: float = 0.6,
    exploited: float = 0.01,
    strongest: float = 0.0,
    healthy: int = 9,
    **changed: float,
):
    """A run whose figures were healthy for so many steps of 19 and then as changed."""
    names = {**HEALTHY, **{key.replace("__", "/"): value for key, value in changed.items()}}
    series = {name: [(i, HEALTHY[name] if i <= healthy else value) for i in range(1, 20)] for name, value in names.items()}
    matrix = {"steps": [10, 20], "duality_gap": [0.5, gap], "ratings": [[strongest, strongest - 0.1, 1.0], [0.0, -0.2, 0.2]]}
    return SimpleNamespace(
        config={"guards": {"tie": 0.6}, "rollout": {"policy_tokens": 104}},
        series=lambda stage: series,
        train={"steps": 19, "selection": {"chosen": 20, "matrix": matrix}},
        evaluation={
            "experts": {"told_apart": {"length": {"candidate": [length, 0.4, 0.6]}, "ngrams": {"candidate": None}}},
            "exploitability": {"fresh": [fresh, 0.5, 0.9], "fresh_less_own": [exploited, 0.0, 0.9]},
        },
    )


def test_a_healthy_run_is_green():
    rows = readings(record())
    assert len(rows) == 22 and {row["tone"] for row in rows} == {"green"}
    assert all(row["how"].endswith(".") and row["source"] for row in rows)


@pytest.mark.parametrize(
    ("name", "value", "tone"),
    [
        ("critic__tie", 0.9, "red"), ("critic__tie", 0.55, "amber"), ("critic__kl", 1.2, "red"),
        ("policy__entropy", 0.01, "red"), ("policy__truncated", 0.7, "red"), ("critic__accuracy", 0.3, "red"),
        ("critic__accuracy", 0.45, "amber"),
        ("critic__accuracy_first", 0.3, "red"), ("critic__accuracy_replay", 0.65, "amber"),
        ("policy__zero_advantage", 1.0, "red"), ("health__accuracy", 0.6, "red"), ("health__accuracy", 0.8, "amber"),
        ("health__tie", 0.1, "red"), ("learn__role_cosine", -0.3, "amber"), ("gap", 0.4, "red"), ("length", 0.7, "amber"),
        ("fresh", 0.95, "red"), ("exploited", 0.3, "red"),
        ("game__retest", 0.45, "red"), ("game__retest", 0.7, "amber"), ("critic__malformed", 0.6, "red"),
        ("game__older", 0.65, "amber"), ("game__older", 0.8, "red"), ("policy__tokens", 80.0, "amber"),
        ("strongest", 0.5, "amber"), ("strongest", 1.0, "red"),
    ],
)  # fmt: skip
def test_what_goes_wrong_stands_first(name, value, tone):
    rows = readings(record(**{name: value}))
    assert rows[0]["tone"] == tone and sum(row["tone"] == tone for row in rows) == 1


def test_a_kl_that_rises_at_once_is_red_whatever_its_level():
    rows = readings(record(healthy=14, critic__kl=0.24))
    assert [row["name"] for row in rows if row["tone"] == "amber"] == ["Rise of a KL within 5 steps, nats a token"]
    rows = readings(record(healthy=14, policy__kl=0.32))
    assert rows[0]["name"].startswith("Rise") and rows[0]["tone"] == "red"


def test_steps_that_a_guard_undid_are_not_read():
    """Ended at step 20, back at step 9: all was well until then."""
    gone = record(critic__tie=0.9, policy__kl=3.0)
    gone.train["steps"] = 9
    assert {row["tone"] for row in readings(gone)} == {"green"}
    looks = [(step, float(step if step <= 60 else -step)) for step in range(10, 101, 10)]
    ended = looked_at(**{"dev/sampled": looks, "critic/tie": looks[:6] + [(step, 500.0) for step, _ in looks[6:]]})
    ended.train["steps"] = 60
    found = tracked(ended)
    assert found["looks"] == 6 and {row["correlation"] for row in found["rows"]} == {"+1.00"}


def test_accuracy_is_read_where_its_guard_looks():
    """While the gate is shut the policy does not play, and .3 is no matter."""
    shut, series = record(critic__accuracy=0.3, critic__accuracy_replay=0.3), {}
    series |= shut.series("train") | {"game/gate_open": [(step, float(step <= 9)) for step in range(1, 20)]}
    shut.series = lambda stage: series
    (row,) = (row for row in readings(shut) if row["name"] == "Critic's accuracy on fresh pairs")
    assert (row["tone"], row["value"]) == ("green", "0.79")


def test_a_policy_that_waits_at_the_gate_is_not_said_to_earn_alike():
    waiting, series = record(healthy=0, policy__zero_advantage=1.0), {}
    series |= waiting.series("train") | {"game/gate_open": [(step, 0.0) for step in range(1, 20)]}
    waiting.series = lambda stage: series
    worst, *others = readings(waiting)
    assert (worst["name"], worst["tone"], worst["value"]) == ("Steps with the gate shut", "red", "1.00")
    assert "Policy's groups without a signal" not in {row["name"] for row in others}
    series["game/gate_open"] = [(step, float(step > 5)) for step in range(1, 20)]
    found = {row["name"]: row["tone"] for row in readings(waiting)}
    assert found["Steps with the gate shut"] == "green" and found["Policy's groups without a signal"] == "red"


@pytest.mark.parametrize(("low", "tone"), [(-0.1, "green"), (0.1, "red")])
def test_a_snapshot_is_stronger_than_the_candidate_where_its_interval_says_so(low, tone):
    one = record()
    one.train["selection"]["matrix"]["ratings"] = [[1.0, low, 2.0], [0.0, -0.5, 0.5]]
    (row,) = (row for row in readings(one) if row["name"].startswith("Strongest"))
    assert (row["tone"], row["value"]) == (tone, {"green": "0.50", "red": "0.73"}[tone])


@pytest.mark.parametrize("shares", [(0.9, 0.3, 0.9, 0.9), (0.2, 0.7, 0.7, 0.4), (0.7, 0.4, 0.6, 0.6)])
def test_what_is_paid_is_red_where_its_guard_speaks(shares):
    """The shares are pooled over questions, of which not each look has as many."""
    looks = [(step, share, n) for step, (share, n) in enumerate(zip(shares, (40.0, 90.0, 30.0, 35.0), strict=True), 1)]
    watch = Watch(Guards())
    spoke = [a for step, share, n in looks for a in watch.observe(step, {"game/retest": share, "game/retested": n})]
    series = {"game/retest": [look[:2] for look in looks], "game/retested": [(step, n) for step, _, n in looks]}
    (row,) = readings(SimpleNamespace(config={}, series=lambda stage: series, train={}, evaluation={}))
    assert (row["tone"] == "red") == (bool(spoke) and bool(watch.raised))
    few = {name: points[:2] for name, points in series.items()}
    assert readings(SimpleNamespace(config={}, series=lambda stage: few, train={}, evaluation={})) == []


def test_what_was_not_measured_is_left_out():
    assert readings(SimpleNamespace(config={}, series=lambda stage: {}, train={}, evaluation={})) == []


def looked_at(selection=None, **series):
    return SimpleNamespace(series=lambda stage: series, train={"selection": {"chosen": 61} | (selection or {})})


def test_a_signal_that_knows_the_truth_is_told_from_one_that_does_not():
    looks = [(step, 0.1 + 0.004 * step - (0.3 if step == 100 else 0.0)) for step in range(10, 101, 10)]
    knows = [(step, -value) for step, value in looks]
    every = [(step, float(step % 3)) for step in range(1, 101)]
    gate = [(step, float(step > 25)) for step in range(1, 101)]
    given = {"dev/sampled": looks, "critic/kl": knows, "critic/tie": every, "policy/kl": [(s, 0.2) for s, _ in every]}
    found = tracked(looked_at(**given, **{"game/gate_open": gate, "policy/tokens": [(50, 30.0)]}))
    rows = {row["signal"]: row["correlation"] for row in found["rows"]}
    assert found["looks"] == 8 and found["rows"][0]["signal"] == "KL of the critic" and rows["KL of the critic"] == "-1.00"
    assert set(rows) == {"KL of the critic", "share of ties", "the step's number"} and float(rows["the step's number"]) < 0.7
    assert found["cost"] == "12.0"  # of steps 60, chosen, and 90
    assert tracked(looked_at(**{"dev/sampled": looks[:5]})) is None and tracked(looked_at()) is None


def test_signals_of_the_snapshots_and_the_probes_are_told_from_where_they_begin():
    looks = [(step, 0.004 * step) for step in range(10, 101, 10)]
    given = {
        "dev/sampled": looks,
        "game/older": [(step, 0.6 - value) for step, value in looks[2:]],
        "game/retest": [(step, 0.5 + value / 2) for step, value in looks],
        "learn/role_cosine": [(step, 0.1) for step, _ in looks[5:]],
        "critic/accuracy_first": [(step, 0.9) for step in range(1, 101)],
        "critic/accuracy_second": [(step, 0.5 + step / 400) for step in range(1, 101)],
    }
    steps = [step for step, _ in looks]
    selection = {"steps": steps, "win_rates": [[0.9, step / 200] for step in steps]}
    found = {row["signal"]: row for row in tracked(looked_at(selection, **given))["rows"]}
    assert {label: row["correlation"] for label, row in found.items()} == {
        "best older snapshot's answers beside the present ones": "-1.00",
        "worth of best paid answers, asked again": "+1.00",
        "gap between positions": "-1.00",
        "the worst of the frozen critics that chose": "+1.00",
        "the step's number": "+1.00",
    }
    last = "best older snapshot's answers beside the present ones"
    assert {label: row["looks"] for label, row in found.items()} == dict.fromkeys(found, 10) | {last: 8}
    assert list(found)[-1] == last
    unfit = tracked(looked_at({"steps": steps, "win_rates": [[] for _ in steps]}, **given))
    assert "the worst of the frozen critics that chose" not in [row["signal"] for row in unfit["rows"]]
