"""Long and noisy series made drawable."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]
MOST_POINTS = 300


def smoothed(points: Points, share: float = 0.08) -> list[tuple[float, float]]:
    """Centred moving mean over `share` of the steps, at least over a point and its neighbours; fewer than 13 points are left as
    they are. The window is measured in steps: where points lie far apart nothing is moved towards what lies far off."""
    if len(points) <= 12:
        return list(points)
    steps = [step for step, _ in points]
    half = share * (steps[-1] - steps[0]) / 2
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    spans = [(bisect_left(steps, step - half), bisect_right(steps, step + half)) for step in steps]
    spans = [(max(0, min(a, i - 1)), min(len(steps), max(b, i + 2))) for i, (a, b) in enumerate(spans)]
    return [(step, (sums[b] - sums[a]) / (b - a)) for step, (a, b) in zip(steps, spans, strict=True)]


def thinned(points: Points, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most `most` points: means over equal bins, so that a long run makes no larger page. Ends are kept."""
    if len(points) <= most:
        return list(points)
    edges = [round(i * len(points) / most) for i in range(most + 1)]
    bins = [points[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    means = [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in bins]
    return [(points[0][0], means[0][1]), *means[1:-1], (points[-1][0], means[-1][1])]
