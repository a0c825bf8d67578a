"""The snapshot matrix: a real one over real snapshots, its gap and its ratings; strengths that are known are found again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from raro.benchmarks.statistics import bradley_terry
from raro.config import load
from raro.demonstrations import load_split
from raro.game.rewards import win
from raro.game.verdicts import outcome
from raro.learning.checkpoints import save_weights, snapshots
from raro.methods.selection import select, selected_items
from raro.probes.matrix import against, duality_gaps, points_of_each
from raro.records import Pair, Sampling
from raro.roles import asking, judging
from raro.rollout.models import open_model
from raro.rollout.places import Place
from raro.steps import run_step
from raro.storage import fetch


def played(strengths, n, seed=0):
    """n rounds of everybody against everybody, selected_items with these strengths."""
    rng, players = np.random.default_rng(seed), len(strengths)
    table = np.full((n, players, players), np.nan)
    for a in range(players):
        for b in range(a):
            won = rng.random(n) < 1 / (1 + np.exp(strengths[b] - strengths[a]))
            table[:, a, b], table[:, b, a] = won, ~won
    return table


def test_known_strengths_are_found_again_and_lie_in_their_intervals():
    known = [0.0, 1.0, -0.5, 2.0]
    found = bradley_terry(played(known, 3000), resamples=200)
    assert found[0] == (0.0, 0.0, 0.0)
    for (estimate, low, high), truth in zip(found[1:], known[1:], strict=True):
        assert abs(estimate - truth) < 0.15 and low < estimate < high and high - low < 0.5


def test_intervals_cover_about_as_often_as_they_say_and_who_never_lost_stays_finite():
    inside = [low <= 1.0 <= high for s in range(40) for _, low, high in [bradley_terry(played([0, 1.0], 100, s), 200)[1]]]
    assert sum(inside) >= 34
    estimate, _, high = bradley_terry(played([0, 1000.0], 20), 50)[1]
    assert 2 < estimate < 5 and np.isfinite(high)


def test_players_who_never_met_are_compared_through_a_third():
    table = played([0.0, 1.0, 2.0], 4000)
    table[:, 0, 2] = table[:, 2, 0] = np.nan
    assert bradley_terry(table, 50)[2][0] == pytest.approx(2, abs=0.25)


def test_the_gap_is_what_either_could_win_by_being_another_of_its_kind():
    assert duality_gaps([[0.3, 0.5], [0.2, 0.4]]) == pytest.approx([0.0, 0.3])
    rates = np.random.default_rng(0).random((6, 6))
    assert min(duality_gaps(rates.tolist())) >= 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three snapshots: the base, the base again, and one that was destroyed."""
    folder = tmp_path_factory.mktemp("run")
    config = load("countdown-mini", ["probes.matrix_items=6", "rollout.policy_tokens=60"])
    run_step("ingest", config, folder)
    speaker = open_model(fetch("package://countdown-mini"), config)
    save_weights(folder, 10, speaker.model)
    save_weights(folder, 20, speaker.model)
    with torch.no_grad():
        for weight in speaker.model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.05)
    save_weights(folder, 30, speaker.model)
    return config, speaker, snapshots(folder), load_split(folder / "ingest", "dev")[:12]


def test_of_a_large_dev_split_a_sample_is_asked(run):
    config, speaker, kept, dev = run
    few = load("countdown-mini", ["probes.select_items=5", "probes.matrix_items=0", "rollout.policy_tokens=60"])
    some = selected_items(dev, few)
    assert len(some) == 5 and some == selected_items(dev, few) == [d for d in dev if d in some] != dev[:5]
    assert selected_items(dev, config) == dev == selected_items(dev, load("countdown-mini", ["probes.select_items=0"]))
    rates = 20 * np.array(select(speaker, kept, dev, few, judges=1).win_rates)
    assert rates.any() and np.allclose(rates, rates.round()), "means of quarters over five items"


def test_a_real_matrix(run):
    config, speaker, kept, dev = run
    found = select(speaker, kept, dev, config, judges=1)
    matrix = found.matrix
    assert matrix.steps == [10, 20, 30] and matrix.n == 6 and np.shape(matrix.win_rates) == (3, 3)
    assert matrix.win_rates[0] == matrix.win_rates[1] and [row[0] for row in matrix.win_rates] == [
        row[1] for row in matrix.win_rates
    ]
    assert matrix.win_rates[2] == [0.0, 0.0, 0.0]  # a destroyed policy writes nothing that can be read
    assert matrix.duality_gap == pytest.approx(duality_gaps(matrix.win_rates))
    assert matrix.ratings[0] == pytest.approx(matrix.ratings[1]) and matrix.ratings[2][0] < matrix.ratings[0][0]
    assert (
        found.chosen
        == select(speaker, kept, dev, load("countdown-mini", ["probes.matrix_items=0", "rollout.policy_tokens=60"]), 1).chosen
    )
    json.dumps(matrix.ratings)


def test_equal_answers_and_malformed_ones_need_no_judge(run):
    config, speaker, _, dev = run
    texts = [dev[0].answer, None, dev[2].answer, None]
    assert against(speaker, speaker.engine(config), dev[:4], texts, [dev[0].answer, None, None, dev[3].answer], config) == [
        0.5,
        0.5,
        1.0,
        0.0,
    ]


def test_what_many_say_is_judged_at_once_and_the_same_words_once(run):
    config, speaker, _, dev = run
    items, engine = dev[:4], speaker.engine(config)
    texts = [[d.answer for d in items], [dev[5].answer, items[1].answer, None, dev[6].answer]]
    asked = []

    class Heard:
        def generate(self, prompts, n, sampling, progress=None):
            asked.append([prompt.ids for prompt in prompts])
            return engine.generate(prompts, n, sampling, progress)

    def alone(item, answer):
        """The slow twin: one pair of the two, in both orders, each asked by itself."""
        shown = [Pair(item.question, item.answer, answer, first, 0, 0) for first in (True, False)]
        sampling = Sampling(0.0, config.rollout.critic_tokens, config.seed, Place.JUDGING)
        wrote = [engine.generate([asking.critic(speaker, pair, config, "judging", 0)], 1, sampling)[0][0] for pair in shown]
        said = [outcome(judging.parse_verdict(speaker, one, config), pair) for one, pair in zip(wrote, shown, strict=True)]
        return sum(map(win, said)) / 2

    apart = [[0.0 if a is None else alone(i, a) for i, a in zip(items, given, strict=True)] for given in texts]
    assert points_of_each(speaker, Heard(), items, texts, config) == apart
    (once,) = asked
    own = 4  # an expert's answer beside itself is the same in both orders
    assert len(once) == len(set(once)) == own + 2 * 2
    judging.verdicts(speaker, Heard(), [*items, *items], [*texts[0], *texts[0]], config, temperature=0.8)
    assert len(asked[1]) == 4 * len(items), "what is selected_items is selected_items for each"
    assert points_of_each(speaker, Heard(), [], [[], []], config) == [[], []]


def test_a_critic_that_knows_too_little_does_not_judge(run):
    config, speaker, kept, dev = run
    found = select(speaker, kept, dev, config, judges=2)
    assert found.judges == [10, 20] and found.unfit == [(30, 0.5)] and np.shape(found.win_rates) == (3, 2)
    assert found.chosen == 20 and not found.instead and found.warning.endswith("did not judge: step 30 (0.50)")


def test_where_no_critic_can_judge_the_last_snapshot_before_the_alarm_is_taken(run):
    config, speaker, kept, dev = run
    lost = [(step, kept[-1][1]) for step in (10, 20, 30)]
    chosen = {}
    for alarmed in (None, (25, 28), (10, 25), (5, 7)):
        found = select(speaker, lost, dev, config, alarmed=alarmed)
        chosen[alarmed] = found.chosen
        assert found.judges == [] and found.win_rates == [[], [], []] and len(found.unfit) == 3
        assert found.matrix.n == 6 and found.instead in found.warning and "no critic could judge" in found.instead
    assert chosen == {None: 30, (25, 28): 20, (10, 25): 20, (5, 7): 30}
