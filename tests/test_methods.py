"""The methods on the loop: each one's reward or loss is what its file says, and each goes on exactly from its own state."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections import Counter

import pytest
import torch

from raro.benchmarks.countdown import attempts
from raro.benchmarks.held_out import likeness
from raro.config import load
from raro.errors import BadInput
from raro.learning.losses import cross_entropy
from raro.learning.update import Learner, Optimisation, Stream
from raro.methods import METHODS, method_of
from raro.methods.method import Answer, learning_rate
from raro.methods.rl_logit import FLOOR
from raro.methods.warmstart import Thought, _critic_lessons, make_lessons
from raro.models.mini_problems import SEVERAL, THREE, Task, split_problems
from raro.records import Completion, Demonstration, Prompt
from raro.text import END_THINK, THINK

DEMONSTRATIONS = [
    Demonstration(question=f"Make {t} from {a}, {b}, {c}.", answer=answer, source="", licence="", group=str(t))
    for t, a, b, c, answer in ((8, 1, 3, 4, "( 1 + 3 ) + 4"), (20, 2, 4, 5, "( 4 * 5 ) * 1"), (6, 1, 2, 3, "( 1 + 2 ) + 3"))
]


@pytest.mark.parametrize("thought", ["", "1 + 3 = 4"])
def test_a_thought_is_written_alike_by_itself_and_with_its_answer(speaker, thought):
    prompt = speaker.prompt([{"role": "user", "content": "Make 8 from 1, 3, 4."}], "policy", 0)
    before, answer = speaker.after(prompt, thought), "( 1 + 3 ) + 4"
    assert before.ids[len(prompt.ids) :] + speaker.answer(answer) == speaker.thinking(thought, answer)
    assert "  " not in speaker.text(before.ids)


def made(name: str, speaker, *more: str):
    """The method on a copy of the speaker's model."""
    paid = ("raro.judged=rollouts", "raro.ceiling=1")  # the paper's
    game = ("raro.gate=0", "raro.gate_shut=0", "raro.verdicts=4", "raro.pairs=8", "rollout.critic_tokens=32", *paid)
    small = ("raro.questions=2", "raro.rollouts=6", "raro.steps=6", "rollout.policy_tokens=48")
    config = load("countdown-mini", [f"method={name}", *game, *small, *more])
    own = dataclasses.replace(speaker, model=copy.deepcopy(speaker.model))
    settings = Optimisation(learning_rate=1e-3, batch_tokens=2048, layout="rows")
    learner = Learner(own.model, copy.deepcopy(own.model), settings, own.pad_id)
    return method_of(name)(config, own, own.engine(config), learner, DEMONSTRATIONS)


def answered(method, item: int, thought: str, text: str | None) -> Answer:
    speaker = method.speaker
    ids = speaker.completion(f"{THINK} {thought} {END_THINK} {text}" if text else thought)
    return Answer(item, Prompt((3, 8, 9), "policy", item), Completion(ids, (0.0,) * len(ids), "stop"), text, thought)


@pytest.fixture(scope="module")
def speaker():
    """The packaged mini base: it speaks the format."""
    from raro.rollout.models import open_model
    from raro.storage import fetch

    config = load("countdown-mini")
    return open_model(fetch(config.base.uri), config)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_and_goes_on_exactly(name, speaker):
    one = made(name, speaker)
    before = [p.clone() for p in one.speaker.model.parameters()]
    figures = [one.step(step)[0] for step in range(3)]
    assert any(not torch.equal(a, b) for a, b in zip(before, one.speaker.model.parameters(), strict=True))
    assert all(math.isfinite(value) for f in figures for value in f.values())
    assert figures[-1]["game/written"] == one.written > 0
    two = made(name, speaker)
    two.step(0)
    three = made(name, speaker)
    for mine, theirs in ((three.speaker.model, two.speaker.model), (three.learner.reference, two.learner.reference)):
        mine.load_state_dict(theirs.state_dict())
    three.learner.optimiser.load_state_dict(copy.deepcopy(two.learner.optimiser.state_dict()))
    three.restore(two.state())
    for step in (1, 2):
        three.step(step)
    for a, b in zip(one.speaker.model.parameters(), three.speaker.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_method_is_known_by_its_line_alone():
    with pytest.raises(BadInput, match=f"one of {', '.join(METHODS)}, not 'grpo'"):
        load("countdown-mini", ["method=grpo"])


def test_rlvr_pays_for_right_answers_only(speaker):
    method = made("rlvr", speaker)
    given = [answered(method, 0, "x", text) for text in ("( 1 + 3 ) + 4", "( 4 + 3 ) + 1", "( 3 - 1 ) * 4", "8")]
    assert method.rewards(given) == [1, 1, 1, 0]


def test_similarity_pays_for_the_expert_s_words_in_their_order(speaker):
    method = made("similarity", speaker)
    same, turned, other = method.rewards([answered(method, 0, "x", t) for t in ("( 1 + 3 ) + 4", "( 4 + 3 ) + 1", "9 * 9")])
    assert same == 1 > turned > other


def test_rl_logit_pays_for_thoughts_that_make_the_expert_s_answer_likely(speaker):
    method = made("rl_logit", speaker)
    helpful = answered(method, 0, "1 + 3 = 4 + 4 = 8 ok", "( 1 + 3 ) + 4")
    useless = answered(method, 0, "1 * 3 = 3 * 4 = 12 no", "( 1 * 3 ) * 4")
    good, bad = method.rewards([helpful, useless])
    assert 1 >= good > bad >= 0
    prompt = (*helpful.prompt.ids, *speaker.completion(f"{THINK} {helpful.thought} {END_THINK}")[:-1])
    expert = speaker.thinking(helpful.thought, DEMONSTRATIONS[0].answer)[len(prompt) - len(helpful.prompt.ids) :]
    with torch.inference_mode():
        logits = method.speaker.model(torch.tensor([[*prompt, *expert]])).logits[0].log_softmax(-1)
    values = [logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(expert)]
    assert good == pytest.approx(1 - max(sum(values) / len(values), FLOOR) / FLOOR, abs=1e-5)


def test_rationalization_teaches_the_likeliest_thought_and_the_expert_s_answer(speaker):
    method = made("rationalization", speaker)
    lesson = method.lesson(answered(method, 0, "1 * 3 = 3 * 4 = 12 no", "( 1 * 3 ) * 4"))
    assert method.speaker.text(lesson.completion_ids).endswith(f"no {END_THINK} ( 1 + 3 ) + 4")


def test_dpo_has_trl_s_gradient(speaker, tmp_path):
    """TRL 1.16's own DPO loss on the same pairs, policy and reference: same margins, same gradient."""
    import datasets
    import trl

    method = made("dpo", speaker, "raro.dpo_beta=0.3")
    torch.manual_seed(0)
    with torch.no_grad():  # the policy has moved away from its reference
        for parameter in method.speaker.model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    texts = (("1 * 3 = 3 * 4 = 12 no", "( 1 * 3 ) * 4"), ("4 + 3 = 7 ok", "( 4 + 3 ) - 1"))
    answers = [answered(method, i, *t) for i, t in enumerate(texts)]
    chosen = [(a.prompt, method._after(a, DEMONSTRATIONS[a.item].answer)) for a in answers]
    rejected = [(a.prompt, method._after(a, a.text)) for a in answers]
    margins = method.margins(chosen, rejected)
    method.learner.settings = dataclasses.replace(method.learner.settings, max_grad_norm=0.0)
    stream = {"policy": Stream(coefficient=2.0, budget=1)}
    model, reference = copy.deepcopy(method.speaker.model), copy.deepcopy(method.learner.reference)
    method.learner.update(method.weighted(chosen, rejected, margins), stream, cross_entropy, 0.0)
    ours = torch.cat([p.grad.flatten() for p in method.speaker.model.parameters()])

    rows = [[*p.ids, *c] for p, c in (*chosen, *rejected)]
    width = max(map(len, rows))
    pad = lambda row: row + [0] * (width - len(row))  # noqa: E731
    prompts = [len(p.ids) for p, _ in (*chosen, *rejected)]
    inputs = {
        "input_ids": torch.tensor([pad(row) for row in rows]),
        "attention_mask": torch.tensor([pad([1] * len(row)) for row in rows]),
        "completion_mask": torch.tensor([pad([0] * n + [1] * (len(row) - n)) for n, row in zip(prompts, rows, strict=True)]),
    }
    settings = trl.DPOConfig(output_dir=str(tmp_path), beta=0.3, report_to=[], use_cpu=True, bf16=False)
    data = datasets.Dataset.from_list([{"prompt": "solve", "chosen": "ok", "rejected": "no"}] * 2)
    trainer = trl.DPOTrainer(
        model=model, ref_model=reference, args=settings, train_dataset=data, processing_class=speaker.tokenizer
    )
    model.zero_grad()
    loss = trainer._compute_loss(model, inputs, return_outputs=False)
    loss.backward()
    assert loss.item() == pytest.approx(sum(math.log1p(math.exp(-m)) for m in margins) / len(margins), rel=1e-4)
    theirs = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert (ours - theirs).norm() < 1e-4 * theirs.norm() > 0


def test_dpo_starts_a_round_without_margins_in_bfloat16_too(speaker):
    method = made("dpo", speaker, "base.dtype=bfloat16")
    answers = [answered(method, i, "4 + 3 = 7 ok", "( 4 + 3 ) - 1") for i in range(3)]
    chosen = [(a.prompt, method._after(a, DEMONSTRATIONS[a.item].answer)) for a in answers]
    rejected = [(a.prompt, method._after(a, a.text)) for a in answers]
    assert method.margins(chosen, rejected) == [0.0] * 3


def test_dpo_learns_at_the_temperature_that_it_is_sampled_at(speaker):
    """A step's gradient is that of its loss, written out; at a round's start, where all margins are 0."""
    method = made("dpo", speaker, "rollout.temperature=1.5", "raro.learning_rate=0")
    method.learner.settings = dataclasses.replace(method.learner.settings, max_grad_norm=0.0)
    method.step(0)
    ours = torch.cat([p.grad.flatten() for p in method.speaker.model.parameters()])
    model, beta = copy.deepcopy(speaker.model), method.config.raro.dpo_beta

    def likelihood(prompt: Prompt, completion: tuple[int, ...]) -> torch.Tensor:
        ids, start = torch.tensor([[*prompt.ids, *completion]]), len(prompt.ids) - 1
        logprobs = torch.log_softmax(model(ids).logits[0, start:-1] / 1.5, -1)
        return logprobs.gather(-1, torch.tensor(completion)[:, None]).sum()

    answers = [a for a in method.answer(method.draw(0), 0) if a.text is not None]
    ends = [(method._after(a, DEMONSTRATIONS[a.item].answer), method._after(a, a.text)) for a in answers]
    gaps = [likelihood(a.prompt, good) - likelihood(a.prompt, bad) for a, (good, bad) in zip(answers, ends, strict=True)]
    (-beta / 2 * sum(gaps) / len(gaps)).backward()
    theirs = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert (ours - theirs).norm() < 1e-4 * theirs.norm() > 0


def test_dpo_tells_of_the_answers_that_it_could_not_read(speaker):
    """Malformed and cut ones are no pairs, and what the flood guard looks at."""
    method = made("dpo", speaker, "rollout.temperature=3.0", "rollout.policy_tokens=24")
    answers = method.answer(method.draw(0), 0)
    cut = sum(a.completion.finish == "length" for a in answers)
    broken = sum(a.text is None for a in answers) - cut
    assert cut and broken and cut + broken < len(answers) == 12
    figures, _ = method.step(0)
    assert figures["policy/malformed"] == broken / 12 and figures["policy/truncated"] == cut / 12


def test_dpo_moves_its_reference_at_each_round(speaker):
    method = made("dpo", speaker, "raro.steps=3")
    method.step(0)
    assert not torch.equal(method.learner.reference.lm_head.weight, method.speaker.model.lm_head.weight)
    kept = method.speaker.model.lm_head.weight.clone()
    method.step(1)
    assert torch.equal(method.learner.reference.lm_head.weight, kept)


@pytest.mark.parametrize("written, taught", [(6, 3), (2, 2)])
def test_the_warm_start_s_verdicts_leak_no_label(speaker, written, taught):
    """Of few pairs the critic says some words more often where the expert stands first, and some in one of the orders alone."""
    config = load("countdown-mini", [f"warmstart.thoughts={written}"])
    thoughts = [[Thought(Prompt((3,), "policy", i), "", "( 1 * 1 ) * 1")] for i in range(3)]
    lessons, _ = _critic_lessons(speaker, DEMONSTRATIONS, thoughts, config, 60)
    said = Counter()
    for lesson in lessons:
        shown = speaker.text(lesson.prompt_ids)
        (expert,) = (shown.index(item.answer) for item in DEMONSTRATIONS if item.answer in shown)
        said[speaker.text(lesson.completion_ids).split()[-1], expert < shown.index(thoughts[0][0].answer)] += 1
    words = {word for word, _ in said}
    assert len(words) == taught and said == {(word, first): 10 for word in words for first in (True, False)}


def test_a_warm_start_without_a_share_for_the_critic_teaches_it_nothing(speaker):
    for share, taught in ((0, {"policy"}), (0.5, {"policy", "critic"})):
        lessons = make_lessons(speaker, DEMONSTRATIONS, load("countdown-mini", [f"warmstart.critic_share={share}"]))
        assert {sample.stream for sample in lessons.examples} == set(lessons.spoken) == taught


def test_shuffled_verdicts_keep_their_mean_and_lose_their_owner(speaker):
    plain, shuffled = made("raro", speaker), made("raro", speaker, "raro.control=shuffled", "raro.rollouts=8")
    answers = [answered(plain, 0, "x", "( 1 + 3 ) + 4")] * 16
    shown = shuffled.pair(answers, 0)
    judged = shuffled.judge(shown, 0)
    told, honest = shuffled.earned(answers, judged, 3), plain.earned(answers, judged, 3)
    assert sorted(told) == pytest.approx(sorted(honest)) and told != honest


def test_a_frozen_critic_is_the_reference(speaker):
    method = made("raro", speaker, "raro.control=frozen", "raro.lambda_crit=0")
    assert method.critic is not method.engine and method.critic.model is method.learner.reference
    assert method.critic_samples(method.judge(method.pair(method.answer(method.draw(0), 0), 0), 0), 0.5) == []


def test_the_learning_rate_warms_up_and_decays_to_a_tenth():
    assert learning_rate(1.0, 0, 0.0, 4, "constant") == 0.25
    assert learning_rate(1.0, 9, 0.5, 4, "constant") == 1.0
    assert learning_rate(1.0, 9, 0.5, 0, "linear") == pytest.approx(0.55)
    assert learning_rate(1.0, 9, 1.7, 0, "linear") == pytest.approx(0.1)


def test_the_method_of_the_docs_learns(speaker):
    """docs/methods.md's example is a whole method: the shorter answer earns more, and a step of it learns."""
    import re
    from pathlib import Path

    from raro.methods.rewarded import Rewarded

    text = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
    scope: dict = {"Rewarded": Rewarded}
    exec(re.search(r"```python\n(.*?)```", text, re.S)[1], scope)
    given = made("rlvr", speaker)
    brief = scope["Brief"](given.config, given.speaker, given.engine, given.learner, DEMONSTRATIONS)
    long, short = brief.rewards([answered(brief, 0, "x", text) for text in ("( 1 + 3 ) + 4", "8")])
    assert short > long
    assert math.isfinite(brief.step(0)[0]["policy/reward"])


def likeness_of(task: Task) -> tuple[float, float, float]:
    """Over 400 test problems, drawn with seed 0: right answers, how many different sets of signs they have, and the share of
    wrong attempts that are less like the expert's answer than a right one is on average."""
    rng = random.Random(0)
    told = []
    for problem in rng.sample(split_problems(task)["test"], 400):
        found = attempts(problem.numbers)
        right = [a for a in found if a.value == problem.target]
        expert = rng.choice(right).answer
        mean = sum(likeness(a.answer, expert) for a in right) / len(right)
        wrong = [likeness(a.answer, expert) for a in found if a.value != problem.target]
        signs = {tuple(sorted(a.operators)) for a in right}
        told.append((len(right), len(signs), sum(value < mean for value in wrong) / len(wrong)))
    return tuple(sum(column) / len(told) for column in zip(*told, strict=True))


def test_likeness_to_the_expert_nearly_verifies_in_the_miniature():
    """Why the similarity rival is strong there (docs/mini-base.md): a problem's right answers share their signs, so
    a right answer is more like the expert's than nearly every wrong attempt is."""
    answers, signs, below = likeness_of(THREE)
    assert answers == pytest.approx(2.5, abs=0.05) and signs == pytest.approx(1.04, abs=0.01)
    assert below == pytest.approx(0.96, abs=0.01)


def test_likeness_to_the_expert_says_less_where_a_question_has_several_right_answers():
    """The same with smaller numbers than those of `--task several`, of which there are too many for a test."""
    answers, signs, below = likeness_of(dataclasses.replace(SEVERAL, largest=8))
    assert answers == pytest.approx(14.3, abs=0.1) and signs == pytest.approx(2.2, abs=0.05)
    assert below == pytest.approx(0.82, abs=0.01)
