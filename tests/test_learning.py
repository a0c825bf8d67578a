"""Losses, streams, adapters: against hand-made gradients, TRL's loss, and an uninterrupted run."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Sequence

import pytest
import torch

from raro.errors import BadInput, RaroError
from raro.game import advantages
from raro.learning import adapters, checkpoints
from raro.learning.losses import cross_entropy, importance_weighted, kl_to_reference, on_policy, policy_gradient
from raro.learning.update import Learner, Optimisation, Stream
from raro.records import Sample


def samples(stream: str, n: int = 5, seed: int = 0) -> list[Sample]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda low, high, size: torch.randint(low, high, (size,), generator=generator).tolist()  # noqa: E731
    return [
        Sample(tuple(draw(5, 100, 3 + i)), tuple(draw(5, 100, 2 + 3 * i)), (), 1.0 - 0.7 * i, 1.0, stream) for i in range(n)
    ]


def learner(blank, layout="rows", rate=1e-3, reference=None, batch_tokens=64, norm=0.0) -> Learner:
    settings = Optimisation(learning_rate=rate, layout=layout, batch_tokens=batch_tokens, max_grad_norm=norm)
    return Learner(copy.deepcopy(blank.model), reference, settings, blank.pad_id)


def gradients(found: Learner) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in found.model.parameters()])


def test_the_gradient_is_the_formula(blank):
    """Against the sum written out, one sample at a time, with transformers' own forward: beta stands beside lambda, and a
    sample's weight before both, and before what is told of it."""
    batch = samples("a") + samples("b", seed=1)
    batch = [dataclasses.replace(sample, weight=0.2 + i / 10) for i, sample in enumerate(batch)]
    streams = {"a": Stream(coefficient=0.3, kl=0.2), "b": Stream(coefficient=0.7, budget=20)}
    reference = copy.deepcopy(blank.model)
    torch.manual_seed(1)
    for parameter in reference.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    ours = learner(blank, reference=reference)
    figures = ours.update(batch, streams, on_policy, 0.0)
    model = copy.deepcopy(blank.model)
    total, told, counted = 0.0, 0.0, 0.0
    for sample in batch:
        ids = torch.tensor([[*sample.prompt_ids, *sample.completion_ids]])
        logprobs = torch.log_softmax(model(ids).logits[0], -1)
        start = len(sample.prompt_ids)
        places, tokens = torch.arange(start - 1, ids.shape[1] - 1), torch.tensor(sample.completion_ids)
        chosen = logprobs[places, tokens]
        normaliser = 5 * 20 if sample.stream == "b" else sum(len(s.completion_ids) for s in batch if s.stream == "a")
        with torch.no_grad():
            anchor = torch.log_softmax(reference(ids).logits[0], -1)[places, tokens]
        kl = (anchor - chosen).exp() - 1 - (anchor - chosen)
        stream = streams[sample.stream]
        loss = -stream.coefficient * sample.advantage * chosen + stream.kl * kl
        total = total + sample.weight / normaliser * loss.sum()
        if sample.stream == "a":
            told, counted = told + sample.weight * float(kl.sum()), counted + sample.weight * len(tokens)
    total.backward()
    theirs = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert torch.allclose(gradients(ours), theirs, atol=1e-6)
    assert figures["a/kl"] == pytest.approx(told / counted, rel=1e-4) and "b/kl" not in figures


@pytest.mark.parametrize("batch_tokens", [30, 1000])
def test_every_layout_gives_the_same_gradient(blank, batch_tokens):
    batch, streams = samples("a", 7), {"a": Stream(kl=0.1)}
    batch += [
        Sample(s.prompt_ids + batch[-1].prompt_ids, s.completion_ids, (), -s.advantage, 1.0, "a")
        for s in batch[:1]
        for _ in "abc"
    ]
    reference = copy.deepcopy(blank.model)
    torch.manual_seed(1)
    for parameter in reference.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    found = []
    for layout in ("rows", "packed", "shared"):
        ours = learner(blank, layout, reference=reference, batch_tokens=batch_tokens)
        figures = ours.update(batch, streams, on_policy, 0.0)
        assert figures["a/kl"] > 0
        found.append(gradients(ours))
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.allclose(found[0], found[2], atol=1e-6)


@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_a_sample_beyond_the_window_is_learnt_from_in_a_row_of_its_own(blank, layout):
    """Elsewhere it would see too much: refused. In rows its gradient is that of the model's own forward."""
    from transformers import MistralConfig, MistralForCausalLM

    config = blank.model.config.to_dict() | {"sliding_window": 8, "layer_types": None, "model_type": "mistral"}
    windowed = dataclasses.replace(blank, model=MistralForCausalLM(MistralConfig(**config)).eval())
    short, long = Sample((5, 6), (7, 8), (), 1.0, 1.0, "a"), Sample((5, 6, 9) * 4, (7, 8), (), 1.0, 1.0, "a")
    streams = {"a": Stream(budget=1)}
    learner(windowed, layout).update([short, short], streams, on_policy, 0.0)
    with pytest.raises(BadInput, match="last 8 tokens only.*resources.packing=rows"):
        learner(windowed, layout).update([short, long], streams, on_policy, 0.0)
    ours = learner(windowed)
    ours.update([long, long], streams, on_policy, 0.0)
    ids = torch.tensor([[*long.prompt_ids, *long.completion_ids]])
    logprobs = torch.log_softmax(windowed.model(ids).logits[0, -3:-1], -1)
    (-logprobs.gather(-1, torch.tensor(long.completion_ids)[:, None]).sum()).backward()
    theirs = torch.cat([p.grad.flatten() for p in windowed.model.parameters()])
    assert (gradients(ours) - theirs).norm() < 1e-5 * theirs.norm() > 0


def test_the_loss_equals_trl_dr_grpo(blank, tmp_path):
    """TRL 1.16's own GRPO loss with loss_type dr_grpo on the same batch: same value, same gradient."""
    import datasets
    import trl

    budget, n = 16, 5
    batch = [Sample(s.prompt_ids, s.completion_ids, (), s.advantage, 1.0, "a") for s in samples("a", n)]
    ours = learner(blank, batch_tokens=10_000)
    figures = ours.update(batch, {"a": Stream(budget=budget)}, policy_gradient(0.2, 0.28), 0.0)
    model = copy.deepcopy(blank.model)
    width_p, width_c = max(len(s.prompt_ids) for s in batch), max(len(s.completion_ids) for s in batch)
    left = lambda ids: [0] * (width_p - len(ids)) + list(ids)  # noqa: E731
    right = lambda ids: list(ids) + [0] * (width_c - len(ids))  # noqa: E731
    inputs = {
        "prompt_ids": torch.tensor([left(s.prompt_ids) for s in batch]),
        "prompt_mask": torch.tensor([left([1] * len(s.prompt_ids)) for s in batch]),
        "completion_ids": torch.tensor([right(s.completion_ids) for s in batch]),
        "completion_mask": torch.tensor([right([1] * len(s.completion_ids)) for s in batch]),
        "advantages": torch.tensor([s.advantage for s in batch]),
        "num_items_in_batch": torch.tensor(1),
    }
    settings = trl.GRPOConfig(
        output_dir=str(tmp_path), loss_type="dr_grpo", beta=0.0, max_completion_length=budget, epsilon=0.2, epsilon_high=0.28,
        report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=n, num_generations=n, gradient_accumulation_steps=1,
    )  # fmt: skip
    rows = datasets.Dataset.from_list([{"prompt": "solve"}] * n)
    trainer = trl.GRPOTrainer(
        model=model, reward_funcs=[len], args=settings, train_dataset=rows, processing_class=blank.tokenizer
    )
    trainer.current_gradient_accumulation_steps = 1  # set by its train loop
    model.zero_grad()
    loss = trainer._compute_loss(model, inputs)
    loss.backward()
    theirs = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert figures["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(gradients(ours), theirs, atol=1e-6)


def test_on_policy_equals_the_clipped_surrogate_at_ratio_one(blank):
    found = []
    for loss in (on_policy, policy_gradient(0.2, 0.28)):
        ours = learner(blank)
        ours.update(samples("a"), {"a": Stream()}, loss, 0.0)
        found.append(gradients(ours))
    assert torch.equal(*found)


def test_the_mismatch_is_told_and_nothing_learnt_from_it(blank):
    """Samples told a tenth of a nat wrong, beside some that bring no log-probabilities: the same gradient to the last bit."""
    from raro.records import Prompt
    from raro.rollout.scoring import score

    batch = [dataclasses.replace(sample, weight=0.5 + i) for i, sample in enumerate(samples("a") + samples("b", seed=1))]
    exact = score(blank.model, [Prompt(s.prompt_ids, "policy", 0) for s in batch], [s.completion_ids for s in batch], 1.0, 0)
    told = [
        dataclasses.replace(s, rollout_logprobs=tuple(value + 0.1 * (1 + i) for value in values))
        if s.stream == "a" and i < 3 else s
        for i, (s, values) in enumerate(zip(batch, exact, strict=True))
    ]  # fmt: skip
    streams = {"a": Stream(), "b": Stream()}
    plain, ours = learner(blank), learner(blank)
    assert not [name for name in plain.update(batch, streams, on_policy, 0.0) if "mismatch" in name]
    figures = ours.update(told, streams, on_policy, 0.0)
    assert torch.equal(gradients(plain), gradients(ours))
    tokens = [s.weight * len(s.completion_ids) for s in told[:3]]
    off = sum(0.1 * (1 + i) * n for i, n in enumerate(tokens)) / sum(tokens)
    assert figures["a/mismatch"] == pytest.approx(off, abs=1e-4) and "b/mismatch" not in figures


def test_samples_of_another_engine_are_weighted_by_the_ratio_up_to_the_cap():
    """Values and gradients by hand: ratios 1 / 2, 1, 4 (cut to 2), and a token that brings none."""
    ours = torch.tensor([-1.0, -1.0, -1.0, -1.0], requires_grad=True)
    sampled = ours.detach() - torch.tensor([0.5, 1.0, 4.0, 1.0]).log()
    advantages = torch.tensor([1.0, 1.0, 1.0, -3.0])
    losses = importance_weighted(on_policy, 2.0)(ours, sampled, advantages)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([-0.5, -1.0, -2.0, 3.0]) and ours.grad.tolist() == pytest.approx([-0.5, -1, -2, 3])


def test_importance_weights_make_a_gradient_of_other_samples_unbiased():
    """One token of four, drawn by another distribution: the expected gradient is that of what the learner's own would earn."""
    logits = torch.tensor([0.3, -0.2, 0.1, 0.0], requires_grad=True)
    sampler = torch.softmax(torch.tensor([0.1, 0.2, -0.1, 0.3]), 0)
    reward = torch.tensor([1.0, 0.0, 0.5, 0.2])
    losses = importance_weighted(on_policy, 9.0)(torch.log_softmax(logits, 0), sampler.log(), reward)
    (got,) = torch.autograd.grad((sampler * losses).sum(), logits, retain_graph=True)
    (want,) = torch.autograd.grad(-(torch.softmax(logits, 0) * reward).sum(), logits)
    assert torch.allclose(got, want, atol=1e-6)
    (plain,) = torch.autograd.grad((sampler * on_policy(torch.log_softmax(logits, 0), sampler.log(), reward)).sum(), logits)
    assert not torch.allclose(plain, want, atol=1e-3)


def test_the_clip_is_asymmetric():
    loss = policy_gradient(0.2, 0.28)
    old = torch.zeros(4)
    new = torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5])).requires_grad_()
    values = loss(new, old, torch.tensor([1.0, 1.0, -1.0, -1.0]))
    assert values.tolist() == pytest.approx([-1.28, -0.5, 1.5, 0.8])
    values.sum().backward()
    assert new.grad.tolist() == pytest.approx([0, -0.5, 1.5, 0])


def test_kl_is_never_negative_and_nothing_against_itself():
    ours, theirs = torch.randn(1000) - 3, torch.randn(1000) - 3
    assert (kl_to_reference(ours, theirs) >= 0).all()
    assert (kl_to_reference(ours, ours) == 0).all()


BANDIT, ARMS = (5, 6), (7, 8)
"""A prompt, and its two answers of one token: the first earns 1, the second nothing."""


def chance(model: torch.nn.Module) -> torch.Tensor:
    """Of the better arm, between the two."""
    return torch.softmax(model(torch.tensor([BANDIT])).logits[0, -1, list(ARMS)], -1)[0]


def pulled(arms: Sequence[int]) -> list[Sample]:
    """A group of answers, each with what it earned less the group's mean."""
    gained = advantages.centred([1.0 if arm == ARMS[0] else 0.0 for arm in arms])
    return [Sample(BANDIT, (arm,), (), advantage, 1.0, "a") for arm, advantage in zip(arms, gained, strict=True)]


@pytest.mark.parametrize("k", [2, 3])
def test_group_relative_gradients_expect_the_gradient_of_what_is_earned(blank, k):
    """Over all groups of k answers, by their chances: that of the mean reward, less the share that a group's mean takes."""
    ours = learner(blank)
    p = chance(ours.model).item()
    total = 0.0
    for arms in itertools.product(ARMS, repeat=k):
        weight = math.prod(p if arm == ARMS[0] else 1 - p for arm in arms)
        total = total + weight * torch.cat(ours.gradient(pulled(arms), {"a": Stream(budget=1)}, on_policy))
    model = copy.deepcopy(blank.model)
    (-chance(model)).backward()
    theirs = torch.cat([torch.zeros_like(q).flatten() if q.grad is None else q.grad.flatten() for q in model.parameters()])
    assert (total - (1 - 1 / k) * theirs).norm() < 1e-4 * theirs.norm() > 0


def test_a_two_armed_bandit_is_learnt(blank):
    """From what was sampled alone: groups of eight raise the better arm to certainty."""
    ours = learner(blank, norm=1.0)
    drawn, start = torch.Generator().manual_seed(0), chance(ours.model).item()
    for _ in range(40):
        better = torch.rand(8, generator=drawn) < chance(ours.model)
        ours.update(pulled([ARMS[0] if one else ARMS[1] for one in better]), {"a": Stream()}, on_policy, 1e-2)
    assert start < 0.8 and chance(ours.model) > 0.97


def test_streams_do_not_drown_one_another(blank):
    """Ten times the tokens in one stream leave the other's share of the gradient as it is."""
    few, many = samples("a", 3), samples("b", 3, seed=2)
    streams = {"a": Stream(), "b": Stream()}
    once, tenfold = learner(blank), learner(blank)
    once.update(few + many, streams, on_policy, 0.0)
    tenfold.update(few + many * 10, streams, on_policy, 0.0)
    assert torch.allclose(gradients(once), gradients(tenfold), atol=1e-6)


def test_weight_zero_counts_in_the_normaliser_only(blank):
    batch = samples("a", 4)
    silent = [*batch[:3], Sample(batch[3].prompt_ids, batch[3].completion_ids, (), batch[3].advantage, 0.0, "a")]
    ours, alone = learner(blank), learner(blank)
    ours.update(silent, {"a": Stream(budget=10)}, on_policy, 0.0)
    alone.update(batch[:3], {"a": Stream(budget=10)}, on_policy, 0.0)
    assert torch.allclose(gradients(ours) * 4, gradients(alone) * 3, atol=1e-6)


def test_a_gradient_that_is_not_finite_leaves_the_weights(blank):
    ours = learner(blank)
    before = [p.clone() for p in ours.model.parameters()]
    with pytest.raises(RaroError, match="not finite"):
        ours.update([Sample((5,), (6,), (), math.nan, 1.0, "a")], {"a": Stream()}, cross_entropy, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, ours.model.parameters(), strict=True))


def test_half_precision_keeps_what_bfloat16_would_lose(blank):
    """Arithmetic in bfloat16, weights in float32: an update of 1e-6 arrives, and the gradient is the full one's."""
    full, half = learner(blank, rate=1e-6), learner(blank, rate=1e-6)
    half.settings = dataclasses.replace(half.settings, half=True)
    before = [p.detach().clone() for p in half.model.parameters()]
    for one in (full, half):
        one.update(samples("a"), {"a": Stream()}, on_policy, 1e-6)
    moved = [not torch.equal(a, b) for a, b in zip(before, half.model.parameters(), strict=True)]
    assert all(p.dtype == torch.float32 for p in half.model.parameters()) and all(moved)
    assert torch.cosine_similarity(gradients(full), gradients(half), dim=0) > 0.99


def test_a_mirrored_engine_samples_from_the_weights_of_now(blank):
    from raro.records import Prompt, Sampling
    from raro.rollout.mirrored import MirroredEngine
    from raro.rollout.slots import SlotEngine

    found = learner(blank, rate=0.1)
    engine = MirroredEngine(found.model, lambda model: SlotEngine(model, blank.end_ids, blank.pad_id, 8))
    prompts = [Prompt((5, 6, 7), "a", g) for g in range(6)]
    first = engine.generate(prompts, 2, Sampling(1.0, 12, 0, 0))
    told = engine.score([p for p in prompts for _ in range(2)], [c.ids for group in first for c in group], 1.0)
    for completion, logprobs in zip((c for group in first for c in group), told, strict=True):
        assert logprobs == pytest.approx(completion.logprobs, abs=0.05)
    found.update(samples("a"), {"a": Stream()}, on_policy, 0.1)
    assert engine.generate(prompts, 2, Sampling(1.0, 12, 0, 0)) != first
    assert {p.dtype for p in engine.copy.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in engine.copy.buffers()} == {torch.float32}, "rotary frequencies have no bits to spare"
    engine.load({name: torch.zeros_like(p) for name, p in found.model.named_parameters()})
    assert not next(found.model.parameters()).any()


def test_adapters_learn_alone_resume_exactly_and_merge(blank, tmp_path):
    def adapted():
        found = learner(blank)
        adapters.attach(found.model, 4, 8.0, 0)
        return Learner(found.model, None, found.settings, blank.pad_id)

    before = torch.random.get_rng_state()
    one = adapted()
    assert torch.equal(torch.random.get_rng_state(), before)
    frozen = {n: p.detach().clone() for n, p in one.model.named_parameters() if not p.requires_grad}
    for _ in range(2):
        one.update(samples("a"), {"a": Stream()}, on_policy, 1e-2)
        if not checkpoints.existing(tmp_path):
            checkpoints.save(tmp_path, 1, one.model, one.optimiser, {}, {}, 2)
    assert frozen and all(torch.equal(frozen[n], p) for n, p in one.model.named_parameters() if n in frozen)
    kept = checkpoints.load_file(tmp_path / "step-000001" / "weights.safetensors")
    assert kept and all("lora" in name for name in kept)
    two = adapted()
    checkpoints.restore(checkpoints.newest(tmp_path, {}), two.model, two.optimiser)
    two.update(samples("a"), {"a": Stream()}, on_policy, 1e-2)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = one.model(ids).logits
        merged = adapters.merge(one.model)
        assert torch.allclose(merged(ids).logits, before, atol=1e-5)
        assert not torch.allclose(blank.model(ids).logits, before, atol=1e-3)
    assert [name for name, _ in merged.named_parameters()] == [name for name, _ in blank.model.named_parameters()]
    assert not hasattr(merged, "peft_config")
    assert adapters.merge(merged) is merged and torch.allclose(merged(ids).logits, before, atol=1e-5)


def test_the_reference_of_adapters_is_the_model_without_them_in_the_same_memory(blank):
    model, ids = copy.deepcopy(blank.model), torch.tensor([[5, 6, 7, 8]])
    reference = adapters.frozen_copy(model, shares=True)
    assert all(a is b for a, b in zip(model.parameters(), reference.parameters(), strict=True))
    adapters.attach(model, 4, 8.0, 0)
    held = Learner(model, reference, learner(blank).settings, blank.pad_id)
    for _ in range(3):
        figures = held.update(samples("a"), {"a": Stream(kl=0.1)}, on_policy, 3e-2)
    assert figures["a/kl"] > 0, "the adapters moved the model away from its reference"
    with torch.no_grad():
        assert torch.equal(reference(ids).logits, blank.model(ids).logits)
        assert not torch.allclose(model(ids).logits, reference(ids).logits, atol=1e-3)
    apart = adapters.frozen_copy(model, shares=False)
    assert not {id(p) for p in apart.parameters()} & {id(p) for p in model.parameters()}


def test_weights_of_another_model_are_refused(blank):
    from raro.rollout.weights import put

    with pytest.raises(ValueError, match="no parameter 'other'"):
        put(blank.model, {"other": torch.zeros(1)})
