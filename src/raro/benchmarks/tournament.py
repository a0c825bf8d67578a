"""Test-time scaling: the best of N answers, found by the critic in a tournament.

The learned critic compares two of the answers at a time, as it compared the policy's with an expert's. The paper plays single
elimination (.9); its N, its votes a match and its rule for ties are not known, so they are settings. A Swiss tournament pairs
answers of equal score in every round and eliminates none (arXiv 2603.04304). Nothing here knows which answer is right.

What is equal is not played: well-formed answers with the same text are one entrant, backed by as many answers as said it.
Malformed answers never enter. All matches of a round, over all questions, are one call of the engine.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

from ..config import Config
from ..errors import BadInput
from ..records import Pair, Sampling, Verdict
from ..roles import asking, judging
from ..rollout.engine import Engine
from ..rollout.models import Speaker
from ..rollout.places import Place

FREE = -1
"""Whom the odd one meets."""
TRIED = 12
"""So many are paired in every way until no two have met. More than twice as many as any of 64 has met before the last default
round, so that there is such a way (Dirac's theorem)."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a tournament is played.

    system: single elimination, or Swiss. votes: verdicts of a match, orders taking turns, the first order drawn by lot. ties:
    who goes on from a match without a winner: `backed`, whom more of the answers said (a lot between equals), or `lot`. rounds:
    of a Swiss tournament; 0: the least number that singles out one of its entrants, log2 of them rounded up. temperature: of
    the verdicts; 0 asks for the likeliest, so that one order needs one vote.
    """

    system: Literal["single", "swiss"] = "single"
    votes: int = 2
    ties: Literal["backed", "lot"] = "backed"
    rounds: int = 0
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.votes < 1 or self.rounds < 0 or self.temperature < 0:
            raise ValueError("votes are at least 1, rounds and temperature not negative")
        if self.system not in ("single", "swiss") or self.ties not in ("backed", "lot"):
            raise ValueError(f"unknown system or tie rule: {self.system}, {self.ties}")


@dataclass(frozen=True, slots=True)
class Match:
    """One match. question, one, other: indices. votes: those that each of the two got, in [0, votes]; a tie's vote and an
    unreadable one is nobody's. winner: index."""

    question: int
    one: int
    other: int
    votes: tuple[int, int]
    winner: int


@dataclass(frozen=True, slots=True)
class Best:
    """What one question's tournament found. chosen: index into its answers, None where none was well-formed. matches: in the
    order played. written, read: the critic's tokens, and those of its prompts."""

    chosen: int | None
    matches: tuple[Match, ...]
    written: int
    read: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One comparison to be voted on. number: of the vote within all of its question, for the noise. swapped: shown in the other
    order."""

    question: int
    one: int
    other: int
    number: int
    swapped: bool


Vote = tuple[Verdict, int, int]
"""(what the critic said of the order shown, tokens it wrote, tokens of its prompt)."""
Judge = Callable[[Sequence[Asked]], list[Vote]]
"""Votes on comparisons, in their order."""


@dataclass
class _Table:
    """One question's tournament as it goes on. standing: entrants still in it (single), or all (Swiss)."""

    question: int
    answers: Sequence[str | None]
    rng: random.Random
    backed: Counter[str] = field(init=False)
    standing: list[int] = field(init=False)
    score: dict[int, float] = field(init=False)
    met: set[frozenset[int]] = field(default_factory=set)
    matches: list[Match] = field(default_factory=list)
    asked: int = 0
    written: int = 0
    read: int = 0

    def __post_init__(self) -> None:
        self.backed = Counter(answer for answer in self.answers if answer is not None)
        first = {answer: i for i, answer in reversed(list(enumerate(self.answers))) if answer is not None}
        self.standing = sorted(first.values())
        self.rng.shuffle(self.standing)
        self.standing.sort(key=lambda i: -self.backed[self.answers[i]])  # of equals the lot decides: sort is stable
        self.score = dict.fromkeys(self.standing, 0.0)

    def pairings(self, system: str) -> list[tuple[int, int]]:
        """Who meets whom in the next round. Single: the best backed meets the least, byes go to the best backed. Swiss: each,
        the best first, meets the next that it has not met; with an odd number the last is free, none twice. In the default
        rounds no two of up to 64 meet twice; in more, only where the TRIED last could not be paired otherwise."""
        if system == "single":
            places = 1 << max(0, len(self.standing) - 1).bit_length()
            byes = places - len(self.standing)
            playing = self.standing[byes:]
            return list(zip(playing[: len(playing) // 2], reversed(playing[len(playing) // 2 :]), strict=True))
        left = sorted(self.standing, key=lambda i: -self.score[i]) + [FREE] * (len(self.standing) % 2)
        found: list[tuple[int, int]] = []
        while left:
            if len(left) <= TRIED and (rest := unmet(left, self.met)) is not None:
                found += rest
                break
            one = left.pop(0)
            other = next((i for i in left if frozenset((one, i)) not in self.met), left[0])
            left.remove(other)
            found.append((one, other))
        for free in (one for one, other in found if other == FREE):
            self.met.add(frozenset((free, FREE)))
            self.score[free] += 0.5  # a bye is worth a draw, lest an odd entrant be punished or favoured
        return [pair for pair in found if FREE not in pair]

    def decide(self, one: int, other: int, votes: tuple[int, int], ties: str) -> int:
        """Takes a match's votes and returns the loser."""
        ahead = (votes[0] > votes[1]) - (votes[0] < votes[1])
        drawn = not ahead
        if drawn and ties == "backed":
            ours, theirs = self.backed[self.answers[one]], self.backed[self.answers[other]]
            ahead = (ours > theirs) - (ours < theirs)
        winner, loser = (one, other) if (ahead or self.rng.choice((1, -1))) > 0 else (other, one)
        self.matches.append(Match(self.question, one, other, votes, winner))
        self.met.add(frozenset((one, other)))
        cast = max(1, sum(votes))
        self.score[one] += 0.5 if drawn else votes[0] / cast
        self.score[other] += 0.5 if drawn else votes[1] / cast
        return loser

    def champion(self, system: str, ties: str) -> int | None:
        """Who won; of a Swiss tournament's equals whom more answers said, or by lot."""
        if not self.standing:
            return None
        if system == "single":
            return self.standing[0]
        weight = (lambda i: self.backed[self.answers[i]]) if ties == "backed" else (lambda i: 0)
        return max(self.standing, key=lambda i: (round(self.score[i], 9), weight(i), -self.standing.index(i)))


def unmet(left: Sequence[int], met: Set[frozenset[int]]) -> list[tuple[int, int]] | None:
    """All of an even number in pairs that have not met, each with the next such one; None where that cannot be."""
    if not left:
        return []
    one, *others = left
    for other in others:
        if frozenset((one, other)) not in met and (rest := unmet([i for i in others if i != other], met)) is not None:
            return [(one, other), *rest]
    return None


def play(answers: Sequence[Sequence[str | None]], judge: Judge, rules: Rules, seed: int = 0) -> list[Best]:
    """The best of each question's answers. answers[q]: N texts, None where malformed. seed: of the lots. Pure, but for
    `judge`."""
    tables = [_Table(q, given, random.Random(f"tournament-{seed}-{q}")) for q, given in enumerate(answers)]
    played = 0
    while True:
        rounds = {t.question: rules.rounds or max(0, len(t.standing) - 1).bit_length() for t in tables}
        if rules.system == "single":
            playing = [t for t in tables if len(t.standing) > 1]
        else:
            playing = [t for t in tables if len(t.standing) > 1 and played < rounds[t.question]]
        if not playing:
            break
        _round(playing, judge, rules)
        played += 1
    return [Best(t.champion(rules.system, rules.ties), tuple(t.matches), t.written, t.read) for t in tables]


def _round(tables: Sequence[_Table], judge: Judge, rules: Rules) -> None:
    """One round of every tournament that is not over: one call of the judge."""
    matches = [(table, *pair) for table in tables for pair in table.pairings(rules.system)]
    asked: list[Asked] = []
    for table, one, other in matches:
        lot = table.rng.random() < 0.5
        for vote in range(rules.votes):
            asked.append(Asked(table.question, one, other, table.asked, lot ^ bool(vote % 2)))
            table.asked += 1
    said = iter(zip(asked, judge(asked), strict=True))
    for table, one, other in matches:
        counted = [0, 0]
        for _ in range(rules.votes):
            comparison, (verdict, written, read) = next(said)
            table.written, table.read = table.written + written, table.read + read
            if verdict in ("first", "second"):
                counted[(verdict == "second") ^ comparison.swapped] += 1
        loser = table.decide(one, other, (counted[0], counted[1]), rules.ties)
        if rules.system == "single":
            table.standing.remove(loser)


def critic(
    speaker: Speaker,
    engine: Engine,
    questions: Sequence[str],
    answers: Sequence[Sequence[str | None]],
    config: Config,
    temperature: float = 0.0,
) -> Judge:
    """The judge that asks a model's critic, exactly as in training: the answers shown stand where an expert's and the policy's
    stood, in the order drawn. Raises BadInput for an absolute critic."""
    if config.raro.critic == "absolute":
        raise BadInput("raro.critic is absolute: it never learnt to compare two answers", "choose by a relativistic critic")

    def judge(asked: Sequence[Asked]) -> list[Vote]:
        prompts = []
        for a in asked:
            shown = Pair(questions[a.question], answers[a.question][a.one], answers[a.question][a.other], not a.swapped, 0, -1)
            # 4,096 votes a question are more than 64 answers can need, so that no two comparisons share their noise.
            group = a.question * 4096 + a.number
            prompts.append(asking.critic(speaker, shown, config, "tournament", group))
        sampling = Sampling(temperature, config.rollout.critic_tokens, config.seed, Place.TOURNAMENT)
        written = engine.generate(prompts, 1, sampling) if prompts else []
        return [
            (judging.parse_verdict(speaker, c, config), len(c.ids), len(prompt.ids))
            for prompt, (c,) in zip(prompts, written, strict=True)
        ]

    return judge


def best_of(
    speaker: Speaker,
    questions: Sequence[str],
    answers: Sequence[Sequence[str | None]],
    config: Config,
    rules: Rules | None = None,
) -> list[Best]:
    """The library call: which of its N answers the model's own critic prefers, for each question. answers: as `Speaker.read`
    gives them, None where malformed. rules: None takes those of config.evaluation."""
    rules = rules or rules_of(config)
    judge = critic(speaker, speaker.engine(config), questions, answers, config, rules.temperature)
    return play(answers, judge, rules, config.seed)


def rules_of(config: Config) -> Rules:
    """The rules that a configuration states."""
    settings = config.evaluation
    return Rules(
        system=settings.tournament_system,
        votes=settings.tournament_votes,
        ties=settings.tournament_ties,
        temperature=settings.tournament_temperature,
    )
