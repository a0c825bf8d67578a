"""What a frozen critic says of every arm's answers beside the experts', and how far it can be believed: the same critic is
tried on experts' answers made worse (benchmarks/corruption.py), as a judge is on known-good pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import Config
from ..game.rewards import win
from ..game.verdicts import consistent
from ..records import Demonstration, Outcome
from ..roles.judging import verdicts
from ..rollout.models import Speaker
from .likelihood import worse_answers
from .statistics import mean_interval, paired_where_both

LEAST = 12
"""Fewer readable verdicts on made-up faults show nothing of a critic."""
MOST_UNREAD = 0.25
"""Share of an arm's answers without a readable verdict above which its win rate is left out (O)."""


def ruled(
    speaker: Speaker, items: Sequence[Demonstration], answers: Mapping[str, Sequence[str]], config: Config
) -> dict[str, Any]:
    """{"health": {"n", "told", "by_kind"}, "status", "n", "wins", "paired"} or, where the critic tells made-up faults no better
    than chance, "why" in place of the last three. health's told: interval of the share in which it names the expert's, ties
    half. answers: by arm, one per item, '' where malformed, which loses unseen."""
    resamples, seed = config.evaluation.bootstrap, config.seed
    engine = speaker.engine(config)

    def said(texts: Sequence[str | None]) -> list[Outcome]:
        found = iter(verdicts(speaker, engine, items, texts, config))
        return ["malformed" if text is None else consistent(next(found), next(found)) for text in texts]

    worse = worse_answers(items, seed)
    told = [
        (made[0], outcome)
        for made, outcome in zip(worse, said([made and made[1] for made in worse]), strict=True)
        if made and outcome != "malformed"
    ]
    total, named = Counter(kind for kind, _ in told), Counter(kind for kind, outcome in told if outcome == "expert")
    score = [1 - win(outcome) for _, outcome in told]
    health = {"n": len(told), "by_kind": {kind: [named[kind], total[kind]] for kind in sorted(total)}}
    health["told"] = mean_interval(score, resamples, seed) if score else None
    if len(told) < LEAST or health["told"][1] <= 0.5:
        why = "none of its verdicts on made-up faults could be read"
        if score:
            share = f"{100 * health['told'][0]:.0f} %"
            why = f"it recognised {share} of {len(told)} made-up faults: no better than chance, or too few to know"
        return {"health": health, "status": "refused", "why": why}
    worths: dict[str, dict[int, float]] = {}
    for arm, written in answers.items():
        outcomes = said([text or None for text in written])
        readable = {
            i: win(outcome) if text else 0.0
            for i, (text, outcome) in enumerate(zip(written, outcomes, strict=True))
            if outcome != "malformed" or not text
        }
        if len(readable) >= (1 - MOST_UNREAD) * len(written):
            worths[arm] = readable
    return {
        "health": health,
        "status": "used",
        "n": {arm: len(found) for arm, found in worths.items()},
        "wins": {arm: mean_interval(list(found.values()), resamples, seed) for arm, found in worths.items()},
        "paired": paired_where_both(worths, resamples, seed),
    }
