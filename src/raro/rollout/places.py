"""Where in the noise's key (engine.py) stands what is no step of training."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Place(IntEnum):
    """A key's `step` outside training, whose own steps are numbered below all of these."""

    WARMSTART = 2**31
    MATRIX = 2**31 + 1
    JUDGING = 2**31 + 2
    TOURNAMENT = 2**31 + 3
    GENERAL = 2**31 + 4
    EXPOSURE = 2**31 + 5
    JUDGE = 2**31 + 6
    SCALING = 2**31 + 64  # and above: one for each further batch
