"""What a tournament of N answers is worth: against one answer, a random choice and a majority vote at EQUAL tokens.

A tournament costs its N answers and its critic. The rivals get as many further answers to each question as those tokens buy,
the last one paid in full, so that they never spend less. Two budgets: `written` counts the tokens that were generated; `all`
counts every prompt as well, each of the critic's once a vote, the policy's once a question. The second favours the rivals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..config import Config
from ..records import Demonstration, Sampling
from ..roles import asking
from ..rollout.models import Speaker
from ..rollout.places import Place
from .scoring import CHECKED, Saying, saying, scorer
from .statistics import mean_interval, paired_with_others
from .tournament import Best, Rules, best_of, rules_of

BATCH = 4
"""Further answers written at a time, for the questions whose tokens are not spent yet."""
BUDGETS = ("written", "all")


@dataclass
class Given:
    """What one question was given: texts (None: malformed) and the tokens written for each; prompt: tokens of the question."""

    texts: list[str | None]
    tokens: list[int]
    prompt: int

    def first(self, n: int) -> Given:
        """As if no more had been written."""
        return Given(self.texts[:n], self.tokens[:n], self.prompt)

    def within(self, budget: int) -> int | None:
        """How many answers, the first ones, spend the budget: the last may cross it. None while they do not."""
        spent = 0
        for n, tokens in enumerate(self.tokens, 1):
            spent += tokens
            if spent >= budget:
                return n
        return None


Game = tuple[Sequence[Given], Sequence[Best], dict[str, list[int]]]
"""Each question's answers, its tournament, and by budget the tokens that it spent."""


def majority(texts: Sequence[str | None], same: Callable[[str], str] = str) -> int | None:
    """Index of the first of those answers that most say; None where none is well-formed. same: one key for equal answers."""
    keys = [None if text is None else same(text) for text in texts]
    counted = Counter(key for key in keys if key is not None)
    return max((i for i, key in enumerate(keys) if key is not None), key=lambda i: (counted[keys[i]], -i), default=None)


def compare(
    speaker: Speaker,
    items: Sequence[Demonstration],
    config: Config,
    n: int,
    rules: Rules | None = None,
    progress: Callable[[int, int], None] | None = None,
    fewer: Sequence[int] = (),
) -> dict[str, Any]:
    """Plays and counts. fewer: numbers of answers below n with which it is played as well, among the first of the same ones.

    Returns {"n", "items", "system", "votes", "ties", "matches": a question, "tokens": {answers, critic, prompts}, "answers":
    {budget: mean number the rivals got}, "scores": {arm: interval}, "paired": {"tournament-ARM": interval}, "per_item": {arm:
    [score]}, "spent": {budget: [tokens of each question]}, "curve": {"n": [...], "scores": {arm: [interval of each n]}} where
    `fewer` asks for one}. Arms: single (the mean of the N), random and majority at either
    budget, tournament, and `any`, what a perfect judge would reach. The best of N is chosen without the benchmark's checker,
    which only scores.
    """
    rules = rules or rules_of(config)
    given = _write(speaker, items, config, n)
    sizes = sorted({*fewer, n})
    games = {size: _played(speaker, items, [g.first(size) for g in given], config, rules) for size in sizes}
    _, found, budgets = games[n]
    more = [g.first(n) for g in given]
    highest = {
        budget: [max(spent) for spent in zip(*(game[2][budget] for game in games.values()), strict=True)] for budget in BUDGETS
    }
    _fill(speaker, items, config, more, highest, progress)
    score, same = scorer(items, config), saying(items, config)
    values = [[0.0 if text is None else score(item, text) for text in g.texts] for item, g in zip(items, more, strict=True)]
    by_size = {size: _scores(items, values, same, config, *game, more) for size, game in games.items()}
    scores, resamples, seed = by_size[n], config.evaluation.bootstrap, config.seed
    curve = {
        "n": sizes,
        "scores": {arm: [mean_interval(one[arm], resamples, seed) for one in by_size.values()] for arm in scores},
    }
    return ({"curve": curve} if fewer else {}) | {
        "n": n,
        "items": len(items),
        "system": rules.system,
        "votes": rules.votes,
        "ties": rules.ties,
        "tokens": {
            "answers": sum(sum(g.tokens) for g in given),
            "critic": sum(b.written for b in found),
            "prompts": sum(b.read for b in found) + sum(g.prompt for g in given),
        },
        "matches": sum(len(b.matches) for b in found) / max(1, len(items)),
        "answers": {
            budget: sum(_count(g, budget, spent) for g, spent in zip(more, budgets[budget], strict=True)) / max(1, len(items))
            for budget in BUDGETS
        },
        "scores": {arm: mean_interval(values, resamples, seed) for arm, values in scores.items()},
        "paired": paired_with_others({arm: own for arm, own in scores.items() if arm != "any"}, resamples, seed, "tournament"),
        "per_item": scores,
        "spent": budgets,
    }


def _played(speaker: Speaker, items: Sequence[Demonstration], given: Sequence[Given], config: Config, rules: Rules) -> Game:
    """A tournament of each question's answers, and the tokens that it cost."""
    found = best_of(speaker, [item.question for item in items], [g.texts for g in given], config, rules)
    budgets = {
        "written": [sum(g.tokens) + b.written for g, b in zip(given, found, strict=True)],
        "all": [g.prompt + sum(g.tokens) + b.written + b.read for g, b in zip(given, found, strict=True)],
    }
    return given, found, budgets


def voted(
    speaker: Speaker, items: Sequence[Demonstration], config: Config, spent: dict[str, list[int]]
) -> dict[str, list[float]]:
    """What the majority vote of another model gets for the same tokens: {"majority_BUDGET": [score]}. spent: as `compare`
    returns it."""
    given = _write(speaker, items, config, BATCH)
    _fill(speaker, items, config, given, spent, None)
    score, same = scorer(items, config), saying(items, config)
    found: dict[str, list[float]] = {f"majority_{budget}": [] for budget in BUDGETS}
    for i, (item, own) in enumerate(zip(items, given, strict=True)):
        for budget in BUDGETS:
            texts = own.texts[: _count(own, budget, spent[budget][i])]
            chosen = majority(texts, partial(same, item))
            found[f"majority_{budget}"].append(0.0 if chosen is None else score(item, texts[chosen]))
    return found


def _write(speaker: Speaker, items: Sequence[Demonstration], config: Config, n: int) -> list[Given]:
    """N answers to every question, as in training."""
    asked = [asking.policy(speaker, item.question, config, "scaling", i) for i, item in enumerate(items)]
    sampling = Sampling(config.rollout.temperature, config.rollout.policy_tokens, config.seed, Place.SCALING)
    written = speaker.engine(config).generate(asked, n, sampling)
    given = [Given([], [], len(prompt.ids)) for prompt in asked]
    for own, completions in zip(given, written, strict=True):
        _take(speaker, own, completions)
    return given


def _take(speaker: Speaker, own: Given, completions: Sequence) -> None:
    for completion in completions:
        parts = speaker.read(completion)
        own.texts.append(parts[1] if parts else None)
        own.tokens.append(len(completion.ids))


def _count(given: Given, budget: str, tokens: int) -> int:
    found = given.within(tokens - (given.prompt if budget == "all" else 0))
    if found is None:
        raise ValueError("the tokens are not spent yet")
    return found


def _fill(
    speaker: Speaker,
    items: Sequence[Demonstration],
    config: Config,
    given: Sequence[Given],
    budgets: dict[str, list[int]],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Writes further answers until every question has spent the larger of its budgets."""
    highest = [
        max(written, everything - g.prompt)
        for g, written, everything in zip(given, budgets["written"], budgets["all"], strict=True)
    ]
    batch = 0
    while short := [i for i, g in enumerate(given) if g.within(highest[i]) is None]:
        batch += 1
        if progress:
            progress(len(given) - len(short), len(given))
        asked = [asking.policy(speaker, items[i].question, config, "scaling", i) for i in short]
        sampling = Sampling(config.rollout.temperature, config.rollout.policy_tokens, config.seed, Place.SCALING + batch)
        for i, completions in zip(short, speaker.engine(config).generate(asked, BATCH, sampling), strict=True):
            _take(speaker, given[i], completions)


def _scores(
    items: Sequence[Demonstration],
    scored: Sequence[Sequence[float]],
    same: Saying,
    config: Config,
    given: Sequence[Given],
    found: Sequence[Best],
    budgets: dict[str, list[int]],
    more: Sequence[Given],
) -> dict[str, list[float]]:
    """Each question's score, by arm. scored: of every answer in `more`, 0 where it is malformed. same: what a
    vote counts by."""
    arms: dict[str, list[float]] = {"single": []}
    for budget in BUDGETS:
        arms |= {f"random_{budget}": [], f"majority_{budget}": []}
    arms |= {"tournament": [], "any": []}
    for i, (values, own, best, further) in enumerate(zip(scored, given, found, more, strict=True)):
        first = values[: len(own.texts)]
        arms["single"].append(sum(first) / len(first))
        arms["any"].append(max(first))
        arms["tournament"].append(0.0 if best.chosen is None else first[best.chosen])
        for budget in BUDGETS:
            count = _count(further, budget, budgets[budget][i])
            texts = further.texts[:count]
            formed = [value for value, text in zip(values, texts, strict=False) if text is not None]
            arms[f"random_{budget}"].append(sum(formed) / len(formed) if formed else 0.0)
            chosen = majority(texts, partial(same, items[i]))
            arms[f"majority_{budget}"].append(0.0 if chosen is None else values[chosen])
    return arms if config.evaluation.benchmark in CHECKED else {arm: values for arm, values in arms.items() if arm != "any"}
