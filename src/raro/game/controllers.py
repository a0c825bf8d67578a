"""What opens and ramps as the game goes on. Plain state, saved in every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CriticGate:
    """Holds the policy still until the critic tells expert from policy better than chance.

    A policy trained under a critic at chance decays. The signal needs no verifier: the smoothed share of
    `expert` among the decided verdicts. Once open it stays open. threshold 0: open from the start.
    share: smoothed, starts at one half. step_opened: None while shut.
    """

    threshold: float
    smoothing: float
    share: float = 0.5
    step_opened: int | None = None

    def observe(self, step: int, expert: int, policy: int) -> None:
        """Takes one step's counts of verdicts for the expert and for the policy."""
        if expert + policy:
            self.share = self.smoothing * self.share + (1 - self.smoothing) * expert / (expert + policy)
        if self.step_opened is None and self.share >= self.threshold:
            self.step_opened = step

    @property
    def open(self) -> bool:
        return self.threshold <= 0 or self.step_opened is not None


def ramp(step: int, start: int | None, length: int, value: float) -> float:
    """0 until `start` (None: not yet), then linear to `value` over `length` steps; length 0 gives `value` at once."""
    if start is None or step < start:
        return 0.0
    return value if length <= 0 else value * min(1.0, (step - start) / length)
