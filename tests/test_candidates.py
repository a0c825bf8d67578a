"""Among which of its snapshots a game's candidate is chosen, and which is taken where there is nothing to choose from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_methods import DEMONSTRATIONS, made, speaker  # noqa: F401  (the fixture)

from raro.learning.checkpoints import save_weights, snapshots
from raro.methods.kl_budget import under_budget
from raro.methods.selection import latest_level

FEW = ("probes.matrix_items=0", "probes.health_items=2", "rollout.policy_tokens=60")


def ended(game, folder: Path, kl: dict[int, float]):
    """The game after its last step, with unlike snapshots at these steps."""
    for step in kl:
        save_weights(folder, step, game.speaker.model)
        with torch.no_grad():
            for weight in game.speaker.model.parameters():
                weight *= 1.01
    game.kl = dict(kl)
    return game


def holds(game, folder: Path, step: int) -> bool:
    theirs = load_file(dict(snapshots(folder))[step])
    return all(torch.equal(weight, theirs[name]) for name, weight in game.speaker.model.named_parameters())


@pytest.mark.parametrize(
    ("kl", "chosen", "why"),
    [({2: 0.05, 4: 0.2, 6: 0.3}, 2, "no two could be compared"), ({2: 0.4, 4: 0.2, 6: 0.3}, 4, "all are above")],
    ids=["one within", "none within"],
)
def test_the_one_snapshot_that_a_kl_budget_leaves_is_the_candidate(kl, chosen, why, speaker, tmp_path):  # noqa: F811
    game = ended(made("raro", speaker, "raro.kl_budget=0.1", *FEW), tmp_path, kl)
    found = game.select(snapshots(tmp_path), DEMONSTRATIONS)
    assert (found.chosen, found.steps, found.judges, found.win_rates) == (chosen, [chosen], [], [[]])
    assert found.warning.startswith("the candidate is the") and why in found.warning and "raro.kl_budget, 0.1" in found.warning
    assert holds(game, tmp_path, chosen)


def test_without_anybody_to_judge_it_a_budget_is_kept_and_without_a_budget_it_is_the_last_step_s(speaker, tmp_path):  # noqa: F811
    game = ended(made("raro", speaker, "raro.kl_budget=0.25", *FEW), tmp_path, {2: 0.05, 4: 0.2, 6: 0.3})
    assert game.select(snapshots(tmp_path), []).chosen == 4 and holds(game, tmp_path, 4)
    free = made("raro", speaker, *FEW)
    assert free.select(snapshots(tmp_path)[:1], DEMONSTRATIONS) is None and free.select(snapshots(tmp_path), []) is None


def test_a_snapshot_from_behind_a_gate_that_shut_again_is_held_to_the_budget_too(speaker, tmp_path):  # noqa: F811
    """Its KL is kept though nothing is compared there; where it was not measured it is that of before."""
    game = made("raro", speaker, "raro.gate=0.99", "raro.snapshots=6", *FEW)
    game.step(0)
    assert set(game.kl) == {1} and game.probes.older == [] and game.plays_from is None
    other = made("raro", speaker, *FEW)
    other.restore(json.loads(json.dumps(game.state())))
    assert other.kl == game.kl and made("raro", speaker, *FEW).plays_from == 1
    two, four, six = [(step, tmp_path) for step in (2, 4, 6)]
    assert under_budget([two, four, six], {4: 0.3}, 0.1) == [two] and under_budget([four, six], {4: 0.3}, 0.1) == [four]


def test_a_snapshot_of_the_step_that_opened_the_gate_is_none_of_a_policy_that_has_played(speaker, tmp_path):  # noqa: F811
    """The gate opened by the fourth step, which counts as 3 from 0: the policy plays in the fifth."""
    game = ended(made("raro", speaker, *FEW), tmp_path, {2: 0.0, 4: 0.0, 5: 0.1, 6: 0.1})
    game.gate.step_opened = 3
    assert game.select(snapshots(tmp_path), DEMONSTRATIONS).steps == [5, 6]
    game.gate.step_opened = None
    assert game.select(snapshots(tmp_path), DEMONSTRATIONS).steps == [2, 4, 5, 6]


def test_of_those_that_chance_may_tell_apart_the_latest_is_taken_and_a_fall_is_not():
    draw = np.random.default_rng(0)
    good = draw.choice([0.0, 0.25, 0.5], 400)
    lucky = good + np.tile([0.26, -0.25], 200)  # level, and better by chance
    fallen = np.where(draw.random(400) < 0.2, 0.0, good)
    assert lucky.mean() > good.mean() > fallen.mean()
    assert latest_level([[lucky, good, fallen]], 2) == 1 and latest_level([[good, lucky, fallen]], 2) == 1
    assert latest_level([[lucky, good, fallen]], 0) == 0 and latest_level([[good, good, fallen]], 0) == 1
    assert latest_level([[good, good], [good, fallen]], 2) == 0, "one critic that sees the fall is enough"
    assert latest_level([[fallen, good]], 2) == 1 and latest_level([[good]], 2) == 0
    few, fewer, none = np.array([0.5] * 3 + [0.0] * 3), np.array([0.5] * 2 + [0.0] * 4), np.zeros(6)
    assert latest_level([[few, fewer, none]], 2) == 1, "a fall, of however few"
