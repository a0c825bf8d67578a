"""What a step of the game hands to the learner: who is taught, by what, measured against whom, and how much it weighs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from test_methods import made, speaker  # noqa: F401  (the fixture)

from raro.game import rewards
from raro.learning.losses import on_policy, policy_gradient
from raro.methods.method import learning_rate
from raro.records import Pair
from raro.roles.judgements import by_rollout

QUICK = ("probes.health_every=0", "probes.retest_every=0", "probes.gradients_every=0", "probes.older_items=0")


def handed(game, step: int):
    """(samples, streams, figures) of a step in which nothing is learnt."""
    found = []
    game.learn = lambda *given: found.append(given) or {}
    figures, _ = game.step(step)
    ((samples, streams, _),) = found
    return samples, streams, figures


def of(samples, stream: str):
    return [sample for sample in samples if sample.stream == stream]


@pytest.mark.parametrize("held", [0.0, 0.05])
def test_behind_the_gate_the_policy_is_held_where_it_is_and_only_the_critic_is_taught(held, speaker):  # noqa: F811
    settings = ("raro.gate=0.99", f"raro.kl_held={held}", "raro.kl_pol=0.002", "raro.kl_crit=0.003", *QUICK)
    game, asked = made("raro", speaker, *settings), []
    judge = game.judge
    game.judge = lambda shown, *more: asked.append(len(shown)) or judge(shown, *more)
    samples, streams, figures = handed(game, 0)
    assert asked == [4] and figures["game/gate_open"] == 0, "of the pairs only those that it is trained on"
    assert (streams["policy"].kl, streams["critic"].kl) == (held, 0.003)
    assert {(s.advantage, s.weight) for s in of(samples, "policy")} == ({(0.0, 1.0)} if held else set())
    assert any(s.advantage for s in of(samples, "critic"))
    game.gate.open = True
    samples, streams, figures = handed(game, 1)
    assert asked[1] > 8 and figures["game/gate_open"] == 1 and streams["policy"].kl == 0.002
    assert len(of(samples, "policy")) == 12 and any(s.advantage for s in of(samples, "policy"))


def test_a_tie_pays_the_critic_more_and_more_once_the_gate_has_opened(speaker):  # noqa: F811
    settings = ("raro.gate=0.99", "raro.tau_start=0.2", "raro.tau_crit=0.8", "raro.tau_ramp=4", *QUICK)
    game, paid = made("raro", speaker, *settings), []
    critic_samples = game.critic_samples
    game.critic_samples = lambda judged, tau: paid.append(tau) or critic_samples(judged, tau)
    told = []
    for step in range(8):
        if step == 2:
            game.gate.open, game.gate.step_opened = True, 1
        told.append(handed(game, step)[2]["game/tau_crit"])
    assert paid == told == pytest.approx([0.2, 0.2, 0.35, 0.5, 0.65, 0.8, 0.8, 0.8])


def test_a_critic_that_nearly_always_wins_is_damped_and_its_kl_is_not(speaker):  # noqa: F811
    game = made(
        "raro", speaker, "raro.balance=0.9", "raro.lambda_crit=0.4", "raro.lambda_pol=0.6", "raro.kl_crit=0.003", *QUICK
    )
    game.gate.share = 0.95
    _, streams, _ = handed(game, 0)
    assert streams["critic"].coefficient == pytest.approx(0.2) and streams["critic"].kl == 0.003
    assert streams["policy"].coefficient == 0.6 and game.gate.share != 0.95


@pytest.mark.parametrize("verdict", ["said", "expected"])
def test_a_verdict_is_measured_by_the_others_on_its_question_and_a_replayed_one_by_the_replayed(verdict, speaker):  # noqa: F811
    settings = ("raro.critic_group=question", "raro.verdicts=2", "raro.overlong=zero", f"raro.verdict={verdict}", *QUICK)
    game = made("raro", speaker, *settings)
    handed(game, 0)
    judged = game.judge([*game.pair(game.answer(game.draw(1), 1), 1), *game.recall(1)], 1)
    given = [judgement for group in judged for judgement in group]
    groups = [j.pair.question if j.pair.age == 0 else None for j in given]
    assert len(set(groups)) == 3 and {j.pair.question for j in given if j.pair.age} & set(groups)
    samples, worth = game.critic_samples(judged, 0.55), [rewards.critic_reward(j.probs, 0.55) for j in given]
    checked = 0
    for i, judgement in enumerate(given):
        others = [worth[k] for k in range(len(given)) if groups[k] == groups[i] and k != i]
        own = [s for s in samples if s.prompt_ids == judgement.prompt.ids and s.completion_ids in judgement.words.values()]
        alike = [j for j in given if j.prompt.ids == judgement.prompt.ids and j.completion.ids == judgement.completion.ids]
        if len(alike) == 1 and len(own) == len(judgement.words):
            learnt = sum(s.weight * s.advantage for s in own)
            assert learnt == pytest.approx(worth[i] - sum(others) / len(others), abs=0.01), "but for words that are rare"
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize("overlong", ["filter", "zero"])
def test_an_answer_that_was_cut_off_is_left_out_or_earns_nothing(overlong, speaker):  # noqa: F811
    game = made("raro", speaker, f"raro.overlong={overlong}", "rollout.policy_tokens=24", *QUICK)
    answers = game.answer(game.draw(0), 0)
    earned = game.earned(answers, game.judge(game.pair(answers, 0), 0), 0)
    samples = game.policy_samples(answers, earned)
    cut = [i for i, answer in enumerate(answers) if answer.completion.finish == "length"]
    assert 0 < len(cut) < len(answers)
    assert {(earned[i], samples[i].weight) for i in cut} == {(0.0, 1.0) if overlong == "zero" else (None, 0.0)}
    for group in (range(6), range(6, 12)):
        counted = [earned[i] for i in group if earned[i] is not None]
        told = [samples[i].advantage for i in group if earned[i] is not None]
        assert told == pytest.approx([reward - sum(counted) / len(counted) for reward in counted])


@pytest.mark.parametrize("overlong", ["filter", "zero"])
def test_a_verdict_that_was_cut_off_is_left_out_or_earns_nothing(overlong, speaker):  # noqa: F811
    small = ("rollout.critic_tokens=20", "raro.critic_group=pair", "raro.verdict=said")
    game = made("raro", speaker, f"raro.overlong={overlong}", *small, *QUICK)
    mixed = 0
    for group in game.judge(game.pair(game.answer(game.draw(0), 0), 0), 0):
        cut = [j.completion.finish == "length" for j in group]
        counted = [0.0 if c else rewards.critic_reward(j.probs, 0.55) for j, c in zip(group, cut, strict=True)]
        counted = [r for r, c in zip(counted, cut, strict=True) if overlong == "zero" or not c]
        mixed += 0 < sum(cut) < len(cut) and len(set(counted)) > 1
        taught = [(s.advantage, s.weight) for s in game.critic_samples([group], 0.55)]
        mean = sum(counted) / len(counted) if counted else 0.0
        wanted = iter([(pytest.approx(reward - mean), 1.0) for reward in counted])
        assert taught == [next(wanted) if overlong == "zero" or not c else (0.0, 0.0) for c in cut]
    assert mixed


def test_each_role_is_learnt_from_at_its_own_temperature_and_budget(speaker):  # noqa: F811
    warm = ("rollout.temperature=0.7", "rollout.critic_temperature=0.4", "raro.verdict=said")
    game = made("raro", speaker, *warm, "raro.normalise=constant", *QUICK)
    streams = {role: game.stream(role, 1.0, 0.0) for role in ("policy", "critic")}
    assert {role: (s.temperature, s.budget) for role, s in streams.items()} == {"policy": (0.7, 48), "critic": (0.4, 32)}
    figures, _ = game.step(0)
    assert max(figures["policy/mismatch"], figures["critic/mismatch"]) < 1e-4
    assert made("raro", speaker, "raro.normalise=tokens").stream("critic", 1.0, 0.0).budget == 0


def test_a_rollout_is_told_what_both_orders_say_and_not_what_was_said_of_older_answers():
    """Two verdicts in each order: the first of one order goes with the first of the other."""

    def said(rollout_id, age, *chances):
        return [SimpleNamespace(pair=Pair("q", "e", "a", True, age, rollout_id), probs=one) for one in chances]

    judged = [
        said(0, 0, {"expert": 1.0}, {"policy": 1.0}),
        said(1, 0, {"tie": 1.0}, {"policy": 0.5, "expert": 0.5}),
        said(0, 0, {"expert": 1.0}, {"expert": 1.0}),
        said(1, 0, {"malformed": 1.0}, {"policy": 1.0}),
        said(-1, 3, {"policy": 1.0}, {"policy": 1.0}),
    ]
    assert by_rollout(judged) == {
        0: [{"expert": 1.0}, {"tie": 1.0}],
        1: [{"tie": 1.0}, {"policy": 0.5, "tie": 0.5}],
    }


def test_the_gate_hears_of_the_present_answers_alone(speaker):  # noqa: F811
    game, heard = made("raro", speaker, "raro.gate=0.99", "raro.pairs=24", *QUICK), []
    game.gate.observe = lambda step, *named: heard.append(named)
    judge = game.judge
    judged: list = []
    game.judge = lambda *given: judged.extend(found := judge(*given)) or found
    for step in range(2):
        judged.clear()
        handed(game, step)
        outcomes = [j.outcome for group in judged for j in group if j.pair.age == 0]
        assert heard[-1] == (outcomes.count("expert"), outcomes.count("policy"))
    older = [j.outcome for group in judged for j in group if j.pair.age]
    assert {"expert", "policy"} & set(older), "there was something that it must not hear"


def test_which_fresh_pairs_the_critic_is_trained_on_changes_and_comes_to_all_of_them(speaker):  # noqa: F811
    game = made("raro", speaker, "raro.pairs=4", *QUICK)
    fresh = [Pair("q", "e", "a", True, 0, i) for i in range(12)]
    trained = [[pair.rollout_id for pair in game.shared_out(fresh, step)[0]] for step in range(40)]
    assert {len(ids) for ids in trained} == {2} and len({tuple(ids) for ids in trained}) > 20
    assert set().union(*trained) == set(range(12))


def test_a_rollout_that_is_learnt_from_twice_is_clipped_against_its_own_log_probabilities(speaker):  # noqa: F811
    """Two updates of the clipped surrogate, whose ratio is to what the tokens were sampled with."""
    clipped = ("raro.updates=2", "raro.clip_low=0.001", "raro.clip_high=0.002", "raro.verdict=said")
    game = made("rlvr", speaker, *clipped)
    answers = game.answer(game.draw(0), 0)
    samples = game.policy_samples(answers, [float(i % 3 == 0) for i in range(len(answers))])
    streams = {"policy": game.stream("policy", 1.0, 0.0)}
    by_hand, once = game.learner.twin(), game.learner.twin()
    game.update(samples, streams, 5)
    rate = learning_rate(
        game.config.raro.learning_rate, 5, game.progress(5), game.config.raro.lr_warmup, game.config.raro.decay
    )
    for _ in range(2):
        by_hand.update(samples, streams, policy_gradient(0.001, 0.002), rate)
        once.update(samples, streams, on_policy, rate)
    after = [list(model.parameters()) for model in (game.speaker.model, by_hand.model, once.model)]
    assert all(torch.equal(a, b) for a, b in zip(*after[:2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after[0], after[2], strict=True)), "the clip bound"
