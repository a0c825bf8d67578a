"""Every arm's answers to cases with a rubric, criterion by criterion, before a judge that told known-good pairs apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ...config import Config
from ...errors import ServiceFailed
from ..rubrics import Case, score
from ..statistics import mean_interval, paired_where_both
from . import wording
from .asking import Unusable, opened


def ticked(
    cases: Sequence[Case],
    answers: Mapping[str, Sequence[str]],
    config: Config,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """{"status", "n", "scores": {arm: interval}, "paired": {"candidate-ARM": interval}, "unread": {arm: cases left out}}, or
    why there are no figures. answers: by arm, one per case, '' where it was malformed: like one that is too long, it scores 0.

    Raises ServiceFailed with judge.on_outage: stop.
    """
    juror, found, unread = opened(config), {}, {}
    try:
        for arm, written in answers.items():
            readable = [i for i, answer in enumerate(written) if 0 < len(answer) <= config.judge.max_chars]
            asked = [(i, one) for i in readable for one in cases[i].criteria]
            requests = [wording.criterion(cases[i].question, written[i], one.text) for i, one in asked]
            tick = partial(progress, f"the rubrics of {arm}") if progress else None
            said = juror.ask(requests, tick)
            by_case: dict[int, list[str | None]] = {}
            for (i, _), one in zip(asked, said, strict=True):
                by_case.setdefault(i, []).append(one)
            found[arm] = dict.fromkeys(set(range(len(cases))) - set(readable), 0.0)
            found[arm] |= {i: score(cases[i], [one == "yes" for one in met]) for i, met in by_case.items() if None not in met}
            unread[arm] = len(cases) - len(found[arm])
            if unread[arm] > config.judge.max_unread * len(cases):
                line = f"the judge left criteria of {unread[arm]} of {len(cases)} cases of {arm} without a readable word"
                raise Unusable(line, "raise judge.reply_tokens, or look at the endpoint")
    except Unusable as error:
        if error.passes and config.judge.on_outage == "stop":
            raise ServiceFailed(str(error), "start again when it answers; or set judge.on_outage: continue") from None
        return {"status": "refused", "why": str(error)}
    resamples, seed = config.evaluation.bootstrap, config.seed
    return {
        "status": "used",
        "n": len(cases),
        "prompt": wording.CRITERION,
        "scores": {arm: mean_interval(list(one.values()), resamples, seed) for arm, one in found.items()},
        "paired": paired_where_both(found, resamples, seed),
        "unread": unread,
    }
