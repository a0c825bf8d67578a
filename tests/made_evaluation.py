"""An evaluation made up for tests of what shows it: drawn scores through the real comparison, in its real layout."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from raro.benchmarks.comparison import by_stratum, compared
from raro.benchmarks.measure import Measured

SKILL = {"base": 0.147, "warmstart": 0.151, "candidate": 0.384, "champion": 0.331, "sft": 0.212}
SAMPLES, BANDS = 4, ("easy", "medium", "hard")


@cache
def drawn(n: int = 400) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(tests, pass_at, strata as evaluation.json has them; the rows of items.jsonl but for hostile text)."""
    rng = random.Random(7)
    problems = [sorted(rng.sample(range(1, 16), 3)) for _ in range(n)]
    bands = [rng.choice(BANDS) for _ in range(n)]
    lengths = [rng.choice(("short", "long")) for _ in range(n)]
    luck = [rng.random() for _ in range(n)]
    results = {arm: _arm(rng, skill, bands, luck) for arm, skill in SKILL.items()}
    report = compared(results, True, 0.0, 200, 7)
    labels = {"difficulty": bands, "length": lengths}
    strata = by_stratum(results, labels, 200, 7)
    rows = []
    for i, (a, b, c) in enumerate(problems):
        answers = f"( {a} + {b} ) * {c}", f"( {b} * {c} ) + {a}"
        wrote = {arm: answers[int(found["greedy"].scores[i])] for arm, found in results.items()}
        scores = {way: {arm: found[way].scores[i] for arm, found in results.items()} for way in ("greedy", "sampled")}
        texts = {"question": f"Make {a + b * c} from {a}, {b}, {c}.", "expert": f"{a} + ( {b} * {c} )", "answers": wrote}
        rows.append(texts | scores | {"strata": {"difficulty": bands[i], "length": lengths[i]}})
    return {"tests": report["tests"], "pass_at": report["pass_at"], "strata": strata}, rows


def _arm(rng: random.Random, skill: float, bands: list[str], luck: list[float]) -> dict[str, Measured]:
    """Harder problems are solved less often; arms share part of their luck, as models on one problem do."""
    harder = {"easy": 1.6, "medium": 1.0, "hard": 0.4}
    chances = [min(0.98, skill * harder[band] * (0.4 + 1.2 * u)) for band, u in zip(bands, luck, strict=True)]
    found = {}
    for way, samples in (("greedy", 1), ("sampled", SAMPLES)):
        each = [[float(rng.random() < p) for _ in range(samples)] for p in chances]
        means = [sum(one) / samples for one in each]
        found[way] = Measured(means, [""] * len(each), [one[0] for one in each], 1.0, 0, each, [None] * len(each))
    return found


def evidence() -> dict[str, Any]:
    """A judge that is believed, a frozen critic that is and one that is not, general items and canaries, in the real layout."""
    arms = {"base": 0.12, "warmstart": 0.14, "candidate": 0.41, "champion": 0.36}
    rivals = {f"candidate-{arm}": _around(arms["candidate"] - share, 0.05) for arm, share in arms.items() if arm != "candidate"}
    wins = {arm: _around(share, 0.05) for arm, share in arms.items()}
    judge = {
        "status": "used",
        "judge": {"kind": "endpoint", "model": "house-judge-32b", "host": "judge.models.svc"},
        "prompt": {"version": 1, "digest": "5e" * 32},
        "agreement": {
            "n": 48,
            "unread": 1,
            "named": [0.9375, 0.85, 1.0],
            "least": 0.8,
            "by_kind": {"number": [8, 8], "negation": [7, 8], "instruction": [6, 8]},
            "itself": 0.97,
            "score": [0.9, 0.8, 0.97],
        },
        "n": 200,
        "wins": wins,
        "counts": {arm: {"policy": 40, "tie": 60, "expert": 95, "malformed": 4, "unread": 1} for arm in arms},
        "paired": rivals,
        "position": {"first": [0.54, 0.5, 0.58], "contradicted": 0.08},
        "rubric": {"status": "used", "scores": {arm: [6.1, 5.9, 6.3] for arm in ("expert", *arms)}, "unread": {}},
        "spent": {"calls": 1_812, "read": 512_000, "written": 61_000, "from_cache": 0},
    }
    critic = {"health": {"n": 60, "told": [0.8, 0.7, 0.9], "by_kind": {}}, "status": "used", "wins": wins, "paired": rivals}
    blind = {"health": {"n": 60, "told": [0.5, 0.4, 0.6], "by_kind": {}}, "status": "refused", "why": "no better than chance"}
    experts = {
        "n": 200,
        "logprob": {arm: [-1.2, -1.3, -1.1] for arm in arms},
        "paired": {name: [0.1, 0.05, 0.15] for name in rivals},
        "prefers": wins,
        "told_apart": {name: {arm: [0.71, 0.66, 0.76] for arm in arms} for name in ("ngrams", "length")},
        "critics": {"warmstart": critic, "candidate": blind},
    }
    refusals = {"n": 12, "of": 10, "kept": 9, "declined": dict.fromkeys(arms, 9), "declined_wrongly": dict.fromkeys(arms, 1)}
    general = {"n": 60, "scores": wins, "paired": rivals, "mcnemar": {}, "talks": True, "refusals": refusals}
    canaries = {arm: {"n": 8, "bits": [1.6, 0.9, 2.4], "most": 4.0, "completed": 0} for arm in arms}
    told = {
        "fresh": [0.72, 0.68, 0.76],
        "own": [0.7, 0.66, 0.74],
        "untrained": [0.66, 0.62, 0.7],
        "fresh_less_own": [0.02, 0, 0.04],
    }
    fresh = {"n": 200, "trained_on": 200, "steps": 40, **told, "seconds": 40.0}
    rubrics = {
        "status": "used",
        "prompt": "",
        "agreement": {"n": 40, "unread": 0, "named": [0.9, 0.82, 0.97], "least": 0.8, "by_kind": {"foreign": [14, 14]}},
        "n": 120,
        "scores": {"expert": [0.62, 0.55, 0.69]} | wins,
        "paired": rivals,
        "unread": dict.fromkeys(arms, 0),
        "spent": {"calls": 4_112, "read": 1_912_000, "written": 99_000, "from_cache": 0},
    }
    choice = {"n": 400, "chance": 0.2, "right": wins, "paired": rivals}
    found = {"judge": judge, "rubrics": rubrics, "choice": choice, "experts": experts, "general": general}
    return found | {"exploitability": fresh, "canaries": canaries}


def _around(mean: float, half: float) -> list[float]:
    return [mean, mean - half, mean + half]
