"""Means with their uncertainty: bootstrap over items, paired where two arms answered the same items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float, float]
"""(mean, low, high) of a 95 % interval."""


def mean_interval(scores: Sequence[float], resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of the items' scores with its percentile-bootstrap interval. An item with several samples enters as their mean."""
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        return (0.0, 0.0, 0.0)
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [0.025, 0.975])
    return (float(values.mean()), float(low), float(high))


def paired_difference(ours: Sequence[float], theirs: Sequence[float], resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of ours - theirs over the same items, with its interval. Raises ValueError where the items differ in number."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} items against {len(theirs)}: not paired")
    return mean_interval(np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64), resamples, seed)


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
