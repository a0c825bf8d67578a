"""Every part of RARO that can be set otherwise: each setting does what it says, and goes on exactly from a checkpoint."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from test_methods import made, speaker  # noqa: F401  (the fixture)

from raro.config import load
from raro.errors import BadInput
from raro.game import advantages, controllers, rewards
from raro.learning import checkpoints
from raro.learning.losses import on_policy
from raro.rollout.scoring import score
from raro.text import END_THINK, THINK

IDENTITY = {"config": "c"}
VARIANTS = {
    "expected": ("raro.verdict=expected",),
    "expected, both orders, by question": ("raro.verdict=expected", "raro.orders=both", "raro.critic_group=question"),
    "no reasoning": ("raro.reasoning=false",),
    "no reasoning, expected": ("raro.reasoning=false", "raro.verdict=expected"),
    "absolute": ("raro.critic=absolute",),
    "absolute, by question": ("raro.critic=absolute", "raro.critic_group=question"),
    "each answer once": ("raro.judged=answers", "raro.orders=both"),
    "equal answers pooled": ("raro.judged=pooled", "raro.ceiling=0.6"),
    "no tie": ("raro.tie=false", "raro.verdict=expected"),
    "separate": ("raro.critic_model=separate",),
    "past critics": ("raro.past_critics=0.5",),
    "balance": ("raro.balance=0.5",),
    "no replay": ("raro.replay_share=0",),
    "latest replay": ("raro.replay_recent=1",),
    "importance weights": ("rollout.importance_cap=2",),
}


def parameters(game) -> list[torch.Tensor]:
    models = [game.speaker.model, *(part[0] for part in game.beside().values())]
    return [p.detach().clone() for model in models for p in model.parameters()]


def keep(game, folder, step: int) -> None:
    state = {"game": game.state()}
    checkpoints.save(folder, step, game.speaker.model, game.learner.optimiser, state, IDENTITY, 2, game.beside())
    checkpoints.save_weights(folder, step, game.speaker.model)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_learns_and_goes_on_exactly(settings, speaker, tmp_path):  # noqa: F811
    def play():
        game = made("raro", speaker, *settings)
        game.snapshots = lambda: checkpoints.snapshots(tmp_path)
        return game

    one = play()
    before = parameters(one)
    for step in range(3):
        if step:
            keep(one, tmp_path, step)
        figures, rows = one.step(step)
        assert all(math.isfinite(value) for value in figures.values())
        assert rows and all(row["policy_thought"] is not None for row in rows)
    moved = any(not torch.equal(a, b) for a, b in zip(before, parameters(one), strict=True))
    assert moved or "raro.critic=absolute" in settings  # the mini has never seen an answer alone, and finds no word for it
    two = play()
    found = checkpoints.newest(tmp_path, IDENTITY)
    assert found.step == 2
    checkpoints.restore(found, two.speaker.model, two.learner.optimiser, two.beside())
    two.restore(found.state["game"])
    two.step(2)
    assert all(torch.equal(a, b) for a, b in zip(parameters(one), parameters(two), strict=True))


def judged_by(speaker, *settings: str):  # noqa: F811
    game = made("raro", speaker, *settings)
    fresh = game.pair(game.answer(game.draw(0), 0), 0)
    return game, game.judge(fresh, 0)


def test_the_chances_are_the_models_own(speaker):  # noqa: F811
    """They sum to 1, and follow from the log-probabilities of the three whole completions."""
    game, judged = judged_by(speaker, "raro.verdict=expected")
    weighed = [j for group in judged for j in group if j.verdict != "malformed"]
    assert len(weighed) > 20
    for j in weighed[:8]:
        assert set(j.probs) == {"expert", "policy", "tie"} and sum(j.probs.values()) == pytest.approx(1)
        assert j.words[j.outcome] == j.completion.ids
        told = score(speaker.model, [j.prompt] * len(j.words), list(j.words.values()), 1.0, speaker.pad_id)
        mass = {name: math.exp(sum(values)) for name, values in zip(j.words, told, strict=True)}
        for name in mass:
            assert j.probs[name] == pytest.approx(mass[name] / sum(mass.values()), abs=2e-3)


def test_expected_verdicts_pay_the_same_on_average(speaker):  # noqa: F811
    """Over many verdicts on the same pairs, what was said agrees with what could have been said."""
    _, judged = judged_by(speaker, "raro.verdict=expected", "raro.verdicts=64")
    found = [j for group in judged for j in group if j.verdict != "malformed"]
    said = [rewards.policy_reward([{j.outcome: 1.0}], 0.6) for j in found]
    expected = [rewards.policy_reward([j.probs], 0.6) for j in found]
    spread = lambda values: sum((v - sum(values) / len(values)) ** 2 for v in values) / len(values)  # noqa: E731
    error = math.sqrt(spread([a - b for a, b in zip(said, expected, strict=True)]) / len(found))
    assert abs(sum(said) - sum(expected)) / len(found) < 4 * error
    assert spread(expected) < spread(said)


def test_a_ceiling_is_held_against_the_mean_of_an_expected_verdict():
    torn = {"policy": 0.6, "expert": 0.4}
    words = sum(p * rewards.policy_reward([{word: 1.0}], 0.6, 0.6) for word, p in torn.items())
    assert (rewards.policy_reward([torn], 0.6, 0.6), words) == pytest.approx((0.6, 0.36))


def test_an_expected_verdict_has_the_gradient_of_its_expectation(speaker):  # noqa: F811
    """The weighted words' gradient is that of sum_v p(v | thought) * (r(v) - b) plus the thought's own policy gradient, by the
    tokens that were written: a malformed verdict, which has no other words, counts by its own."""
    game, judged = judged_by(speaker, "raro.verdict=expected", "raro.critic_group=pair", "raro.kl_crit=0")
    group = next(g for g in judged if all(len(j.words) == 3 for j in g))
    cut = group[0].completion.ids[:2]
    broken = replace(group[0].completion, ids=cut, logprobs=group[0].completion.logprobs[:2], finish="length")
    unread = replace(group[0], completion=broken, verdict="malformed", outcome="malformed", probs={"malformed": 1.0})
    group = [replace(unread, words={"malformed": cut}), *group[1:]]
    tau = 0.55
    game.learner.settings = game.learner.settings.__class__(learning_rate=0.0, max_grad_norm=0.0)
    samples = game.critic_samples([group], tau)
    game.learner.update(samples, {"critic": game.stream("critic", 1.0, 0.0)}, on_policy, 0.0)
    got = torch.cat([p.grad.flatten() for p in game.speaker.model.parameters()])

    model = game.speaker.model
    earned = [rewards.critic_reward(j.probs, tau) for j in group]
    written = sum(j.probs[name] * len(ids) for j in group for name, ids in j.words.items())
    assert written == pytest.approx(sum(len(j.completion.ids) for j in group)), "each word of the mini is one token"
    objective = 0.0
    for j, advantage in zip(group, advantages.centred(earned), strict=True):
        mean = rewards.critic_reward(j.probs, tau) - advantage
        for name, ids in j.words.items():
            logprobs = torch.log_softmax(model(torch.tensor([[*j.prompt.ids, *ids]])).logits[0], -1)
            start = len(j.prompt.ids)
            said = logprobs[torch.arange(start - 1, start - 1 + len(ids)), torch.tensor(ids)].sum()
            objective = objective + j.probs[name] * (rewards.critic_reward({name: 1.0}, tau) - mean) * said
    model.zero_grad()
    (-objective / written).backward()
    want = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert torch.allclose(got, want, rtol=1e-3, atol=1e-6)


def test_a_critic_without_reasoning_only_says_its_word(speaker):  # noqa: F811
    game, judged = judged_by(speaker, "raro.reasoning=false")
    closed = speaker.completion(f"{THINK} {END_THINK}")[:-1]
    assert any(j.verdict != "malformed" for group in judged for j in group)
    for j in (j for group in judged for j in group):
        assert j.prompt.ids[-len(closed) :] == closed
        if j.verdict != "malformed":
            assert speaker.text(j.completion.ids).strip() in ("first", "second", "tie")


def test_the_absolute_critic_sees_one_answer_and_pays_by_it(speaker):  # noqa: F811
    game, judged = judged_by(speaker, "raro.critic=absolute")
    pairs = [group[0].pair for group in judged]
    assert sum(p.expert_first for p in pairs) * 2 == len(pairs)
    for group in judged:
        pair, text = group[0].pair, speaker.tokenizer.decode(group[0].prompt.ids)
        shown = pair.expert if pair.expert_first else pair.policy
        assert shown in text and "Second answer" not in text
        assert (pair.rollout_id == -1) == pair.expert_first
        for j in group:
            named = {"first": "expert", "second": "policy"} if pair.expert_first else {"first": "policy", "second": "expert"}
            assert j.outcome == named.get(j.verdict, j.verdict)


def test_an_answer_that_several_rollouts_gave_is_judged_once_and_pays_them_all(speaker):  # noqa: F811
    game = made("raro", speaker, "raro.judged=answers", "raro.rollouts=16")
    answers = game.answer(game.draw(0), 0)
    fresh = game.pair(answers, 0)
    given = {(a.item, a.text) for a in answers if a.text is not None}
    assert len(fresh) == len(given) < sum(a.text is not None for a in answers)
    assert {(answers[p.rollout_id].item, p.policy) for p in fresh} == given
    paid: dict[tuple, set] = {}
    for answer, reward in zip(answers, game.earned(answers, game.judge(fresh, 0), 0), strict=True):
        paid.setdefault((answer.item, answer.text), set()).add(reward)
    assert all(len(rewards) == 1 for rewards in paid.values()) and len({min(r) for r in paid.values()}) > 1


def test_pooled_equal_answers_are_paid_by_all_their_verdicts_and_no_verdict_above_the_ceiling(speaker):  # noqa: F811
    game = made("raro", speaker, "raro.judged=pooled", "raro.rollouts=16", "raro.ceiling=0.5", "raro.verdict=expected")
    answers = game.answer(game.draw(0), 0)
    judged = game.judge(game.pair(answers, 0), 0)
    said: dict[tuple, list[float]] = {}
    for judgement in itertools.chain.from_iterable(judged):
        answer, chances = answers[judgement.pair.rollout_id], judgement.probs
        if "malformed" not in chances:
            pays = chances.get("policy", 0.0) + 0.6 * chances.get("tie", 0.0)
            said.setdefault((answer.item, answer.text), []).append(min(0.5, pays))
    assert len(judged) == sum(a.text is not None for a in answers) > len(said)
    assert max(map(max, said.values())) == 0.5 and any(len(set(pays)) > 1 for pays in said.values())
    for answer, reward in zip(answers, game.earned(answers, judged, 0), strict=True):
        if pays := said.get((answer.item, answer.text)):
            assert reward == pytest.approx(sum(pays) / len(pays))


def test_without_ties_a_tie_is_malformed(speaker):  # noqa: F811
    _, with_ties = judged_by(speaker)
    _, without = judged_by(speaker, "raro.tie=false")
    ties = sum(j.verdict == "tie" for g in with_ties for j in g)
    malformed = lambda judged: sum(j.verdict == "malformed" for g in judged for j in g)  # noqa: E731
    assert ties > 0 and malformed(without) == malformed(with_ties) + ties


def test_a_critic_of_its_own_moves_apart(speaker):  # noqa: F811
    game = made("raro", speaker, "raro.critic_model=separate")
    start = copy.deepcopy(game.own.model.state_dict())
    game.step(0)
    policy, critic = game.speaker.model.state_dict(), game.own.model.state_dict()
    assert any(not torch.equal(start[k], critic[k]) for k in start)
    assert any(not torch.equal(policy[k], critic[k]) for k in start)
    assert game.critic.model is game.own.model


@pytest.mark.parametrize("pairs", [1, 3, 5, 8])
def test_the_critic_is_trained_on_as_many_pairs_as_are_asked_for(pairs, speaker):  # noqa: F811
    """Half of them replayed, whether or not they can be halved: a single one would leave it untaught."""
    game = made("raro", speaker, f"raro.pairs={pairs}")
    game.step(0)
    fresh = game.pair(game.answer(game.draw(1), 1), 1)
    trained, replayed = game.shared_out(fresh, 1)[0], game.recall(1)
    assert len(fresh) > pairs == len(trained) + len(replayed) and abs(len(trained) - len(replayed)) <= 1


def test_earlier_critics_judge_their_share_and_teach_nobody(speaker, tmp_path):  # noqa: F811
    game = made("raro", speaker, "raro.past_critics=0.5", "raro.verdicts=1", "raro.pairs=4")
    game.snapshots = lambda: checkpoints.snapshots(tmp_path)
    fresh = game.pair(game.answer(game.draw(1), 1), 1)
    assert game.shared_out(fresh, 2)[2] == []  # no snapshot yet
    with torch.no_grad():
        next(game.speaker.model.parameters()).add_(0.01)
    checkpoints.save_weights(tmp_path, 1, game.speaker.model)
    with torch.no_grad():
        next(game.speaker.model.parameters()).sub_(0.01)
    assert game.shared_out(fresh, 1)[2] == [], "the weights after one step are the present ones"
    trained, others, earlier = game.shared_out(fresh, 2)
    assert len(earlier) == round(0.5 * len(fresh)) and len(trained) == 2
    assert sorted(p.rollout_id for p in (*trained, *others, *earlier)) == sorted(p.rollout_id for p in fresh)
    judged = game.judge_before_earlier(earlier, 2)
    assert [group[0].pair for group in judged] == earlier
    kept = checkpoints.load_file(checkpoints.snapshots(tmp_path)[0][1])
    assert all(torch.equal(p, kept[name]) for name, p in game.past.model.named_parameters())


def test_earlier_absolute_critics_judge_their_share_of_what_pays(speaker, tmp_path):  # noqa: F811
    """Half of what an absolute critic is asked are the experts' answers, which pay nobody."""
    settings = ("raro.critic=absolute", "raro.past_critics=0.25", "raro.pairs=4")
    game = made("raro", speaker, *settings)
    game.snapshots = lambda: checkpoints.snapshots(tmp_path)
    checkpoints.save_weights(tmp_path, 1, game.speaker.model)
    fresh = game.pair(game.answer(game.draw(1), 1), 1)
    _, _, earlier = game.shared_out(fresh, 2)
    assert len(earlier) == round(0.25 * len(fresh) / 2) > 0 and all(pair.rollout_id >= 0 for pair in earlier)


def test_what_an_earlier_critic_says_is_not_told_of_the_present_one(speaker, tmp_path):  # noqa: F811
    """The earlier one is broken and says nothing that can be read."""
    game = made("raro", speaker, "raro.past_critics=0.9", "raro.verdicts=1", "raro.pairs=4", "probes.retest_every=0")
    game.snapshots = lambda: checkpoints.snapshots(tmp_path)
    broken = copy.deepcopy(game.speaker.model)
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.zero_()
    checkpoints.save_weights(tmp_path, 1, broken)
    figures, _ = game.step(2)
    assert figures["critic/malformed"] < 0.1


@pytest.mark.parametrize("kl", [0.0, 0.5])
def test_a_critic_without_a_lambda_is_held_by_its_kl_all_the_same(kl, speaker):  # noqa: F811
    """beta stands beside lambda: at 0 as just above it, nothing is learnt, and the weights that have moved are pulled back."""
    found = []
    for weight in (0.0, 1e-9):
        game = made("raro", speaker, f"raro.lambda_crit={weight}", f"raro.kl_crit={kl}")
        with torch.no_grad():
            next(game.speaker.model.parameters()).mul_(1.1)
        samples = game.critic_samples(game.judge(game.pair(game.answer(game.draw(0), 0), 0), 0), 0.55)
        streams = {"critic": game.stream("critic", weight, kl)}
        found.append(torch.cat(game.learner.gradient(samples, streams, on_policy)))
    assert torch.allclose(*found, atol=1e-6) and bool(found[0].norm() > 1e-3) == bool(kl)


def test_a_critic_that_wins_too_much_is_damped():
    assert [controllers.damping(share, 0.9) for share in (0.0, 0.9, 0.95, 1.0)] == pytest.approx([1, 1, 0.5, 0])
    assert controllers.damping(1.0, 1.0) == 1


def test_expectations_are_learnt_from_once():
    from raro.config import load
    from raro.errors import BadInput

    with pytest.raises(BadInput, match="expected"):
        load("countdown-mini", ["raro.verdict=expected", "raro.updates=2"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("raro.control=frozen",), "another model's critic wrote"),
        (("raro.control=frozen", "raro.lambda_crit=0", "raro.past_critics=0.5"), "each say which critic judges"),
        (("raro.control=frozen", "raro.lambda_crit=0", "raro.critic_model=separate"), "each say which critic judges"),
        (("raro.critic_model=separate", "raro.past_critics=0.5"), "each say which critic judges"),
        (("raro.lambda_pol=0", "raro.lambda_crit=0"), "both 0"),
        (("raro.gate=0.5", "raro.gate_shut=0.6"), "could never stay open"),
        (("raro.critic=absolute", "evaluation.tournament=4"), "never learnt to compare"),
        (("raro.verdict=said", "raro.critic_group=pair"), "teaches nothing"),
        (("raro.critic=absolute", "raro.orders=both"), "has no order"),
        (("raro.past_critics=0.5", "raro.orders=both"), "two critics would judge an answer"),
        (("rollout.temperature=0",), "would be the same"),
        (("rollout.importance_cap=0.5",), "below 1"),
        (("rollout.importance_cap=2", "raro.updates=2", "raro.verdict=said"), "corrects by itself"),
        (("method=dpo", "raro.updates=2", "raro.verdict=said"), "by its margin of now"),
        (("raro.past_critics=0.5", "raro.snapshots=0"), "no weights are kept"),
        (("raro.kl_budget=0.5", "raro.snapshots=0"), "no weights are kept"),
        (("raro.critic_model=separate", "raro.kl_budget=0.5"), "without its critic"),
        (("raro.critic_model=separate", "evaluation.tournament=4"), "without its critic"),
        (("raro.critic_model=separate", "probes.exploit_steps=20"), "without its critic"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(BadInput, match=said):
        load("countdown-mini", settings)
