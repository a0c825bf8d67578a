"""Guards: each is provoked by a run that really goes wrong, does what it was told, and is silent in a healthy run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import get_args

import pytest

from raro.config import Config, GuardName, Guards, load
from raro.errors import BadInput
from raro.game.guards import FINITE, Watch
from raro.learning import checkpoints
from raro.learning.update import NotFinite
from raro.steps import run_step
from raro.storage import read_json
from raro.tracking import events

pytestmark = pytest.mark.usefixtures("untracked")

SMALL = {
    "warmstart.steps": 1, "warmstart.questions": 4, "warmstart.thoughts": 2,
    "raro.steps": 6, "raro.questions": 4, "raro.rollouts": 3, "raro.pairs": 8, "raro.verdicts": 2, "raro.checkpoint_every": 2,
    "raro.gate": 0.0, "raro.gate_shut": 0.0, "raro.tau_ramp": 0, "resources.processes": 1, "evaluation.track_every": 0,
    "raro.snapshots": 0, "raro.lr_warmup": 0, "probes.select_items": 16,
}  # fmt: skip


def prepared(folder: Path, **more: object) -> Config:
    """The configuration of these settings, of a run up to its warm start."""
    config = load("countdown-mini", [f"{key}={json.dumps(value)}" for key, value in (SMALL | more).items()])
    for name in ("ingest", "warmstart"):
        run_step(name, config, folder)
    return config


def trained(folder: Path, **more: object) -> tuple[dict, list[str]]:
    """train.json and the warnings of a run trained under these settings."""
    run_step("train", prepared(folder, **more), folder)
    found = [e["text"] for e in events.read(folder)[0] if e["kind"] == "note" and e.get("level") == "warning"]
    shown = [text for text in found if text.startswith(("guard", "rolled back", "ended"))]
    return read_json(folder / "train" / "train.json"), shown


def rates(folder: Path) -> list[float]:
    return [e["values"]["learn/rate"] for e in events.read(folder)[0] if e["stage"] == "train" and e["kind"] == "metrics"]


def test_a_healthy_run_raises_no_alarm(tmp_path):
    told, warnings = trained(tmp_path)
    assert told["steps"] == 6 and told["alarms"] == [] and warnings == [] and told["stopped_by_guard"] is None


def test_a_budget_that_is_too_small_floods_and_the_run_goes_on_warned(tmp_path):
    told, warnings = trained(tmp_path, **{"rollout.policy_tokens": 6})
    assert told["steps"] == 6 and [a["guard"] for a in told["alarms"]] == ["flood"]
    assert "malformed or cut off" in warnings[0] and "no action is set" in warnings[0]


def test_a_learning_rate_that_destroys_the_model_is_rolled_back_then_ended(tmp_path):
    wild = {"raro.learning_rate": 0.5, "raro.steps": 14, "raro.checkpoint_every": 1, "guards.rollbacks": 1}
    told, warnings = trained(tmp_path, **wild, **{"guards.actions": {"drift": "roll_back", "flood": "roll_back"}})
    assert told["stopped_by_guard"] in ("drift", "flood") and told["steps"] < 14
    assert any(text.startswith("rolled back to step") for text in warnings) and warnings[-1].startswith("ended at step")
    assert {round(rate, 6) for rate in rates(tmp_path)} & {round(0.25 * (1 - 0.9 * s / 14), 6) for s in range(14)}


def test_stop_ends_with_the_weights_of_the_last_good_checkpoint(tmp_path):
    from safetensors.torch import load_file

    wild = {"raro.learning_rate": 0.5, "raro.steps": 14, "raro.checkpoint_every": 50, "raro.snapshots": 0}
    told, _ = trained(tmp_path, **wild, **{"guards.actions": {"drift": "stop", "flood": "stop"}})
    assert told["steps"] == 0 and told["stopped_by_guard"]
    ours, warm = (load_file(tmp_path / step / "model" / "model.safetensors") for step in ("train", "warmstart"))
    assert all((ours[name] == warm[name]).all() for name in warm)


def test_damping_halves_the_learning_rate_from_the_alarm_on(tmp_path):
    actions = {"guards.actions": {"flood": "damp"}, "rollout.policy_tokens": 6, "raro.decay": "constant"}
    told, warnings = trained(tmp_path, **actions)
    step = told["alarms"][0]["step"]
    assert rates(tmp_path) == [5e-4] * step + [2.5e-4] * (6 - step) and "damped" in warnings[0]


def test_a_tie_that_pays_best_is_seen(tmp_path):
    """The critic is paid most for what it says anyhow: on untrained weights of verdicts this needs no hundred steps."""
    pays = {"raro.tau_crit": 1.0, "raro.tau_start": 1.0, "raro.learning_rate": 4e-3, "raro.steps": 40, "raro.kl_crit": 0.0}
    more = {"raro.lambda_crit": 1.0, "raro.lambda_pol": 0.0, "raro.questions": 8, "raro.pairs": 32}
    told, _ = trained(tmp_path, **pays, **more, **{"guards.actions": {"tie": "stop"}})
    assert told["stopped_by_guard"] == "tie"


def test_a_critic_that_no_longer_knows_good_from_bad_is_seen(tmp_path):
    """The same, seen by its health: what ties always knows nothing of an answer that was made worse."""
    pays = {"raro.tau_crit": 1.0, "raro.tau_start": 1.0, "raro.learning_rate": 4e-3, "raro.steps": 12, "raro.kl_crit": 0.0}
    more = {"raro.lambda_crit": 1.0, "raro.lambda_pol": 0.0, "raro.questions": 8, "raro.pairs": 32}
    looks = {"probes.health_every": 2, "probes.health_items": 12, "probes.gradients_every": 0}
    told, warnings = trained(tmp_path, **pays, **more, **looks, **{"guards.actions": {"chance": "stop", "tie": "off"}})
    assert told["stopped_by_guard"] == "chance" and told["steps"] == 0 and "made worse" in warnings[0]


@pytest.mark.parametrize("action", ["", "damp", "roll_back"])
def test_a_gradient_that_is_not_finite(tmp_path, action, monkeypatch):
    """A real overflow: weights of 1e30 on their way through a matrix product."""
    from raro.methods.raro import Raro

    step = Raro.step

    def poisoned(self, number):
        if number == 3 and self.damping == 1.0:
            next(self.speaker.model.parameters()).data *= 1e30
        return step(self, number)

    monkeypatch.setattr(Raro, "step", poisoned)
    settings = {"guards.actions": {"finite": action} if action else {}, "raro.checkpoint_every": 1}
    if action == "roll_back":
        told, warnings = trained(tmp_path, **settings)
        assert told["steps"] == 6 and told["alarms"][0]["guard"] == "finite" and "rolled back to step 3" in warnings
    elif not action:
        with pytest.raises(NotFinite):
            trained(tmp_path, **settings)
    else:
        told, warnings = trained(tmp_path, **settings)
        assert told["steps"] == 6 and "damped" in warnings[0]


def test_a_model_that_learns_a_few_answers_by_heart_has_nothing_left_to_choose_from(tmp_path):
    """Supervised, on some twenty answers, all of them at every step."""
    few = {"method": "sft", "demonstrations.max_rows": 60, "raro.questions": 24, "raro.learning_rate": 3e-3, "raro.steps": 40}
    told, warnings = trained(tmp_path, **few, **{"warmstart.steps": 0, "guards.actions": {"entropy": "stop"}})
    assert told["stopped_by_guard"] == "entropy" and "entropy" in warnings[0] and told["steps"] < 40


def test_a_kl_that_rises_at_once_is_seen_and_one_that_takes_its_time_is_not():
    slow, fast = Watch(Guards()), Watch(Guards())
    for step in range(1, 31):
        assert not slow.observe(step, {"critic/kl": 0.015 * step, "policy/kl": 0.01 * step})
    found = [alarm for step in range(1, 21) for alarm in fast.observe(step, {"critic/kl": 0.0 if step < 12 else 0.3})]
    assert [(a.guard, a.step, a.since) for a in found] == [("drift", 13, 6)] and "within 5 steps" in found[0].why


def test_a_watch_that_is_restored_goes_on_as_it_was():
    figures = [
        {"policy/entropy": 0.3 - 0.005 * i, "game/retest": 0.5, "game/retested": 4.0, "critic/kl": 0.02 * i} for i in range(60)
    ]
    whole, first, second = (Watch(Guards()) for _ in range(3))
    told = [whole.observe(i, values) for i, values in enumerate(figures)]
    for i, values in enumerate(figures[:15]):
        first.observe(i, values)
    second.restore(json.loads(json.dumps(dataclasses.asdict(first), default=list)))
    assert [second.observe(i, values) for i, values in enumerate(figures) if i >= 15] == told[15:] and any(told[15:])


def test_an_alarm_is_told_once_and_again_after_it_was_over_and_not_while_its_figure_swings():
    watch = Watch(Guards(window=1))
    told = [bool(watch.observe(i, {"critic/tie": tie})) for i, tie in enumerate((0.9, 0.9, 0.1, 0.9), 1)]
    assert told == [True, False, False, True]
    for name, limit in (("critic/tie", 0.6), ("health/accuracy", 0.75), ("critic/kl", 0.5)):
        watch, wrong = Watch(Guards(window=1)), limit * (0.99 if name.startswith("health") else 1.01)
        told = [bool(watch.observe(i, {name: value})) for i, value in enumerate((wrong, limit, wrong, limit, wrong), 1)]
        assert told == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("setting", "figure", "limit", "asked"),
    [
        ("fooled", "critic/accuracy", 0.9, {}), ("chance", "health/accuracy", 0.9, {}), ("chance", "health/accuracy", 0.75, {}),
        ("lottery", "game/retest", 0.9, {"game/retested": 200.0}), ("entropy", "policy/entropy", 0.9, {}),
    ],
)  # fmt: skip
def test_an_alarm_is_over_a_fifth_of_the_way_from_its_threshold_to_the_best(setting, figure, limit, asked):
    """However near the best the threshold lies."""
    watch, bad, over = Watch(Guards(window=1, **{setting: limit})), limit - 0.1, limit + 0.2 * (1 - limit)
    values = (1.0, bad, over - 0.01, bad, over, bad)
    told = [[a.guard for a in watch.observe(i, {figure: value} | asked)] for i, value in enumerate(values, 1)]
    assert told == [[], [setting], [], [], [], [setting]]


def test_what_a_shut_gate_lies_between_is_not_taken_together():
    """Two steps of play, eleven behind the gate, and three more of play: the alarms are raised for the last three alone."""
    figures = {"critic/accuracy": 0.3, "game/older": 0.9, "game/retest": 0.4, "game/retested": 60.0}
    watch, told = Watch(Guards(window=3)), []
    for step in range(1, 17):
        plays = step <= 2 or step >= 14
        told += watch.observe(step, (figures if plays else {"critic/accuracy": 0.3}) | {"game/gate_open": float(plays)})
    assert {(a.guard, a.step, a.since) for a in told} == {(name, 16, 14) for name in ("fooled", "cycling", "lottery")}


ALL_WRONG = {
    "policy/malformed": 0.9, "critic/malformed": 0.9, "critic/tie": 0.9, "policy/kl": 5.0, "critic/kl": 5.0,
    "policy/entropy": 0.0, "critic/accuracy": 0.1, "health/accuracy": 0.1,
    "game/older": 0.9, "game/retest": 0.1, "game/retested": 200.0,
}  # fmt: skip


@pytest.mark.parametrize("guard", [name for name in get_args(GuardName) if name != FINITE])
def test_whatever_a_guard_speaks_of_was_doubted_before(guard):
    watch = Watch(Guards(window=2))
    for step in (1, 2):
        watch.observe(step, {"policy/entropy": 1.0})
    since = next(a.since for step in range(3, 14) for a in watch.observe(step, ALL_WRONG) if a.guard == guard)
    (first,) = watch.doubted({guard})
    assert first <= since


LOT = {"raro.questions": 24, "raro.verdicts": 1, "probes.health_every": 0, "probes.gradients_every": 0}


def test_a_policy_that_is_paid_by_lot_is_seen_though_its_critic_is_sound(tmp_path):
    lot = {"raro.control": "shuffled", "raro.steps": 12, "probes.retest_every": 1, "guards.lottery": 0.65}
    told, warnings = trained(tmp_path, **LOT, **lot, **{"guards.actions": {"lottery": "stop"}})
    assert told["stopped_by_guard"] == "lottery" and told["alarms"][0]["since"] <= 3 and "random pay gives .5" in warnings[0]


def test_a_lottery_is_told_by_enough_comparisons_and_since_the_first_of_them():
    few, many = Watch(Guards()), Watch(Guards())
    assert not any(few.observe(i, {"game/retest": 0.5, "game/retested": 7.0}) for i in range(1, 20))
    looks = [{"game/retest": 0.46 + i % 2 / 10, "game/retested": 40.0} for i in range(1, 20)]
    found = [alarm for i, look in enumerate(looks, 1) for alarm in many.observe(i, look)]
    assert [(a.guard, a.step, a.since) for a in found] == [("lottery", 4, 1)]


def test_entropy_fooled_and_chance_are_seen_and_one_odd_step_is_not():
    watch = Watch(Guards(window=3))
    for step in range(1, 4):
        assert not watch.observe(step, {"policy/entropy": 0.3, "critic/accuracy": 0.8, "health/accuracy": 0.9})
    assert not watch.observe(4, {"policy/entropy": 0.01, "critic/accuracy": 0.1, "health/accuracy": 0.1})
    found = watch.observe(5, {"policy/entropy": 0.01, "critic/accuracy": 0.1, "health/accuracy": 0.1})
    assert {a.guard for a in found} == {"entropy", "fooled", "chance"} and {a.since for a in found} == {3}


def test_a_policy_that_was_better_before_is_seen(tmp_path):
    """A step far too long destroys what the policy wrote; the older snapshots' answers beat what is left of it."""
    wild = {"raro.learning_rate": 0.3, "raro.steps": 3, "raro.snapshots": 3, "guards.window": 2, "probes.older_items": 8}
    off = {"drift": "off", "flood": "off", "entropy": "off", "fooled": "off", "chance": "off", "cycling": "stop"}
    told, warnings = trained(tmp_path, **wild, **{"guards.actions": off, "probes.health_every": 0, "rollout.policy_tokens": 60})
    assert told["stopped_by_guard"] == "cycling" and "older snapshot's answers" in warnings[0]


def test_training_ends_early_where_snapshots_get_no_better(tmp_path):
    """Without a learning rate every snapshot's answers are those of the start: even, and no better."""
    still = {"raro.learning_rate": 0.0, "raro.snapshots": 6, "raro.early_stop": 2, "probes.older_items": 6}
    told, warnings = trained(tmp_path, **still, **{"raro.checkpoint_every": 50})
    assert [path.name for path in checkpoints.existing(tmp_path / "checkpoints")] == ["step-000002"]
    assert told["stopped_early"] and told["steps"] == 2 and told["alarms"] == [] and warnings == []


def test_a_snapshot_beyond_the_kl_budget_is_not_chosen(tmp_path):
    """The same run twice: with the budget between the snapshots' own KL only those within are judged."""
    more = {"raro.snapshots": 3, "raro.learning_rate": 2e-3, "probes.matrix_items": 0, "rollout.policy_tokens": 60}
    free, _ = trained(tmp_path / "free", **more)
    kl = {e["step"]: e["values"]["policy/kl"] for e in events.read(tmp_path / "free")[0] if e["kind"] == "metrics"
          and e["stage"] == "train"}  # fmt: skip
    assert free["selection"]["steps"] == [2, 4, 6] and kl[2] < kl[6]
    bound, _ = trained(tmp_path / "bound", **more, **{"raro.kl_budget": max(kl[2], kl[4]) if kl[6] > kl[4] else kl[2]})
    assert 6 not in bound["selection"]["steps"] and bound["selected_step"] != 6


def test_an_alarm_of_a_figure_that_is_seldom_measured_goes_back_to_its_first_value():
    watch = Watch(Guards(window=2))
    found = [watch.observe(step, {"health/accuracy": 0.5} if step % 10 == 0 else {}) for step in range(1, 21)]
    assert not any(found[:-1]) and [(a.guard, a.since) for a in found[-1]] == [("chance", 10)]


def test_off_is_a_word_here_though_yaml_reads_it_as_false():
    assert load("countdown-mini", ["guards.actions={tie: off}"]).guards.actions == {"tie": "off"}


def test_a_guard_nobody_knows_is_refused():
    with pytest.raises(BadInput, match=r"guards\.actions"):
        load("countdown-mini", ["guards.actions={nan: stop}"])
    with pytest.raises(BadInput, match=r"guards\.actions"):
        load("countdown-mini", ["guards.actions={tie: panic}"])


@pytest.mark.parametrize(
    ("guard", "blind"),
    [
        ("chance", ["probes.health_every=0"]), ("lottery", ["probes.retest_every=0"]), ("cycling", ["probes.older_items=0"]),
        ("cycling", ["raro.snapshots=0"]), ("drift", ["raro.kl_pol=0", "raro.kl_crit=0"]),
    ],
)  # fmt: skip
def test_a_guard_that_is_to_act_and_is_shown_nothing_is_refused(guard, blind):
    with pytest.raises(BadInput, match=f"{guard} stop, but nothing is measured"):
        load("countdown-mini", [f"guards.actions={{{guard}: stop}}", *blind])
    load("countdown-mini", [f"guards.actions={{{guard}: warn}}", *blind])
    load("countdown-mini", [f"guards.actions={{{guard}: stop}}", *blind[1:]])


def test_a_budget_or_an_early_stop_without_what_it_needs_is_refused():
    with pytest.raises(BadInput, match=r"raro\.kl_pol is 0"):
        load("countdown-mini", ["raro.kl_budget=0.1", "raro.kl_pol=0"])
    with pytest.raises(BadInput, match="no snapshots are compared"):
        load("countdown-mini", ["raro.early_stop=2", "probes.older_items=0"])
