"""What opens and ramps as the game goes on. Plain state, saved in every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CriticGate:
    """Holds the policy still while the critic does not tell expert from policy better than chance.

    A policy trained under a critic at chance decays, and one that has found what its critic cannot judge wins without getting
    better. The signal needs no verifier: the smoothed share of `expert` among the decided verdicts. The gate opens at
    `threshold` (0: open from the start) and shuts again below `shut` (0: never). A policy near its experts brings the share
    near one half too, so `shut` must be below what is hoped for: with a share c of answers as good as an expert's, an ideal
    critic reaches 1 - c / 2.
    share: smoothed, starts at one half. step_opened: when it opened first, None until then.
    """

    threshold: float
    smoothing: float
    shut: float = 0.0
    share: float = 0.5
    step_opened: int | None = None
    open: bool = False

    def __post_init__(self) -> None:
        self.open = self.open or self.threshold <= 0

    def observe(self, step: int, expert: int, policy: int) -> None:
        """Takes one step's counts of verdicts for the expert and for the policy."""
        if expert + policy:
            self.share = self.smoothing * self.share + (1 - self.smoothing) * expert / (expert + policy)
        if self.open:
            self.open = self.threshold <= 0 or self.share >= self.shut
        elif self.share >= self.threshold:
            self.open = True
            self.step_opened = step if self.step_opened is None else self.step_opened


def damping(share: float, ceiling: float) -> float:
    """What the critic's lambda is multiplied by: 1 while its smoothed share of wins is at most `ceiling`, from there linearly
    down to 0 where it wins always. A critic that always wins pays all answers the same, and the policy learns nothing."""
    return 1.0 if share <= ceiling else (1 - share) / (1 - ceiling)


def ramp(step: int, start: int | None, length: int, value: float, before: float = 0.0) -> float:
    """`before` until `start` (None: not yet), then linear to `value` over `length` steps; length 0 gives `value` at once."""
    if start is None or step < start:
        return before
    return value if length <= 0 else before + (value - before) * min(1.0, (step - start) / length)
