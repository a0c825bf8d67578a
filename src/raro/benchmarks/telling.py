"""Can the model's answers be told from the experts' without understanding them: by their words and signs, or by length alone?

A classifier that is right shows a habit of the policy's (or a shortcut that the critic may take), one at chance that no such
habit is left. AUC: the chance that an expert's answer is ranked above a model's; .5: they cannot be told apart.
The classifier is regularised least squares on both classes (Rifkin, Yeo and Poggio 2003): solved exactly, with nothing to
tune that a seed could change. An item's two answers always lie in one fold.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from .statistics import Interval

SIGN = re.compile(r"\w+|[^\w\s]")
"""A full stop too: where one writes it and the other does not, it tells."""
FOLDS = 5
BUCKETS = 2**12
"""Of hashed n-grams; with some hundred answers few collide."""
RIDGE = 1e-2
"""Weight of the penalty for rows of length 1 (O)."""
LEAST = 4 * FOLDS
"""Fewer items tell nothing."""


def by_ngrams(texts: Sequence[str]) -> np.ndarray:
    """[N, BUCKETS]: words and signs, and pairs of neighbours, counted under a logarithm, rows of length 1."""
    rows = np.zeros((len(texts), BUCKETS))
    for row, text in zip(rows, texts, strict=True):
        words = SIGN.findall(text.lower())
        for gram in [*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))]:
            row[zlib.crc32(gram.encode()) % BUCKETS] += 1
    rows = np.log1p(rows)
    return rows / np.maximum(1e-9, np.linalg.norm(rows, axis=1, keepdims=True))


def by_length(texts: Sequence[str]) -> np.ndarray:
    """[N, 3]: the logarithm of the number of characters, its square, and 1: too long and too short both tell."""
    length = np.log1p([len(text) for text in texts])
    length = (length - length.mean()) / max(1e-9, float(length.std()))
    return np.stack([length, length**2, np.ones(len(texts))], axis=1)


FEATURES: dict[str, Callable[[Sequence[str]], np.ndarray]] = {"ngrams": by_ngrams, "length": by_length}


def told_apart(experts: Sequence[str], answers: Sequence[str], features: str, resamples: int, seed: int) -> Interval | None:
    """AUC over held-out folds with its interval, items resampled; None where there are too few. experts, answers: one of each
    per item, '' for an answer that could not be read, whose item is left out."""
    pairs = [(expert, answer) for expert, answer in zip(experts, answers, strict=True) if answer]
    if len(pairs) < LEAST:
        return None
    random.Random(f"telling-{seed}").shuffle(pairs)
    n = len(pairs)
    rows = FEATURES[features]([expert for expert, _ in pairs] + [answer for _, answer in pairs])
    side = np.repeat([1.0, -1.0], n)
    fold = np.tile(np.arange(n) % FOLDS, 2)
    said = np.zeros(2 * n)
    for one in range(FOLDS):
        said[fold == one] = _fitted(rows[fold != one], side[fold != one], rows[fold == one])
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(n, size=n) for _ in range(resamples)]
    values = [_auc(said[:n][chosen], said[n:][chosen]) for chosen in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    return (_auc(said[:n], said[n:]), float(low), float(high))


def _fitted(rows: np.ndarray, side: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """What the least-squares classifier of `rows` says of `asked`, solved in whichever space is smaller."""
    m, d = rows.shape
    if d <= m:
        return asked @ np.linalg.solve(rows.T @ rows + RIDGE * m * np.eye(d), rows.T @ side)
    return asked @ (rows.T @ np.linalg.solve(rows @ rows.T + RIDGE * m * np.eye(m), side))


def _auc(experts: np.ndarray, answers: np.ndarray) -> float:
    """Share of pairs of an expert's and a model's answer in which the expert's is ranked higher, ties half."""
    ordered = np.sort(answers)
    below = np.searchsorted(ordered, experts, "left") + np.searchsorted(ordered, experts, "right")
    return float(below.mean() / (2 * len(answers)))
