"""What a guard led to is not lost: a run that was killed has the alarms, the learning rate and the end of one that was not, and
what was undone leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from test_guards import prepared, rates, trained

from raro.config import Guards, load
from raro.game.guards import RISE, TRIALS, Watch
from raro.learning import checkpoints
from raro.learning.update import NotFinite
from raro.methods.raro import Raro
from raro.steps.guarding import Guarding
from raro.steps.transcripts import Transcripts
from raro.storage import read_json

pytestmark = pytest.mark.usefixtures("untracked")

SHORT = {
    "rollout.policy_tokens": 40, "probes.matrix_items": 0, "probes.select_items": 4, "probes.health_items": 4,
    "probes.older_items": 2, "probes.gradients_every": 0,
}  # fmt: skip
FLOOD = {"rollout.policy_tokens": 6, "raro.decay": "constant"}


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def guards(folder) -> tuple[int, dict]:
    """The newest checkpoint's step, and what it holds of the guards."""
    body = read_json(checkpoints.existing(folder / "checkpoints")[-1] / "state.json")
    return body["step"], body["state"]["guards"]


def poisoned(step, at: int):
    """Raro.step with a real overflow in the step `at`, from 0, unless the rate is damped: weights of 1e30 in a matrix
    product."""

    def made(self, number):
        if number == at and self.damping == 1.0:
            next(self.speaker.model.parameters()).data *= 1e30
        return step(self, number)

    return made


def test_a_run_killed_after_the_checkpoint_of_its_alarm_remembers_it(tmp_path, monkeypatch):
    """The alarm is raised at step 3, whose checkpoint is the last thing that is done."""
    settings = FLOOD | {"raro.checkpoint_every": 3, "guards.actions": {"flood": "damp"}}
    prepared(tmp_path / "whole", **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    whole, _ = trained(tmp_path / "whole", **settings)
    save = checkpoints.save
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoints, "save", lambda *given: (save(*given), killed()))
        trained(tmp_path / "killed", **settings)
    assert guards(tmp_path / "killed")[0] == 3
    resumed, _ = trained(tmp_path / "killed", **settings)
    assert [(a["guard"], a["step"]) for a in whole["alarms"]] == [("flood", 3)] and resumed["alarms"] == whole["alarms"]
    assert rates(tmp_path / "killed") == rates(tmp_path / "whole") == [5e-4] * 3 + [2.5e-4] * 3


def test_a_run_that_a_guard_has_ended_does_not_train_again(tmp_path, monkeypatch):
    """It is killed while its candidate is chosen."""
    settings = FLOOD | {"raro.checkpoint_every": 50, "guards.actions": {"flood": "stop"}}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Raro, "select", killed)
        trained(tmp_path, **settings)
    assert guards(tmp_path)[1]["stopped"] == "flood"
    with monkeypatch.context() as patched:
        patched.setattr(Raro, "step", killed)
        told, warnings = trained(tmp_path, **settings)
    assert (told["steps"], told["stopped_by_guard"], len(told["alarms"])) == (0, "flood", 1)
    assert warnings.count("ended at step 0") == 1


def test_the_guard_that_ends_a_run_is_named_though_another_spoke_in_the_same_step(tmp_path):
    config = load("countdown-mini", ["guards.actions={flood: stop}", "guards.window=1"])
    guarding = Guarding(config, None, tmp_path, {}, lambda: None, None)
    assert guarding.after(1, {"policy/malformed": 0.9, "critic/tie": 0.9}) == 1 and guarding.stopped == "flood"
    assert [alarm["guard"] for alarm in guarding.watch.alarms] == ["flood", "tie"]


def test_a_roll_back_is_in_the_checkpoint_that_it_led_to(tmp_path, monkeypatch):
    """A gradient that is not finite in the fourth step leads to step 2; the run is killed before it gets further."""
    settings = SHORT | {"guards.actions": {"finite": "roll_back"}, "raro.checkpoint_every": 2}
    step = poisoned(Raro.step, 3)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Raro, "step", lambda self, number: step(self, number) if self.damping == 1.0 else killed())
        trained(tmp_path, **settings)
    at, held = guards(tmp_path)
    assert (at, held["damping"], held["rollbacks"], held["alarms"][0]["guard"]) == (2, 0.5, 1, "finite")
    monkeypatch.setattr(Raro, "step", step)
    told, warnings = trained(tmp_path, **settings)
    assert told["steps"] == 6 and [alarm["undone"] for alarm in told["alarms"]] == [True]
    assert warnings.count("rolled back to step 2") == 1


def test_a_step_whose_gradient_was_not_finite_has_its_snapshot(tmp_path, monkeypatch):
    """From the fourth of six steps on none is finite: what is kept there are the weights as they stand."""
    monkeypatch.setattr(Raro, "step", poisoned(Raro.step, 3))
    more = {"guards.actions": {"finite": "damp"}, "raro.snapshots": 6, "raro.checkpoint_every": 50}
    told, _ = trained(tmp_path, **SHORT, **more)
    assert told["steps"] == 6 and told["selection"]["steps"] == [1, 2, 3, 4, 5, 6]


def test_what_was_undone_leaves_neither_snapshots_nor_judged_pairs(tmp_path, monkeypatch):
    """Ended at the good checkpoint of step 2, with the weights of step 1 and 2 to choose from, not those of step 3."""
    monkeypatch.setattr(Raro, "step", poisoned(Raro.step, 3))
    settings = {"guards.actions": {"finite": "stop"}, "raro.checkpoint_every": 2, "raro.snapshots": 6}
    told, warnings = trained(tmp_path, **settings, **SHORT)
    assert (told["steps"], told["stopped_by_guard"], told["selection"]["steps"]) == (2, "finite", [1, 2])
    assert "training ends with the last good checkpoint" in warnings[0] and warnings[1] == "ended at step 2"
    rows = (tmp_path / "train" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(row)["step"] for row in rows} == {1, 2}
    made, kept = (tmp_path / name for name in ("train/model/model.safetensors", "checkpoints/weights-{:06d}.safetensors"))
    ours, theirs = load_file(made), load_file(str(kept).format(told["selected_step"]))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def test_a_flood_of_a_single_step_goes_back_past_the_weights_that_flooded(tmp_path, monkeypatch):
    """What step 3 wrote, the update of step 2 had led to: with a window of one, good is the checkpoint of step 1."""
    play = Raro.step

    def flooded(self, number):
        figures, rows = play(self, number)
        return figures | {"policy/malformed": 0.9 if number == 2 and self.damping == 1.0 else 0.0}, rows

    monkeypatch.setattr(Raro, "step", flooded)
    settings = {"guards.window": 1, "guards.actions": {"flood": "roll_back"}, "raro.checkpoint_every": 1}
    told, warnings = trained(tmp_path, **settings, **SHORT)
    assert "rolled back to step 1" in warnings and told["alarms"][0]["step"] == 3


def test_judged_pairs_of_steps_that_are_made_again_stand_there_once(tmp_path):
    """Whatever an expert wrote: a line's end of Unicode's own (U+2028) ends no line of the file."""
    pairs = Transcripts(tmp_path / "pairs.jsonl", 0)
    for step in (1, 1, 2, 3):
        pairs.add([{"step": step, "expert": "one\u2028two\x85three"}])
    with pairs.path.open("a") as file:
        file.write('{"step"')  # and here the process was killed
    pairs.back(1)
    pairs.add([{"step": 2}])
    pairs.copy(tmp_path / "copy")
    assert [json.loads(line)["step"] for line in (tmp_path / "copy").open(encoding="utf-8")] == [1, 1, 2]


def test_an_alarm_stands_that_was_raised_since_the_policy_plays_and_whose_steps_were_not_undone():
    game = SimpleNamespace(plays_from=None, damping=1.0)
    guarding = Guarding(load("countdown-mini", ["guards.actions={finite: warn}"]), game, None, {}, lambda: None, None)
    for step in (1, 10, 20):
        guarding.after(step, {"health/accuracy": 0.6})
    assert [alarm["guard"] for alarm in guarding.watch.alarms] == ["chance"] and guarding.alarmed is None
    game.plays_from = 24
    guarding.not_finite(26, NotFinite("the gradient is not finite", ""))
    assert guarding.alarmed is None
    for step in range(28, 32):
        guarding.after(step, {"critic/tie": 0.9, "policy/malformed": 0.9 if step > 28 else 0.0})
    assert guarding.alarmed == (28, 30) and len(guarding.watch.alarms) == 4
    guarding.watch.undone(30)
    assert guarding.alarmed == (28, 30)
    guarding.watch.undone(29)
    assert guarding.alarmed is None


@pytest.mark.parametrize("action", [None, "off", "warn"])
def test_a_gradient_that_is_not_finite_fails_the_run_unless_told_otherwise(action):
    config = load("countdown-mini", [f"guards.actions={{finite: '{action}'}}"] if action else [])
    guarding = Guarding(config, None, None, {}, lambda: None, None)
    if action:
        assert guarding.not_finite(4, NotFinite("the gradient is not finite", "")) == 5 and not guarding.went_back
        assert len(guarding.watch.alarms) == (action == "warn")
    else:
        with pytest.raises(NotFinite):
            guarding.not_finite(4, NotFinite("the gradient is not finite", ""))


@pytest.mark.parametrize("compared", [22, 16, 5])
def test_a_checkpoint_from_before_a_lottery_is_still_there(tmp_path, compared):
    """Past the first steps of play it is told by looks that are ten steps apart, by more of them the fewer questions give a
    comparison."""
    config = load("countdown-mini", ["guards.actions={lottery: roll_back}"])
    guarding = Guarding(config, None, None, {}, lambda: None, None)
    model, keep = torch.nn.Linear(1, 1), config.raro.keep_checkpoints
    save = lambda step: checkpoints.save(  # noqa: E731
        tmp_path, step, model, torch.optim.SGD(model.parameters()), {}, {}, keep, doubted=guarding.doubted
    )
    save(0)
    step, found, most = 0, [], 0
    while not found:
        step += 1
        look = {"game/retest": 0.9 if step < 700 else 0.3, "game/retested": float(compared)} if step % 10 == 0 else {}
        found = guarding.watch.observe(step, look)
        if step % config.raro.checkpoint_every == 0:
            save(step)
            most = max(most, len(checkpoints.existing(tmp_path)))
    kept = [checkpoints.step_of(path) for path in checkpoints.existing(tmp_path)]
    apart = found[0].since - max(at for at in kept if at < found[0].since)
    assert found[0].guard == "lottery" and apart <= 10 * (TRIALS / compared) + 2 * config.raro.checkpoint_every
    assert most <= keep + 2


SEEN = {
    "flood": ("policy/malformed", 0.0, 1.0, 1), "drift": ("policy/kl", 0.01, 3.0, 1),
    "chance": ("health/accuracy", 0.9, 0.5, 10), "cycling": ("game/older", 0.5, 0.9, 15),
}  # fmt: skip
"""Guard: its figure, sound and not, and every how many steps it is looked at."""


@pytest.mark.parametrize("guard", SEEN)
@pytest.mark.parametrize("fell", [40, 47, 80])
def test_of_every_guard_a_checkpoint_from_before_its_alarm_is_kept(tmp_path, guard, fell):
    """One step apart, all guards may go back; the disk holds two of each beside the newest."""
    config = load("countdown-mini", [f"guards.actions={{{', '.join(f'{name}: roll_back' for name in SEEN)}}}"])
    guarding, step, found, most = Guarding(config, None, None, {}, lambda: None, None), 0, [], 0
    model, keep = torch.nn.Linear(1, 1), config.raro.keep_checkpoints
    while not found:
        step += 1
        looks = {name: look for name, look in SEEN.items() if step % look[-1] == 0}
        figures = {figure: bad if name == guard and step >= fell else good for name, (figure, good, bad, _) in looks.items()}
        found = guarding.watch.observe(step, figures)
        optimiser = torch.optim.SGD(model.parameters())
        checkpoints.save(tmp_path, step, model, optimiser, {}, {}, keep, doubted=guarding.doubted)
        most = max(most, len(checkpoints.existing(tmp_path)))
    kept = [checkpoints.step_of(path) for path in checkpoints.existing(tmp_path)]
    assert found[0].guard == guard and most <= keep + 2 * len(SEEN)
    assert found[0].since - max(at for at in kept if at < found[0].since) <= (config.guards.window + RISE) * SEEN[guard][-1]


def test_a_threshold_near_one_is_no_alarm_before_anything_is_measured():
    watch = Watch(Guards(window=2, chance=0.9, fooled=0.9, lottery=0.9))
    told = [watch.observe(step, {"health/accuracy": 0.8, "critic/accuracy": 0.8}) for step in (1, 2)]
    assert told[0] == [] and {alarm.guard for alarm in told[1]} == {"chance", "fooled"}


def test_only_what_a_guard_that_goes_back_remembers_is_doubted():
    watch = Watch(Guards(window=2))
    assert watch.doubted({"tie", "lottery"}) == []
    for step in range(1, 31):
        watch.observe(step, {"critic/tie": 0.1, "policy/kl": 0.01})
        if step % 10 == 0:
            watch.observe(step, {"game/retest": 0.9, "game/retested": 60.0})
    told = [watch.doubted({name}) for name in ("tie", "drift", "lottery", "finite", "fooled")]
    assert told == [[29], [24], [10], [], []] and watch.doubted({"tie", "drift", "lottery", "flood"}) == [10, 24, 29]
    watch.observe(40, {"game/retest": 0.9, "game/retested": 60.0})
    assert watch.doubted({"tie", "lottery"}) == [20, 29]
    watch.forget()
    assert watch.doubted({"tie", "lottery"}) == []
