"""The slot engine against its slow twin, and scoring against sampling."""

from __future__ import annotations

import gc
import json
import random
from collections import deque

import numpy as np
import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache

from raro.config import load
from raro.errors import BadInput
from raro.records import Prompt, Sampling
from raro.rollout.decoding import LeanStep, ModuleStep, is_lean, step_for
from raro.rollout.engine import SUMS, choose, uniforms
from raro.rollout.models import open_model, own_gpu
from raro.rollout.plain import PlainEngine
from raro.rollout.rows import lay_out
from raro.rollout.scoring import disagreement, score, token_logprobs
from raro.rollout.slots import SlotEngine, SlotLayer, batches, slots_within, token_bytes

ENDS = (1, 2, 3, 4)


def some_prompts(n: int, vocabulary: int = 120, seed: int = 0) -> list[Prompt]:
    rng = random.Random(seed)
    return [Prompt(tuple(rng.randrange(5, vocabulary) for _ in range(rng.randrange(1, 20))), "policy", i) for i in range(n)]


def tokens(groups):
    return [[c.ids for c in group] for group in groups]


@pytest.mark.parametrize("slots", [1, 7, 64, 512])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_slots_write_what_generate_writes(blank, slots, temperature):
    sampling = Sampling(temperature, 24, seed=3, step=5)
    fast = SlotEngine(blank.model, ENDS, 0, slots).generate(some_prompts(9), 6, sampling)
    slow = PlainEngine(blank.model, ENDS, 0, 32).generate(some_prompts(9), 6, sampling)
    assert tokens(fast) == tokens(slow)
    assert [[c.finish for c in g] for g in fast] == [[c.finish for c in g] for g in slow]
    assert {c.finish for g in fast for c in g} == {"stop", "length"} or temperature == 0
    for a, b in zip((c for g in fast for c in g), (c for g in slow for c in g), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_what_a_folder_says_of_generation_changes_nothing(blank):
    """Qwen2.5-1.5B-Instruct asks for a repetition penalty, which is not what the learner learns."""
    engine, sampling = PlainEngine(blank.model, ENDS, 0, 32), Sampling(1.0, 24, seed=3, step=5)
    asked = blank.model.generation_config
    asked.repetition_penalty, asked.no_repeat_ngram_size, asked.min_new_tokens, asked.suppress_tokens = 1.5, 2, 8, [9]
    slow = engine.generate(some_prompts(9), 6, sampling)
    assert tokens(slow) == tokens(SlotEngine(blank.model, ENDS, 0, 64).generate(some_prompts(9), 6, sampling))
    assert blank.model.generation_config is asked and asked.repetition_penalty == 1.5, "it is saved with the candidate"
    for prompt, group in zip(some_prompts(9), slow, strict=True):
        again = engine.score([prompt] * len(group), [one.ids for one in group])
        assert all(one.logprobs == pytest.approx(values, abs=1e-4) for one, values in zip(group, again, strict=True))


SMALL = {
    "vocab_size": 130, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
FAMILIES = {
    "llama": ("LlamaConfig", {"head_dim": 12}, True),
    "llama3 rope": (
        "LlamaConfig",
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 16}},
        True,
    ),
    "qwen2": ("Qwen2Config", {}, True),
    "qwen2, a window": (
        "Qwen2Config", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, False,
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 12}, True),
    "olmo2": ("Olmo2Config", {}, False),
    "mistral": ("MistralConfig", {"sliding_window": None}, True),
    "mistral, a window": ("MistralConfig", {"sliding_window": 8}, False),
    "llama, gelu": ("LlamaConfig", {"hidden_act": "gelu"}, False),
}  # fmt: skip


def made(family: str) -> torch.nn.Module:
    """A small untrained model of the family, its biases and norms moved away from where they would not be noticed."""
    import transformers

    config, more, _ = FAMILIES[family]
    torch.manual_seed(1)
    config = getattr(transformers, config)(**SMALL | more, pad_token_id=0, attn_implementation="sdpa")
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.generation_config.eos_token_id = None
    return model


@pytest.mark.parametrize("family", [name for name in FAMILIES if "window" not in name])
def test_every_family_writes_what_generate_writes(family):
    model, sampling = made(family), Sampling(1.0, 16, seed=1, step=2)
    assert is_lean(model) == FAMILIES[family][2]
    fast = SlotEngine(model, ENDS, 0, 11).generate(some_prompts(6), 5, sampling)
    slow = PlainEngine(model, ENDS, 0, 32).generate(some_prompts(6), 5, sampling)
    assert tokens(fast) == tokens(slow)


@pytest.mark.parametrize("family", [name for name, (_, _, lean) in FAMILIES.items() if not lean])
def test_what_would_change_the_arithmetic_goes_through_the_model(family):
    model = made(family)
    assert isinstance(step_for(model, Cache(layers=[]), 16), ModuleStep)


@pytest.mark.parametrize("family", [name for name in FAMILIES if "window" in name])
def test_a_window_is_refused_where_sequences_outgrow_it(family):
    with pytest.raises(BadInput, match="last 8 tokens only"):
        SlotEngine(made(family), ENDS, 0).generate(some_prompts(2), 1, Sampling(1, 16, 0, 0))


@pytest.mark.parametrize("family", [name for name in FAMILIES if "window" in name])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_beyond_a_window_what_is_sampled_is_what_is_scored(family, temperature):
    """Completions share their prompts, which would be one row each."""
    engine, prompts = PlainEngine(made(family).eval(), ENDS, 0, 32), some_prompts(9)
    groups = engine.generate(prompts, 3, Sampling(temperature, 6, 1, 2))
    assert len(prompts[0].ids) > 8 and any(len(prompt.ids) > 12 for prompt in prompts)
    flat = [(p, c) for p, group in zip(prompts, groups, strict=True) for c in group]
    again = engine.score([p for p, _ in flat], [c.ids for _, c in flat], temperature)
    for (_, completion), values in zip(flat, again, strict=True):
        assert values == pytest.approx(completion.logprobs, abs=1e-4)
    short = Prompt((5, 6, 7), "policy", 0)
    alone = [score(engine.model, [short], [ids], 1.0, 0, layout="rows")[0] for ids in ((8, 9), (9, 8))]
    for told, values in zip(engine.score([short] * 2, [(8, 9), (9, 8)]), alone, strict=True):
        assert told == pytest.approx(values, abs=1e-5)


def test_both_ways_to_a_step_give_the_same_logits(blank, monkeypatch):
    assert isinstance(step_for(blank.model, Cache(layers=[]), 16), LeanStep)
    sampling = Sampling(1.0, 24, seed=3, step=5)
    lean = SlotEngine(blank.model, ENDS, 0, 16).generate(some_prompts(9), 6, sampling)
    monkeypatch.setattr("raro.rollout.decoding.LEAN", ())
    whole = SlotEngine(blank.model, ENDS, 0, 16).generate(some_prompts(9), 6, sampling)
    assert tokens(lean) == tokens(whole)
    for a, b in zip((c for g in lean for c in g), (c for g in whole for c in g), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


def test_noise_does_not_depend_on_company_or_order(blank):
    engine, prompts, sampling = SlotEngine(blank.model, ENDS, 0, 16), some_prompts(8), Sampling(1.0, 20, 0, 0)
    together = tokens(engine.generate(prompts, 4, sampling))
    alone = [tokens(engine.generate([p], 4, sampling))[0] for p in prompts]
    backwards = tokens(engine.generate(prompts[::-1], 4, sampling))[::-1]
    assert together == alone == backwards
    assert tokens(engine.generate(prompts, 2, sampling)) == [group[:2] for group in together]


@pytest.mark.parametrize("slots", [3, 40])
def test_prompts_prefilled_in_batches_are_continued_alike(blank, monkeypatch, slots):
    """Groups of five do not fit into three slots: one is admitted in parts, from what was kept of its prefill."""
    shapes, decoder = {2**15: [], 30: []}, blank.model.get_decoder()
    note = lambda _, args, given: shapes[bound].append(tuple(given["input_ids"].shape))  # noqa: E731
    hook = decoder.register_forward_pre_hook(note, with_kwargs=True)
    engine, sampling, found = SlotEngine(blank.model, ENDS, 0, slots), Sampling(1.0, 24, 3, 5), []
    for bound in shapes:
        monkeypatch.setattr("raro.rollout.slots.PREFILL", bound)
        found.append(engine.generate(some_prompts(9), 5, sampling))
    hook.remove()
    assert all(rows * width <= 30 for rows, width in shapes[30])
    assert slots == 3 or (len(shapes[2**15]) < len(shapes[30]) and max(rows for rows, _ in shapes[30]) > 1)
    assert tokens(found[0]) == tokens(found[1])
    for one, other in zip((c for g in found[0] for c in g), (c for g in found[1] for c in g), strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_what_is_kept_of_a_prefill_is_its_own_prompts_alone(blank):
    prompts, queue = some_prompts(9), deque([(8, 1), (8, 2)])
    engine = SlotEngine(blank.model, ENDS, 0, 16)
    engine._allocate(16, 40)
    with torch.inference_mode():
        kept = engine._prefill(prompts, [(g, 0) for g in range(9)], range(9), {}, queue)
    assert list(kept) == [8]
    assert all(part.untyped_storage().nbytes() == part.nbytes for layer in kept[8] for part in layer)


def test_a_long_prompt_is_padded_with_few():
    lengths = [10] * 255 + [900]
    found = batches(lengths, 2_000)
    assert sorted(i for batch in found for i in batch) == list(range(256))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 2_000 for batch in found)
    assert [len(batch) for batch in found] == [2, 200, 54]
    assert batches([5, 3, 9], 27) == [[0, 1, 2]] and batches([50], 10) == [[0]] and batches([], 10) == []


def test_a_cache_lives_no_longer_than_its_call(blank):
    """What learns next has the memory."""
    engine, alive = SlotEngine(blank.model, ENDS, 0, 4), []
    count = lambda *_: alive.append(sum(type(one) is SlotLayer for one in gc.get_objects()))  # noqa: E731
    engine.generate(some_prompts(2), 1, Sampling(1.0, 8, 0, 0), count)
    count()
    assert alive[0] == len(blank.model.model.layers) and alive[-1] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_token_takes_in_the_cache(family):
    model, cache = made(family), DynamicCache()
    model.get_decoder()(input_ids=torch.tensor([[5, 6, 7]]), past_key_values=cache, use_cache=True)
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert held == 3 * token_bytes(model.config, torch.float32) == 6 * token_bytes(model.config, torch.bfloat16)


def test_a_gpu_has_as_many_slots_as_fit():
    assert slots_within(1e9, 1_000, 28_672) == 34
    assert slots_within(1e3, 1_000, 28_672) == 1


def test_noise_differs_by_each_part_of_its_key():
    base = Prompt((5,), "policy", 0)
    variants = [
        uniforms(base, 0, Sampling(1, 8, 0, 0)),
        uniforms(base, 1, Sampling(1, 8, 0, 0)),
        uniforms(base, 0, Sampling(1, 8, 1, 0)),
        uniforms(base, 0, Sampling(1, 8, 0, 1)),
        uniforms(Prompt((5,), "critic", 0), 0, Sampling(1, 8, 0, 0)),
        uniforms(Prompt((5,), "policy", 1), 0, Sampling(1, 8, 0, 0)),
    ]
    assert len({tuple(v.tolist()) for v in variants}) == len(variants)


def test_choice_follows_the_distribution():
    logits = torch.tensor([[0.0, 1.0, -1.0, -torch.inf]]).expand(20_000, 4)
    chosen, logprobs = choose(logits, torch.rand(20_000, generator=torch.Generator().manual_seed(0)), 0.5)
    wanted = torch.softmax(logits[0] / 0.5, -1)
    share = torch.bincount(chosen, minlength=4) / 20_000
    assert torch.allclose(share, wanted, atol=0.015)
    assert share[3] == 0
    assert torch.allclose(logprobs.exp(), wanted[chosen])


def test_sums_in_double_tell_words_apart_that_float32_does_not(monkeypatch):
    """As on a GPU. Behind one likely word stand 150 thousand, each less than what float32 has room for beside it."""
    logits, noise = torch.zeros(1, 150_000), torch.linspace(0.9975, 0.9999, 40)
    logits[0, 0] = 17.7
    probability = torch.log_softmax(logits, -1).exp()[0].numpy().astype(np.float64)
    assert 0.996 < probability[0] < 0.9975 and 0 < probability[1] < 3e-8
    mass = probability.cumsum()
    exact = np.searchsorted(mass, noise.numpy() * mass[-1], side="right").tolist()
    plain, _ = choose(logits.expand(40, -1), noise, 1.0)
    monkeypatch.setitem(SUMS, "cpu", torch.float64)
    chosen, logprobs = choose(logits.expand(40, -1), noise, 1.0)
    assert chosen.tolist() == exact != plain.tolist() and logprobs.dtype == torch.float32


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_equal_recomputed(blank, temperature):
    prompts = some_prompts(6)
    engine = SlotEngine(blank.model, ENDS, 0, 16)
    groups = engine.generate(prompts, 3, Sampling(temperature, 16, 0, 0))
    flat = [(p, c) for p, g in zip(prompts, groups, strict=True) for c in g]
    again = score(blank.model, [p for p, _ in flat], [c.ids for _, c in flat], temperature, 0, batch_tokens=100)
    for (_, completion), values in zip(flat, again, strict=True):
        assert values == pytest.approx(completion.logprobs, abs=1e-4)


def test_score_of_an_empty_completion_is_empty(blank):
    assert SlotEngine(blank.model, ENDS, 0).score(some_prompts(2), [(), (7, 8)])[0] == []


@pytest.mark.parametrize("batch_tokens", [40, 200, 10_000])
def test_every_layout_gives_the_same_logprobs(blank, batch_tokens):
    rng = random.Random(1)
    draw = lambda low, high: [rng.randrange(5, 120) for _ in range(rng.randrange(low, high))]  # noqa: E731
    sequences = [(prompt, draw(1, 25)) for prompt in [draw(1, 30) for _ in range(7)] for _ in range(rng.randrange(1, 6))]
    found = {}
    for layout in ("rows", "packed", "shared"):
        values: dict[tuple[int, int], float] = {}
        for rows in lay_out(sequences, batch_tokens, 0, layout):
            logprobs, entropy = token_logprobs(blank.model, rows)
            assert (entropy > 0).all()
            values |= dict(zip(zip(rows.sequence.tolist(), rows.token.tolist(), strict=True), logprobs.tolist(), strict=True))
        found[layout] = values
    assert found["rows"].keys() == {(i, t) for i, (_, c) in enumerate(sequences) for t in range(len(c))}
    for layout in ("packed", "shared"):
        assert found[layout].keys() == found["rows"].keys()
        for key, value in found["rows"].items():
            assert found[layout][key] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("half", [False, True])
def test_all_layers_share_one_mask(half):
    """It is kept for the backward pass, and as large as a layer's activations; the numbers are those of a bool mask."""
    model, found = made("qwen3"), {}
    rows = lay_out([([5 + i] * 20, [7 + i] * 30) for i in range(5)], 1000, 0, "packed")[0]

    def note(kept: torch.Tensor) -> torch.Tensor:
        if kept.shape[-2:] == (250, 250) and kept.stride()[-2] % 250:  # what a GPU's kernel need not copy
            found[kept.untyped_storage().data_ptr()] = kept.dtype
        return kept

    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
            ours, _ = token_logprobs(model, rows)
        positions = {"position_ids": rows.position_ids, "attention_mask": rows.mask}
        logits = model(input_ids=rows.input_ids, use_cache=False, **positions).logits.flatten(0, 1)[rows.logit_positions]
    assert list(found.values()) == [torch.bfloat16 if half else torch.float32]
    plain = logits.float().log_softmax(-1).gather(-1, rows.target_ids[:, None]).squeeze(-1)
    assert torch.equal(ours, plain)


def test_a_shared_prompt_is_computed_once():
    critic = [([5] * 33, [6] * 24)] * 4
    assert lay_out(critic, 10_000, 0, "shared")[0].input_ids.shape == (1, 33 + 4 * 24)
    assert lay_out(critic, 10_000, 0, "rows")[0].input_ids.shape == (4, 57)
    policy = [([5] * 10, [6] * 24)] * 4
    assert lay_out(policy, 10_000, 0, "shared")[0].input_ids.shape == (4, 34)


@pytest.mark.parametrize("layout", ["rows", "packed", "shared"])
def test_no_micro_batch_is_larger_than_asked_but_for_one_long_sequence(layout):
    sequences = [([5] * 20, [6 + i] * 5) for i in range(6)] + [([4] * 6, [7] * 60), ([3] * 12, [8] * 2)]
    laid = lay_out(sequences, 40, 0, layout)
    assert sorted(o for rows in laid for o in set(rows.sequence.tolist())) == list(range(8))
    assert [rows.input_ids.shape for rows in laid if rows.input_ids.numel() > 40] == [(1, 66)]
    if layout == "shared":
        assert [
            len(set(rows.sequence.tolist())) for rows in laid if 4 < rows.input_ids.shape[1] <= 40 and rows.mask is not None
        ] == [4, 2]


def test_logits_in_chunks_give_the_same_gradient(blank, monkeypatch):
    rows = lay_out([([5, 6, 7], [8, 9, 10, 11]), ([5, 9], [10, 3])], 1000, 0)[0]
    gradients = []
    for chunk in (2**27, 128 * 2):
        monkeypatch.setattr("raro.rollout.scoring.CHUNK", chunk)
        blank.model.zero_grad()
        token_logprobs(blank.model, rows)[0].sum().backward()
        gradients.append([p.grad.clone() for p in blank.model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("engine", [SlotEngine, PlainEngine])
def test_nothing_asked_is_nothing_written(engine, blank):
    """A process gets nothing where fewer prompts are asked than processes train."""
    asked = engine(blank.model, ENDS, 0, 4)
    assert asked.generate([], 2, Sampling(1, 4, 0, 0)) == asked.score([], [], 1.0) == []


def test_a_prompt_without_tokens_is_refused(blank):
    with pytest.raises(ValueError, match="without tokens"):
        SlotEngine(blank.model, ENDS, 0).generate([Prompt((), "policy", 0)], 1, Sampling(1, 4, 0, 0))


def saved(folder, words, config: str, **more: object):
    """A folder with a small untrained model of this configuration, moved from where it began, and the mini's tokenizer."""
    import transformers

    torch.manual_seed(1)
    told = getattr(transformers, config)(**SMALL | more, pad_token_id=0, bos_token_id=1, eos_token_id=1)
    model = transformers.AutoModelForCausalLM.from_config(told)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


OTHERS = {
    "granite": ("GraniteConfig", {"logits_scaling": 8.0}),
    "cohere": ("CohereConfig", {}),
    "falcon h1": ("FalconH1Config", {"lm_head_multiplier": 0.1, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8}),
    "gemma 3": ("Gemma3TextConfig", {"head_dim": 8, "final_logit_softcapping": 30.0}),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}),
}
"""What rescales its logits, each under another name, and what mixes neighbours in a row by a convolution."""


@pytest.mark.parametrize("family", OTHERS)
def test_a_model_whose_log_probabilities_cannot_be_told_is_refused(blank, tmp_path, family):
    config, more = OTHERS[family]
    with pytest.raises(BadInput, match="rescales its logits, or its layers mix .*Llama"):
        open_model(saved(tmp_path, blank.tokenizer, config, **more), load("countdown-mini"))


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_can_be_told_of_every_family_in_half_precision_too(family):
    model = made(family).eval()
    assert disagreement(model) < 1e-4
    assert disagreement(model.bfloat16()) < 0.2


DROPPING = {
    "llama": ("LlamaConfig", {"attention_dropout": 0.3}),
    "gpt2": ("GPT2Config", {"resid_pdrop": 0.1, "embd_pdrop": 0.2, "attn_pdrop": 0.3}),
}


@pytest.mark.parametrize("family", DROPPING)
def test_a_model_is_opened_without_dropout(blank, tmp_path, family):
    config, more = DROPPING[family]
    model = open_model(saved(tmp_path, blank.tokenizer, config, **more), load("countdown-mini")).model.train()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert all(getattr(model.config, name) == 0 for name in more)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"model_type": "qwen9"}, "does not recognize this architecture"),
        ({"model_type": "t5"}, "Unrecognized configuration class"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}}, "custom code"),
        ({}, "deserializing header"),
    ],
)
def test_what_cannot_be_opened_is_one_line_and_nobody_is_asked_to_run_its_code(blank, tmp_path, told, said, monkeypatch):
    folder = saved(tmp_path, blank.tokenizer, "LlamaConfig")
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n", encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | told
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if not told:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
    monkeypatch.setattr("builtins.input", lambda asked: "y")
    with pytest.raises(BadInput, match=f"cannot be opened: .*{said}"):
        open_model(folder, load("countdown-mini"))
    assert not (tmp_path / "ran").exists()


def test_more_processes_than_gpus_are_refused():
    assert own_gpu(7, 8) == torch.device("cuda", 7)
    with pytest.raises(BadInput, match="5 processes or more .* finds 4 of them") as told:
        own_gpu(4, 4)
    assert "resources.processes" in told.value.remedy
