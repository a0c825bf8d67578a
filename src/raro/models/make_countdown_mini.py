"""Makes the packaged mini base and its demonstrations again: `make base`. Seeded; about 10 minutes on one core.

The mini base stands in for a pretrained LLM. It is a 156-thousand-parameter Llama-like decoder, trained by language modelling
on synthetic traces of both roles, imperfect in both. `--task four --width 192 --layers 6` makes its larger sister for four
numbers, on a GPU where there is one (`make study-gpu`); `--task several` a sister of its own size for four numbers and problems
with several right answers (mini_problems.py).

policy  random attempts at the problem, none with the signs of an earlier one, each worked out and flagged `ok` or `no`,
        until one hits or it gives up; then its last attempt as the answer. The attempts are random, so its search is poor; a
        flag is wrong with probability FLAG_NOISE.
critic  both answers worked out and flagged in the same way, then a verdict that follows the flags with probability `follows`
        and is drawn at random otherwise: a critic little above chance, or with 0 at chance. With `--alone` a share of these
        lessons show one answer, and ask whose it is: the base on which the absolute critic can be tried.

So the base already does arithmetic and compares a value with a target. What is left to learn is to search better, and which
flags mark an expert.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import track
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ..benchmarks.countdown import Attempt, Problem, attempts, chained, evaluate
from ..errors import RaroError
from ..game.prompts import critic_messages, policy_messages
from ..learning import checkpoints
from ..learning.losses import cross_entropy
from ..learning.update import Learner, Optimisation, Stream
from ..records import Pair, Sample
from ..rollout.models import Speaker, save_model
from ..storage import digest_text
from ..text import END_THINK, THINK
from .mini_problems import TASKS, THREE, Task, demonstrations, right, split_problems

FLAG_NOISE = 0.02
STOPS = 0.6
"""Probability of giving up after a missed attempt,"""
PATIENT = 0.1
"""but for this share of the traces, which go on to the end: without them the base could not work so far from the question."""
WRONG_NUMBERS = 0.2
"""Share of the critic's lessons in which the student's answer uses numbers it was not given; flagged `no`."""
BROKEN = 0.15
"""Share of them in which it cannot be worked out at all; flagged `no` at once. An LLM knows junk when it sees it; a critic that
does not is fooled by it (measured: without these lessons the policy wrote `( 13`, and won)."""
WORDS = ["=", "(", ")", "+", "-", "*", "/", ".", "ok", "no", "first", "tie", *map(str, range(100))]
"""What may stand in such an answer by mistake."""


INSTRUCTIONS = {"policy": "solve", "critic": "judge"}
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per whole number 0..99, sign, bracket and word; a chat template like any other model's."""
    special = ["<|pad|>", "<|end|>", "<|unknown|>", "<|system|>", "<|user|>", "<|assistant|>", THINK, END_THINK]
    words = ["solve", "judge", "Make", "from", "First", "Second", "answer", "ok", "no", "first", "second", "tie"]
    signs = list("+-*/=().,:")
    vocabulary = {token: i for i, token in enumerate([*special, *signs, *words, *map(str, range(100))])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\d+|[A-Za-z]+|[^\w\s]"), behavior="isolated")]
    )
    result = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unknown|>",
        additional_special_tokens=special[3:],
        model_max_length=256,
    )
    result.chat_template = TEMPLATE
    return result


def blank_model(seed: int, vocabulary: int, width: int = 64, layers: int = 3) -> LlamaForCausalLM:
    """The untrained decoder: heads of 16 (half as many for keys and values), float32."""
    torch.manual_seed(seed)
    # Not Qwen2: for that model type AutoTokenizer takes its own class, whatever the folder says, and cuts numbers into digits.
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 16,
        num_key_value_heads=width // 32,
        max_position_embeddings=256,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        initializer_range=0.05,
    )
    return LlamaForCausalLM(config)


@dataclass
class Lessons:
    """An endless source of traces of both roles, on the base's own problems."""

    problems: list[Problem]
    speaker: Speaker
    rng: random.Random
    follows: float
    task: Task = THREE
    alone: float = 0.0

    def flag(self, right: bool) -> bool:
        """Whether a trace flags it `ok`; wrong with probability FLAG_NOISE."""
        return right if self.rng.random() >= FLAG_NOISE else not right

    def policy(self) -> Sample:
        """Random attempts until one is flagged ok or patience ends; the last one is the answer."""
        problem = self.rng.choice(self.problems)
        left, worked = list(attempts(problem.numbers)), []
        stops = 0.0 if self.rng.random() < PATIENT else STOPS
        while True:
            attempt = self.rng.choice(left)
            tried = attempt.operators[: self.task.apart]
            left = [other for other in left if other.operators[: self.task.apart] != tried]
            ok = self.flag(attempt.value == problem.target)
            worked.append(f"{attempt.worked} {'ok' if ok else 'no'}")
            if ok or not left or len(worked) == self.task.most or self.rng.random() < stops:
                break
        text = f"{THINK} {' '.join(worked)} {END_THINK} {attempt.answer}"
        return self._sample(policy_messages(problem.question, INSTRUCTIONS["policy"]), text, "policy")

    def near(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers with one of them changed: into a neighbour given beside it, or into any."""
        place, other = self.rng.sample(range(len(numbers)), 2)
        changed = list(numbers)
        changed[place] = numbers[other] if self.rng.random() < 0.5 else self.rng.randint(1, self.task.largest)
        return tuple(sorted(changed))

    def cheat(self, problem: Problem) -> Attempt:
        """An attempt that hits the target with numbers it was not given, where a few tries find one: the value alone must not
        tell the critic enough."""
        for _ in range(10):
            found = attempts(self.near(problem.numbers))
            if hits := [attempt for attempt in found if attempt.value == problem.target]:
                return self.rng.choice(hits)
        return self.rng.choice(found)

    def broken(self, problem: Problem) -> str:
        """An answer that cannot be worked out: a piece of one, one with a wrong word in it, or one that leaves 0..99."""
        while True:
            if self.rng.random() < 0.3:
                drawn = self.rng.sample(problem.numbers, len(problem.numbers))
                words = chained(drawn, [self.rng.choice("+-*") for _ in drawn[1:]]).split()
            else:
                words = self.rng.choice(attempts(problem.numbers)).answer.split()
                place = self.rng.randrange(len(words))
                end = place + self.rng.choice((0, 1, len(words)))
                words[place:end] = self.rng.choices(WORDS, k=self.rng.randrange(2))
            answer = " ".join(words)
            value = evaluate(answer)
            within = (
                value is not None
                and sum(value[1].values()) == len(problem.numbers)
                and answer in {a.answer for a in attempts(tuple(value[1].elements()))}
            )
            if words and not within:
                return answer

    def student(self, problem: Problem) -> tuple[str, str, bool]:
        """(answer, worked out, whether it may be right) of the one who is not the expert."""
        kind = self.rng.random()
        if kind < BROKEN:
            return self.broken(problem), "", False
        attempt = self.cheat(problem) if kind < BROKEN + WRONG_NUMBERS else self.rng.choice(attempts(problem.numbers))
        numbers_right = tuple(sorted(attempt.numbers)) == problem.numbers
        return attempt.answer, attempt.worked, numbers_right and attempt.value == problem.target

    def critic(self) -> Sample:
        """An expert's and a student's answer, or one of them alone, worked out and flagged, and a verdict that seldom follows
        the flags."""
        problem = self.rng.choice(self.problems)
        expert = self.rng.choice(right(problem))
        answer, worked, equal = self.student(problem)
        alone = self.alone > 0 and self.rng.random() < self.alone
        pair = Pair(problem.question, expert.answer, answer, self.rng.random() < 0.5, 0, -1, alone)
        shown = [(expert.worked, self.flag(True)), (worked, self.flag(equal))]
        if not pair.expert_first:
            shown.reverse()
        if alone:
            shown = shown[:1]
        flags = [flag for _, flag in shown]
        verdict = self.rng.choice(("first", "second", "tie"))
        if self.rng.random() < self.follows:
            verdict = "tie" if not alone and flags[0] == flags[1] else "first" if flags[0] else "second"
        thought = " ".join(f"{worked} {'ok' if flag else 'no'}".strip() for worked, flag in shown)
        return self._sample(critic_messages(pair, INSTRUCTIONS["critic"]), f"{THINK} {thought} {END_THINK} {verdict}", "critic")

    def _sample(self, messages: list[dict[str, str]], text: str, stream: str) -> Sample:
        return Sample(self.speaker.prompt(messages, stream, 0).ids, self.speaker.completion(text), (), 1.0, 1.0, stream)


def train(lessons: Lessons, steps: int, batch: int, rate: float, folder: Path, every: int = 250) -> None:
    """Language modelling on both roles' traces, with warm-up and a cosine's decay of the learning rate. folder: of the
    checkpoint written every so many steps, from which a call that was cut off goes on, to the last bit."""
    speaker = lessons.speaker
    batch_tokens = 2048 if speaker.model.device.type == "cpu" else 65_536
    optimisation = Optimisation(learning_rate=rate, weight_decay=0.01, batch_tokens=batch_tokens)
    learner = Learner(speaker.model, None, optimisation, speaker.pad_id)
    streams = {"policy": Stream(coefficient=0.5), "critic": Stream(coefficient=0.5)}
    shapes = [tuple(p.shape) for p in speaker.model.parameters()]
    asked = f"{lessons.rng.getstate()} {lessons.follows} {lessons.task} {lessons.alone} {shapes} {steps} {batch} {rate}"
    identity = {"lessons": digest_text(asked)}
    first = 0
    if found := checkpoints.newest(folder, identity):
        checkpoints.restore(found, speaker.model, learner.optimiser)
        version, words, spare = found.state["lessons"]
        lessons.rng.setstate((version, tuple(words), spare))
        first = found.step
    for step in track(range(first, steps), "training the mini base"):
        samples = [lessons.policy() for _ in range(batch // 2)] + [lessons.critic() for _ in range(batch // 2)]
        shape = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * step / steps)).item())
        figures = learner.update(samples, streams, cross_entropy, rate * shape)
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step} loss {figures['loss']:.4f} tokens/s {figures['tokens_per_second']:.0f}", flush=True)
        if (step + 1) % every == 0:
            state = {"lessons": lessons.rng.getstate()}
            checkpoints.save(folder, step + 1, speaker.model, learner.optimiser, state, identity, 1)


def main() -> None:
    package = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--batch", type=int, default=128, help="traces per step")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument(
        "--task", default="three", choices=TASKS, help="three numbers, four, or four with several right answers"
    )
    parser.add_argument("--width", type=int, default=64, help="of the decoder, a multiple of 32")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--follows", type=float, default=0.1, help="probability that a verdict in a trace follows its flags")
    parser.add_argument("--alone", type=float, default=0.0, help="share of the critic's traces that show one answer only")
    parser.add_argument("--model", type=Path, default=package / "countdown-mini")
    parser.add_argument("--demonstrations", type=Path, help="where to write them, too (`make base`: beside the package's data)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    task = TASKS[given.task]
    splits = split_problems(task)
    if given.demonstrations:
        given.demonstrations.parent.mkdir(parents=True, exist_ok=True)
        with given.demonstrations.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in demonstrations(splits))
    print({name: len(found) for name, found in splits.items()}, flush=True)
    words = tokenizer()
    model = blank_model(given.seed, len(words), given.width, given.layers)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = words.eos_token_id, words.pad_token_id
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    speaker = Speaker(model.to(device), words, (words.eos_token_id,), words.pad_token_id)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    lessons = Lessons(splits["base"], speaker, random.Random(f"lessons-{given.seed}"), given.follows, task, given.alone)
    kept = given.model.with_name(f"{given.model.name}.checkpoints")
    try:
        train(lessons, given.steps, given.batch, given.rate, kept)
    except RaroError as error:
        parser.exit(error.code, f"{error.line}\n  remedy: {error.remedy}\n")
    save_model(speaker, given.model)
    shutil.rmtree(kept, ignore_errors=True)


if __name__ == "__main__":
    main()
