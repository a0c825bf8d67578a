"""Every arm's answers before the judge: against the expert's in both orders, and by the rubric. Its figures are results only
where it told known-good pairs apart; otherwise only the reason is told."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...config import Config
from ...game.rewards import EVEN, win
from ...records import Demonstration
from ..statistics import mean_interval, paired_where_both
from . import known, wording
from .asking import Juror, Progress, engaged, ticking
from .source import Unusable, refused

Scores = dict[str, dict[int, float]]
"""By arm, by the item's place."""


def judged(
    items: Sequence[Demonstration],
    answers: Mapping[str, Sequence[str]],
    config: Config,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, Any], Scores]:
    """(what evaluation.json says of it, each judged item's score: 1 better than the expert's, 0.5 tie, 0 worse or unreadable).

    answers: by arm, one per item, '' where it was malformed. A judge that must not be asked is refused here, too: preflight has
    said so before the training, and what was trained is not to be lost for it. Raises ServiceFailed with judge.on_outage: stop.
    """
    try:
        juror = engaged(config)
    except Unusable as error:
        return refused(error, config.judge) | {"judge": {"kind": config.judge.kind, "model": config.judge.model}}, {}
    report: dict[str, Any] = {
        "status": "used",
        "judge": {"kind": config.judge.kind, **juror.source.identity},
        "prompt": wording.described(config.judge),
    }
    scores: Scores = {}
    tick = ticking(progress)
    try:
        short = [item for item in items if len(item.answer) <= config.judge.max_chars]
        pairs = known.known_pairs(short, config.judge.known, config.seed)
        report["agreement"] = known.agreement(juror, pairs, config, tick("the judge on known-good pairs"))
        known.believe(report["agreement"], config)
        report["agreement"] |= known.further(juror, pairs, config)
        figures, scores = _compared(juror, items, answers, config, tick)
        report |= figures
        if config.judge.score:
            report["rubric"] = _rubric(juror, items, answers, config, report["agreement"]["score"], tick)
    except Unusable as error:
        scores = {}
        report = {key: report[key] for key in ("judge", "prompt", "agreement") if key in report} | refused(error, config.judge)
    return report | {"spent": juror.spent.shown}, scores


def _drawn(items: Sequence[Demonstration], config: Config) -> list[int]:
    """Places of the items that are judged: those whose expert's answer is not too long, by seed."""
    fitting = [i for i, item in enumerate(items) if len(item.answer) <= config.judge.max_chars]
    chosen = random.Random(f"judge-{config.seed}").sample(fitting, min(config.judge.items, len(fitting)))
    return sorted(chosen)


def _compared(
    juror: Juror,
    items: Sequence[Demonstration],
    answers: Mapping[str, Sequence[str]],
    config: Config,
    tick: Callable[[str], Progress],
) -> tuple[dict[str, Any], Scores]:
    """Win rates, counts, position bias, paired differences. Raises Unusable where too little was read."""
    places = _drawn(items, config)
    scores: Scores = {}
    counts, firsts, contradicted, both = {}, [], 0, 0
    for arm, written in answers.items():
        counts[arm], scores[arm] = Counter(), {}
        asked = []
        for i in places:
            plain = _unasked(written[i], items[i].answer, config)
            if plain is None:
                asked.append(i)
            else:
                counts[arm][plain] += 1
                scores[arm][i] = EVEN if plain == "same" else 0.0
        said = known.ask_both(
            juror, [(items[i].question, items[i].answer, written[i]) for i in asked], tick(f"the judge on {arm}")
        )
        for i, one in zip(asked, said, strict=True):
            outcome = known.verdict(one)
            counts[arm][outcome or "unread"] += 1
            if outcome is not None:
                scores[arm][i] = win(outcome)
                both += 1
                contradicted += one[0] == one[1] != "tie"
            firsts += [float(word == "first") for word in one if word in ("first", "second")]
        unread, total = counts[arm]["unread"], len(places)
        if unread > config.judge.max_unread * total or not scores[arm]:
            line = f"the judge gave no readable verdict on {unread} of {total} pairs of {arm}"
            raise Unusable(line, "raise judge.reply_tokens, or look at the endpoint")
    resamples, seed = config.evaluation.bootstrap, config.seed
    figures: dict[str, Any] = {
        "n": len(places),
        "wins": {arm: mean_interval(list(found.values()), resamples, seed) for arm, found in scores.items()},
        "counts": {arm: dict(found) for arm, found in counts.items()},
        "paired": paired_where_both(scores, resamples, seed),
        "position": {
            "first": mean_interval(firsts, resamples, seed) if firsts else None,
            "contradicted": contradicted / max(1, both),
        },
    }
    return figures, scores


def _unasked(answer: str, expert: str, config: Config) -> str | None:
    """What need not be asked: an answer that could not be read, one that is too long, or the very one of the expert."""
    if not answer:
        return "malformed"
    if len(answer) > config.judge.max_chars:
        return "too_long"
    return "same" if answer == expert else None


def _rubric(
    juror: Juror,
    items: Sequence[Demonstration],
    answers: Mapping[str, Sequence[str]],
    config: Config,
    agreement: Sequence[float] | None,
    tick: Callable[[str], Progress],
) -> dict[str, Any]:
    """Mean scores from 1 to 10 by arm, the experts' among them; a malformed or too long answer has 1. Only the reason where the
    scores did not tell known-good pairs apart."""
    if agreement is None or agreement[0] < config.judge.min_agreement or agreement[1] <= 0.5:
        share = "too few of" if agreement is None else f"{100 * agreement[0]:.0f} % of"
        return {"status": "refused", "why": f"the judge's scores told apart {share} the known-good pairs"}
    places = _drawn(items, config)
    found: dict[str, Any] = {"status": "used", "scores": {}, "unread": {}}
    for arm, written in {"expert": [item.answer for item in items], **answers}.items():
        plain = [1.0 for i in places if _unasked(written[i], "", config)]
        asked = [
            wording.score(items[i].question, written[i], juror.settings) for i in places if not _unasked(written[i], "", config)
        ]
        said = juror.ask(asked, tick(f"the judge's scores of {arm}"))
        read = [float(one) for one in said if one is not None]
        if len(read) < len(said) * (1 - config.judge.max_unread):
            return {"status": "refused", "why": f"{len(said) - len(read)} of {len(said)} scores of {arm} could not be read"}
        found["scores"][arm] = mean_interval([*plain, *read], config.evaluation.bootstrap, config.seed)
        found["unread"][arm] = len(said) - len(read)
    return found
