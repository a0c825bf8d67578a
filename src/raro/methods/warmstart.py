"""The warm start: lessons in the format both roles speak, made from the demonstrations and the model's own words.

It must not harm the ability to think, so no thought is invented: every one is the model's own. And it must not leak labels, so
the critic's lessons are its own well-formed verdicts, as many of each word for either order: they say how to answer, not what.
A verdict that it seldom gives is repeated, since another word behind a thought would teach it not to heed its thoughts; a word
that it never says of one of the orders is not taught.

policy  For each demonstration the model writes `thoughts` thoughts; the one under which the expert's answer is likeliest is
        kept. Of all demonstrations the `keep` share with the likeliest answers is taught. `answers: expert` ends the lesson
        with the expert's answer, `answers: own` with the answer the thought really led to: format only.
critic  The model judges pairs of an expert's and its own answer.

Where the model does not speak the format yet, its words become the thought, whatever they were.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..config import Config
from ..game.pairs import fresh_pairs, single_answer_pairs
from ..records import Completion, Demonstration, Pair, Prompt, Sample, Sampling
from ..roles import asking
from ..roles.judging import parse_verdict, words_of
from ..rollout.models import Speaker
from ..rollout.places import Place
from ..text import END_THINK, THINK, normalise


@dataclass(frozen=True, slots=True)
class Lessons:
    """examples: of both streams. spoken: share of the model's own rollouts that were well-formed, by role; of a critic
    that is taught nothing there are none."""

    examples: list[Sample]
    spoken: dict[str, float]


@dataclass(frozen=True, slots=True)
class Thought:
    """A thought of the model's own and the answer it led to (None: it gave none)."""

    prompt: Prompt
    text: str
    answer: str | None


def make_lessons(
    speaker: Speaker,
    demonstrations: Sequence[Demonstration],
    config: Config,
    progress: Callable[[int, int], None] | None = None,
) -> Lessons:
    """Lessons for `warmstart.steps` updates. Deterministic in the configuration, the demonstrations and the model."""
    settings = config.warmstart
    wanted = settings.steps * settings.questions
    n_policy = max(1, round(wanted * (1 - settings.critic_share)))
    asked = min(len(demonstrations), max(1, round(n_policy / settings.keep)))
    items = random.Random(f"warmstart-{config.seed}").sample(list(demonstrations), asked)
    thoughts, spoken_policy = _thoughts(speaker, items, config, progress)
    policy = _policy_lessons(speaker, items, thoughts, config)
    if not settings.critic_share:
        return Lessons(policy, {"policy": spoken_policy})
    critic, spoken_critic = _critic_lessons(
        speaker, items, thoughts, config, max(6, round(len(policy) * settings.critic_share / (1 - settings.critic_share)))
    )
    return Lessons(policy + critic, {"policy": spoken_policy, "critic": spoken_critic})


def _thoughts(speaker: Speaker, items, config: Config, progress) -> tuple[list[list[Thought]], float]:
    prompts = [asking.policy(speaker, d.question, config, "warmstart-policy", i) for i, d in enumerate(items)]
    sampling = Sampling(config.rollout.temperature, config.rollout.policy_tokens, config.seed, Place.WARMSTART)
    written = speaker.engine(config).generate(prompts, config.warmstart.thoughts, sampling, progress)
    read = [[_thought(speaker, prompt, c) for c in completions] for prompt, completions in zip(prompts, written, strict=True)]
    spoken = [thought.answer is not None for group in read for thought in group]
    return read, sum(spoken) / max(1, len(spoken))


def _thought(speaker: Speaker, prompt: Prompt, completion: Completion) -> Thought:
    parts = speaker.read(completion)
    return Thought(prompt, *parts) if parts else Thought(prompt, normalise(speaker.text(completion.ids)), None)


def _spoken(speaker: Speaker, thought: str, answer: str, budget: int) -> tuple[int, ...]:
    """The lesson's completion. A thought too long for the budget is cut: a lesson must show how to end in time."""
    whole = speaker.thinking(thought, answer)
    if len(whole) <= budget:
        return whole
    room = budget - len(speaker.completion(f"{THINK} {END_THINK} {answer}"))
    kept = speaker.tokenizer.encode(thought, add_special_tokens=False)[: max(0, room)]
    return speaker.thinking(speaker.tokenizer.decode(kept).rstrip("\ufffd"), answer)  # a letter may be cut in two


def _verdict(speaker: Speaker, thought: str, word: str, config: Config) -> tuple[int, ...]:
    """A critic's completion: the word after a thought, or the word alone where the critic is not to reason."""
    return _spoken(speaker, thought, word, config.rollout.critic_tokens) if config.raro.reasoning else speaker.completion(word)


def _policy_lessons(speaker: Speaker, items: Sequence[Demonstration], thoughts, config: Config) -> list[Sample]:
    """One lesson per demonstration: its most telling thought; of all lessons, the most telling share."""
    flat = [(item, thought) for item, group in zip(items, thoughts, strict=True) for thought in group]
    before = [speaker.after(t.prompt, t.text) for _, t in flat]
    scores = speaker.engine(config).score(before, [speaker.answer(item.answer) for item, _ in flat], 1.0)
    total, k = [sum(values) for values in scores], config.warmstart.thoughts
    best = [max(range(i, i + k), key=total.__getitem__) for i in range(0, len(flat), k)]
    ranked = sorted(best, key=lambda i: -total[i])[: max(1, round(len(best) * config.warmstart.keep))]
    lessons = []
    for i in ranked:
        item, thought = flat[i]
        answer = thought.answer if config.warmstart.answers == "own" and thought.answer else item.answer
        written = _spoken(speaker, thought.text, answer, config.rollout.policy_tokens)
        lessons.append(Sample(thought.prompt.ids, written, (), 1.0, 1.0, "policy"))
    return lessons


def _critic_lessons(
    speaker: Speaker, items: Sequence[Demonstration], thoughts, config: Config, wanted: int
) -> tuple[list[Sample], float]:
    """Equally many verdicts of each word for either order, so that the verdict says nothing about who the expert is; none of a
    word that is missing in one of the orders."""
    answers = [next((t.answer for t in group if t.answer), None) or group[0].text or "none" for group in thoughts]
    questions, experts = [d.question for d in items], [d.answer for d in items]
    n = min(len(items), wanted)
    shown = fresh_pairs(questions[:n], experts[:n], answers[:n], config.seed, Place.WARMSTART)
    shown = single_answer_pairs(shown) if config.raro.critic == "absolute" else shown
    prompts = [asking.critic(speaker, pair, config, "warmstart-critic", i) for i, pair in enumerate(shown)]
    sampling = Sampling(config.rollout.temperature, config.rollout.critic_tokens, config.seed, Place.WARMSTART)
    written = speaker.engine(config).generate(prompts, config.warmstart.thoughts, sampling)
    cells: dict[tuple[str, bool], list[Sample]] = defaultdict(list)
    strays: list[tuple[Pair, Prompt, str]] = []
    spoken = 0
    for pair, prompt, completions in zip(shown, prompts, written, strict=True):
        for completion in completions:
            verdict = parse_verdict(speaker, completion, config)
            if verdict == "malformed":
                strays.append((pair, prompt, normalise(speaker.text(completion.ids))))
            else:
                spoken += 1
                cells[verdict, pair.expert_first].append(Sample(prompt.ids, completion.ids, (), 1.0, 1.0, "critic"))
    words = words_of(config)
    each = max(1, wanted // (2 * len(words)))
    lessons: list[Sample] = []
    for word in words:
        orders: list[list[Sample]] = []
        for expert_first in (True, False):
            own = cells[word, expert_first][:each]
            fitting = (s for s in strays if s[0].expert_first == expert_first)
            borrowed = [
                Sample(prompt.ids, _verdict(speaker, thought, word, config), (), 1.0, 1.0, "critic")
                for _, prompt, thought in itertools.islice(fitting, each - len(own))
            ]
            orders.append(own + borrowed)
        if all(orders):
            lessons += [lesson for found in orders for lesson in itertools.islice(itertools.cycle(found), each)]
    return lessons, spoken / max(1, len(prompts) * config.warmstart.thoughts)
