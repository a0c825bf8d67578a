"""Older policy answers, kept so that the critic does not forget what it once caught (half of each critic batch).

Answers are kept as text, not tokens. Half of the draws (a setting) are uniform over all that was ever seen (a reservoir,
Vitter's algorithm R), the others come from the most recent entries: old exploits stay known, and the critic still meets the
policy it will meet next.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replayed:
    """One older policy answer. step: when it was written. item: index of its demonstration."""

    step: int
    item: int
    answer: str


class Replay:
    """A bounded memory of policy answers: `capacity` split evenly into a reservoir and a ring of recent answers."""

    def __init__(self, capacity: int, seed: int, recent_share: float = 0.5):
        self.capacity, self.recent_share = capacity, recent_share
        self.reservoir: list[Replayed] = []
        self.recent: list[Replayed] = []
        self.seen = 0
        self._random = random.Random(f"replay-{seed}")

    def __len__(self) -> int:
        return len(self.reservoir) + len(self.recent)

    def add(self, entries: Sequence[Replayed]) -> None:
        half = max(1, self.capacity // 2)
        for entry in entries:
            self.seen += 1
            if len(self.reservoir) < half:
                self.reservoir.append(entry)
            elif (place := self._random.randrange(self.seen)) < half:
                self.reservoir[place] = entry
        self.recent = (self.recent + list(entries))[-half:]

    def draw(self, n: int) -> list[Replayed]:
        """n entries with replacement, `recent_share` of them from the ring; none while nothing was added."""
        if not self.seen:
            return []
        old = n - round(n * self.recent_share)
        return self._random.choices(self.reservoir, k=old) + self._random.choices(self.recent, k=n - old)

    def state(self) -> dict:
        """Everything as plain JSON, to be restored exactly."""
        version, internal, gauss = self._random.getstate()
        pack = lambda entries: [[e.step, e.item, e.answer] for e in entries]  # noqa: E731
        return {
            "seen": self.seen,
            "reservoir": pack(self.reservoir),
            "recent": pack(self.recent),
            "random": [version, list(internal), gauss],
        }

    def restore(self, state: dict) -> None:
        self.seen = state["seen"]
        self.reservoir = [Replayed(*entry) for entry in state["reservoir"]]
        self.recent = [Replayed(*entry) for entry in state["recent"]]
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))
