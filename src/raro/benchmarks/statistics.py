"""Means with their uncertainty: bootstrap over items, paired where two arms answered the same items; tests, corrected.

Every number here is refused where a score is not finite: a mean over a NaN would look like a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float, float]
"""(mean, low, high) of a 95 % interval."""


def mean_interval(scores: Sequence[float], resamples: int = 2000, seed: int = 0, coverage: float = 0.95) -> Interval:
    """Mean of the items' scores with its percentile-bootstrap interval. An item with several samples enters as their mean."""
    values = _finite(scores)
    if not len(values):
        return (0.0, 0.0, 0.0)
    low, high = np.quantile(_means(values, resamples, seed), [0.5 - coverage / 2, 0.5 + coverage / 2])
    return (float(values.mean()), float(low), float(high))


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], resamples: int = 2000, seed: int = 0, coverage: float = 0.95
) -> Interval:
    """Mean of ours - theirs over the same items, with its interval. Raises ValueError where the items differ in number."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} items against {len(theirs)}: not paired")
    return mean_interval(np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64), resamples, seed, coverage)


def paired_with_others(
    scores: Mapping[str, Sequence[float]], resamples: int = 2000, seed: int = 0, ours: str = "candidate"
) -> dict[str, Interval]:
    """{"candidate-ARM": interval} of the candidate's scores less every other arm's on the same items."""
    others = {arm: theirs for arm, theirs in scores.items() if arm != ours}
    return {f"{ours}-{arm}": paired_difference(scores[ours], theirs, resamples, seed) for arm, theirs in others.items()}


def paired_where_both(
    scores: Mapping[str, Mapping[int, float]], resamples: int = 2000, seed: int = 0, ours: str = "candidate"
) -> dict[str, Interval]:
    """{"candidate-ARM": interval} of the candidate's score less another arm's, on the items on which both have one. scores: by
    arm, by item."""
    mine, found = scores.get(ours, {}), {}
    for arm in (arm for arm in scores if arm != ours):
        if common := sorted(mine.keys() & scores[arm].keys()):
            found[f"{ours}-{arm}"] = mean_interval([mine[i] - scores[arm][i] for i in common], resamples, seed)
    return found


def over_seeds(scores: Sequence[Sequence[float]], resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean with an interval that covers both seeds and items. scores: one row per seed of one score per item."""
    return paired_over_seeds(scores, np.zeros(np.shape(scores)), resamples, seed)


def paired_over_seeds(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean of ours - theirs with an interval that covers both seeds and items: each resample draws seeds and, for all of them,
    items. ours, theirs: one row per seed of one score per item. Raises ValueError where their shapes differ."""
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    if np.shape(ours) != np.shape(theirs) or differences.ndim != 2:
        raise ValueError(f"{np.shape(ours)} against {np.shape(theirs)}: not paired")
    rng = np.random.default_rng(seed)
    n_seeds, n_items = differences.shape
    means = []
    for _ in range(resamples):
        rows = differences[rng.integers(n_seeds, size=n_seeds)].mean(0)
        means.append(rows[rng.integers(n_items, size=n_items)].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return (float(differences.mean()), float(low), float(high))


def chance_of_no_gain(differences: Sequence[float], margin: float = 0.0, resamples: int = 2000, seed: int = 0) -> float:
    """One-sided bootstrap p: the share of resamples whose mean difference is not above `margin`, one added to both counts, so
    that it is never 0 (Davison and Hinkley 1997, 4.4). 1 for no items."""
    values = _finite(differences)
    if not len(values):
        return 1.0
    return float((1 + (_means(values, resamples, seed) <= margin).sum()) / (1 + resamples))


@dataclass(frozen=True)
class McNemar:
    """wins, losses: items that only ours, only theirs got right. p: exact and two-sided, of a fair coin among these."""

    wins: int
    losses: int
    p: float


def mcnemar(ours: Sequence[float], theirs: Sequence[float]) -> McNemar:
    """McNemar's exact test of two arms on the same items, each right (1) or wrong (0). Raises ValueError for other scores."""
    pairs = list(zip(map(float, ours), map(float, theirs), strict=True))
    if any(score not in (0.0, 1.0) for pair in pairs for score in pair):
        raise ValueError("McNemar's test takes right and wrong (1 and 0) only")
    wins, losses = pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0))
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return McNemar(wins, losses, min(1.0, 2 * tail / 2**n))


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number (Holm 1979): below a level, all of them together hold with that level."""
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(chances, key=lambda key: chances[key])):
        highest = max(highest, min(1.0, chances[name] * (len(chances) - rank)))
        adjusted[name] = highest
    return {name: adjusted[name] for name in chances}


def pass_at(k: int, right: int, n: int) -> float:
    """Chance that at least one of k answers is right, from `right` of n (unbiased; arXiv 2107.03374). Raises ValueError where k
    is above n."""
    if k > n:
        raise ValueError(f"pass@{k} needs {k} answers, and there are {n}")
    return 1.0 if n - right < k else 1.0 - math.comb(n - right, k) / math.comb(n, k)


def bradley_terry(points: np.ndarray, resamples: int = 2000, seed: int = 0, rounds: int = 200) -> list[Interval]:
    """Strength of each of P players, (estimate, low, high), natural logarithms, that of player 0 being 0: e to the difference
    of two strengths are the odds of a win. Intervals: bootstrap over items.

    points: [N, P, P], what player a got against b on an item (1, one half, 0), NaN where they did not meet. Every two that met
    are given one drawn match more, so that who never lost has no infinite strength. Minorisation-maximisation (Hunter 2004).
    """
    n, players, _ = points.shape
    met, got = ~np.isnan(points), np.nan_to_num(points)
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=resamples)])  # how often each item is drawn
    known = met.any(0)
    wins = np.tensordot(weights, got, 1) + known / 2  # [R, P, P]
    matches = np.tensordot(weights, met.astype(np.float64), 1) + known
    strength = np.ones((len(weights), players))
    for _ in range(rounds):
        shared = matches / (strength[:, :, None] + strength[:, None, :])
        strength = wins.sum(2) / shared.sum(2)
        strength /= strength[:, :1]
    logs = np.log(strength)
    low, high = np.quantile(logs[1:], [0.025, 0.975], axis=0)
    return [(float(m), float(a), float(b)) for m, a, b in zip(logs[0], low, high, strict=True)]


def spearman(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Rank correlation, ties at their mean rank; None where one of the two does not vary."""
    a, b = _ranks(ours), _ranks(theirs)
    if a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, place, count = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return (ends - (count - 1) / 2)[place]


def _finite(scores: Sequence[float]) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite numbers")
    return values


def _means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of bootstrap resamples, some thousand numbers at a time."""
    rng, n = np.random.default_rng(seed), len(values)
    rows = max(1, 2**20 // n)
    parts = [values[rng.integers(n, size=(min(rows, resamples - i), n))].mean(1) for i in range(0, resamples, rows)]
    return np.concatenate(parts)
