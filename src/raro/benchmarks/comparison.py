"""All arms on the same items: means with intervals, paired differences, tests corrected for their number, strata.

Whatever an arm is, it answered the same problems on the same luck, so everything is paired: the bootstrap resamples items,
McNemar counts the items on which two arms differ. The figures go to evaluation.json; registry/gates.py decides by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import BadInput
from .measure import Measured
from .statistics import chance_of_no_gain, holm, mcnemar, mean_interval, paired_difference, pass_at

Results = Mapping[str, Mapping[str, Measured]]
"""By arm, by way (greedy, sampled)."""
SMALLEST_STRATUM = 30
"""Fewer problems are shown without being tested: their intervals would be wider than any loss worth knowing."""
RIVALS = ("base", "warmstart", "champion")
"""The arms that a candidate must beat; others are shown."""


def compared(results: Results, checked: bool, margin: float, resamples: int, seed: int) -> dict[str, Any]:
    """What evaluation.json holds of the arms: greedy, sampled, paired, tests, pass_at.

    checked: whether scores say right or wrong. margin: the gain that the tests ask for (gate.min_gain). Raises BadInput where
    there is no item, or a score is no finite number.
    """
    n = len(results["candidate"]["sampled"].scores)
    if not n:
        raise BadInput(
            "the test split holds no problem: nothing can be measured", "raise demonstrations.test_share, or add data"
        )
    for arm, found in results.items():
        for way, measured in found.items():
            if not np.isfinite(np.asarray(measured.scores, dtype=np.float64)).all():
                line = f"a score of {arm}, {way}, is not a finite number: nothing follows from it"
                raise BadInput(line, "see evaluation.benchmark")
    ways = list(results["candidate"])
    others = [arm for arm in results if arm != "candidate"]
    ours = results["candidate"]
    report: dict[str, Any] = {
        way: {arm: mean_interval(found[way].scores, resamples, seed) for arm, found in results.items()} for way in ways
    }
    report["paired"] = {
        f"candidate-{arm}": {
            way: paired_difference(ours[way].scores, results[arm][way].scores, resamples, seed) for way in ways
        }
        for arm in others
    }
    report["tests"] = {way: _tests(results, way, others, checked, margin, resamples, seed) for way in ways}
    report["pass_at"] = {arm: _pass_curve(found["sampled"]) for arm, found in results.items()} if checked else {}
    return report


def _tests(
    results: Results, way: str, others: Sequence[str], checked: bool, margin: float, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """{arm: {"p", "p_holm", "effect", "mcnemar"}}. p_holm: corrected over the rivals that a candidate must beat. effect: the
    mean difference in deviations of the items' differences (Cohen's d for pairs). mcnemar: of the first answers, where they are
    right or wrong."""
    ours = results["candidate"][way]
    found: dict[str, dict[str, Any]] = {}
    for arm in others:
        theirs = results[arm][way]
        differences = np.asarray(ours.scores) - np.asarray(theirs.scores)
        deviation = float(differences.std())
        row: dict[str, Any] = {
            "p": chance_of_no_gain(differences, margin, resamples, seed),
            "effect": float(differences.mean()) / deviation if deviation else 0.0,
        }
        if checked:
            test = mcnemar(ours.first, theirs.first)
            row["mcnemar"] = {"wins": test.wins, "losses": test.losses, "p": test.p}
        found[arm] = row
    corrected = holm({arm: found[arm]["p"] for arm in RIVALS if arm in found})
    return {arm: row | ({"p_holm": corrected[arm]} if arm in corrected else {}) for arm, row in found.items()}


def _pass_curve(measured: Measured) -> list[tuple[int, float]]:
    """(k, share of problems that one of k sampled answers solves), k up to the samples that were drawn."""
    n = len(measured.each[0])
    ks = sorted({1, *(2**i for i in range(1, 12) if 2**i <= n), n})
    right = [sum(score == 1.0 for score in scores) for scores in measured.each]
    return [(k, sum(pass_at(k, r, n) for r in right) / len(right)) for k in ks]


def by_stratum(
    results: Results, labels: Mapping[str, Sequence[str]], resamples: int, seed: int, way: str = "sampled"
) -> dict[str, dict[str, dict[str, Any]]]:
    """{stratum: {label: {"n", "scores": {arm: mean}, "against": {arm: paired interval}}}}: where the candidate wins and loses.

    labels: for each stratum (difficulty, length, ...) one label per item. `against` is left out below SMALLEST_STRATUM items.
    Its intervals are as wide as their number asks (Bonferroni), so that all of them together cover with 95 %.
    """
    scores = {arm: np.asarray(found[way].scores, dtype=np.float64) for arm, found in results.items()}
    rivals = [arm for arm in RIVALS if arm in scores]
    inside = {
        (name, label): np.array([one == label for one in given]) for name, given in labels.items() for label in set(given)
    }
    tested = {key for key, mask in inside.items() if mask.sum() >= SMALLEST_STRATUM}
    coverage = 1 - 0.05 / max(1, len(tested) * len(rivals))
    report: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in labels}
    for (name, label), mask in sorted(inside.items(), key=lambda entry: entry[0]):
        row: dict[str, Any] = {
            "n": int(mask.sum()),
            "scores": {arm: float(values[mask].mean()) for arm, values in scores.items()},
        }
        if (name, label) in tested:
            row["against"] = {
                arm: paired_difference(scores["candidate"][mask], scores[arm][mask], resamples, seed, coverage)
                for arm in rivals
            }
        report[name][label] = row
    return report
