"""Multiple choice answered freely (CaseHOLD): which choice does an answer say, and which does a model find likeliest?

The model is not shown the choices. A free answer says the one whose words it shares, where it says no other, gives no number
that is not in it and turns nothing round. What is worded otherwise is not matched: a lower bound, like `diagnosis`. By
likelihood each choice is scored behind the question, per token, as lm-eval's acc_norm does per byte.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..demonstrations.personal import PersonalData
from ..demonstrations.shapes import offered
from ..errors import BadInput
from ..records import Demonstration
from ..text import normalise
from . import origin
from .likelihood import scoring
from .statistics import mean_interval, paired_with_others

if TYPE_CHECKING:
    from ..rollout.models import Speaker

MAX_CHARS = 2000
"""Longer answers are wrong unread: a holding is a sentence."""
LEAST, LEAD, NAMED = 0.5, 0.05, 0.8
"""F1 of words that a match needs, what every other choice must lie below it, and the share of another choice's own words that
makes it said as well (O: as the answers sorted by hand ask, tests/fixtures/holdings.json)."""
_WORD = re.compile(r"n't|\w+?(?=n't)|\w+")
_TURNING = frozenset((
    "not", "no", "n't", "never", "nor", "neither", "none", "nothing", "cannot", "without", "unless", "except", "but", "only",
    "false", "untrue", "incorrect", "wrong", "wrongly", "overruled", "reversed", "refused", "denied", "rejected", "rather",
))  # fmt: skip
"""Words that turn a sentence round; an answer must have as many as the choice."""


@dataclass(frozen=True)
class Choices:
    """texts: what was offered. right: the place of the expert's."""

    texts: tuple[str, ...]
    right: int


def read(items: Sequence[Demonstration], config: Config) -> dict[str, Choices]:
    """By an item's source, cleaned as ingest cleans answers. Raises BadInput where the data offers no choices."""
    settings = config.demonstrations
    if settings.reader != "choice":
        line = f"evaluation.benchmark is choice, and demonstrations.reader is {settings.reader}, which reads no choices"
        raise BadInput(line, "set demonstrations.reader: choice")
    # A row whose answer holds what drops a row is not here; a wrong choice that does is shown without it.
    actions = {kind: "keep" if action == "keep" else "mask" for kind, action in settings.personal_data.items()}
    personal = PersonalData.of(replace(settings, personal_data=actions))
    rows = origin.columns(items, (settings.choices, settings.answer), config, "evaluation.benchmark")
    found = {}
    for source, row in rows.items():
        texts, right = offered(row, settings)
        texts = [normalise(str(text)) for text in texts]  # a wrong one may be a number
        found[source] = Choices(tuple(personal.clean(text).text for text in texts) if personal else tuple(texts), right)
    return found


def matches(answer: str, choices: Choices) -> bool:
    """Whether the answer says the expert's choice and no other."""
    place = said(answer, choices.texts)
    return place is not None and _words(choices.texts[place]) == _words(choices.texts[choices.right])


def said(answer: str, texts: Sequence[str]) -> int | None:
    """The place of the choice that the answer says; None where it says none, or more than one."""
    if len(answer) > MAX_CHARS:
        return None
    spoken, choices = _words(answer), [_words(text) for text in texts]
    if spoken and spoken in choices:
        return choices.index(spoken)
    shared = Counter(choices[0])  # `holding that`, where all begin so, tells nothing apart
    for words in choices[1:]:
        if words != choices[0]:
            shared &= Counter(words)
    shared = Counter() if all(words == choices[0] for words in choices) else shared
    ours = Counter(spoken) - shared
    likeness = [_f1(ours, Counter(words) - shared) for words in choices]
    best = max(range(len(texts)), key=lambda place: likeness[place])
    others = [place for place in range(len(texts)) if choices[place] != choices[best]]
    clear = likeness[best] >= LEAST and all(likeness[best] - likeness[place] >= LEAD for place in others)
    if not clear or _turned(spoken) != _turned(choices[best]) or _numbers(spoken) - _numbers(choices[best]):
        return None
    return None if any(_named(ours, Counter(choices[place]) - Counter(choices[best])) for place in others) else best


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold().replace("\u2019", "'"))


def _f1(ours: Counter[str], theirs: Counter[str]) -> float:
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0


def _turned(words: Sequence[str]) -> int:
    return sum(word in _TURNING for word in words)


def _numbers(words: Sequence[str]) -> set[str]:
    return {word for word in words if any(sign.isdigit() for sign in word)}


def _named(ours: Counter[str], own: Counter[str]) -> bool:
    return own.total() > 0 and (ours & own).total() >= NAMED * own.total()


def likeliest(
    speaker: Speaker,
    items: Sequence[Demonstration],
    choices: Mapping[str, Choices],
    thoughts: Sequence[str | None],
    config: Config,
    thinking: bool = True,
) -> list[float]:
    """Of each item, 1 where the expert's choice is the likeliest by the token (`likelihood.scoring`), else 0."""
    offers = [choices[item.source] for item in items]
    by_token = scoring(speaker, items, thoughts, config, thinking)
    scored = iter(by_token([(i, text) for i, offer in enumerate(offers) for text in offer.texts]))
    right = []
    for offer in offers:
        means = list(itertools.islice(scored, len(offer.texts)))
        best = [place for place, mean in enumerate(means) if mean == max(means)]
        right.append(float(all(_words(offer.texts[place]) == _words(offer.texts[offer.right]) for place in best)))
    return right


def compared(found: Mapping[str, Sequence[float]], choices: Sequence[Choices], resamples: int, seed: int) -> dict[str, Any]:
    """{"n", "chance", "right": {arm: interval}, "paired": {"candidate-ARM": interval}}. chance: what guessing gets."""
    return {
        "n": len(choices),
        "chance": sum(1 / len(one.texts) for one in choices) / max(1, len(choices)),
        "right": {arm: mean_interval(right, resamples, seed) for arm, right in found.items()},
        "paired": paired_with_others(found, resamples, seed),
    }
