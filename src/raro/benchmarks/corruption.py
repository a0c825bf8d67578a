"""Experts' answers made worse in one known way: what a judge or a critic must tell from the answer itself.

Each kind leaves the rest of the answer as it was, so that neither spelling nor layout tells, and says its name. A kind that
finds nothing to take hold of (no number, a single sentence) makes nothing. Pure: the same generator's state gives the same
corruption. Negation knows English only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"(?<![\w.])[0-9]+(?:\.[0-9]+)?(?![\w]|\.[0-9])")
_SENTENCE_END = re.compile(r"((?<=[.!?])\s+|\n+)")
_BLANKS = re.compile(r"(\s+)")
_NOT = re.compile(r"\b(?P<verb>is|are|was|were|has|had|can|could|should|would|will|may|might|must|does|did|do) not\b", re.I)
_VERB = re.compile(r"\b(is|are|was|were|can|could|should|would|will|may|might|must)\b(?! not\b|n't|')", re.I)
TRIES = 16
"""Draws that may come out as the answer itself (equal words shuffled) before a kind gives up."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """kind: what was done to the answer, one of KINDS. text: what became of it, never the answer itself and never empty."""

    kind: str
    text: str


def corrupt(answer: str, others: Sequence[str], rng: random.Random, kinds: Sequence[str] = ()) -> Corruption | None:
    """The answer made worse in one way, drawn among those that can be done to it; None where none can.

    others: experts' answers to other questions, from which foreign numbers and sentences come. kinds: those to draw among;
    empty: all. Raises KeyError for a kind that does not exist.
    """
    drawn = list(kinds or KINDS)
    rng.shuffle(drawn)
    for kind in drawn:
        text = KINDS[kind](answer, others, rng)
        if text is not None and text.strip() and text.split() != answer.split():
            return Corruption(kind, text)
    return None


def _number(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    """One number changed: to one that stands in another answer, or else in one of its digits."""
    places = list(NUMBER.finditer(answer))
    if not places:
        return None
    place = rng.choice(places)
    now = place.group()
    known = [one for other in others for one in NUMBER.findall(other) if float(one) != float(now)]
    return answer[: place.start()] + (rng.choice(known) if known else _other_digit(now, rng)) + answer[place.end() :]


def _other_digit(number: str, rng: random.Random) -> str:
    at = rng.choice([i for i, c in enumerate(number) if c.isdigit()])
    return number[:at] + rng.choice([d for d in "123456789" if d != number[at]]) + number[at + 1 :]


def _negation(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    """A `not` taken out or put in."""
    if place := _NOT.search(answer):
        return answer[: place.start()] + place["verb"] + answer[place.end() :]
    places = list(_VERB.finditer(answer))
    if not places:
        return None
    end = rng.choice(places).end()
    return f"{answer[:end]} not{answer[end:]}"


def _sentence(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    """One sentence, or line, replaced by one of another answer."""
    parts = _SENTENCE_END.split(answer)  # sentences at the even places, what parts them at the odd
    foreign = [s for other in others for s in _SENTENCE_END.split(other)[::2] if s.strip() and s not in parts]
    if len(parts) < 3 or not foreign:
        return None
    parts[rng.choice([i for i in range(0, len(parts), 2) if parts[i].strip()])] = rng.choice(foreign)
    return "".join(parts)


def _truncated(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    """Broken off between a third and two thirds of its words."""
    words = _BLANKS.split(answer)[::2]
    if len(words) < 3:
        return None
    return "".join(_BLANKS.split(answer)[: 2 * max(1, int(len(words) * rng.uniform(1 / 3, 2 / 3))) - 1])


def _shuffled(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    """Its words in another order, its lines as long as they were."""
    parts = _BLANKS.split(answer)
    for _ in range(TRIES if len(parts) >= 3 else 0):
        words = parts[::2]
        rng.shuffle(words)
        if words != parts[::2]:
            parts[::2] = words
            return "".join(parts)
    return None


def _foreign(answer: str, others: Sequence[str], rng: random.Random) -> str | None:
    """The answer to another question."""
    different = [other for other in others if other.strip() and other.split() != answer.split()]
    return rng.choice(different) if different else None


KINDS: dict[str, Callable[[str, Sequence[str], random.Random], str | None]] = {
    "number": _number,
    "negation": _negation,
    "sentence": _sentence,
    "truncated": _truncated,
    "shuffled": _shuffled,
    "foreign": _foreign,
}
"""What can be done to an answer, by name."""
