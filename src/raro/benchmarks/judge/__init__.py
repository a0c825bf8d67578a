"""A judge for what no checker can read: whose answer is better, the model's or the expert's (docs/evaluation.md).

address -> wording -> endpoint or local -> asking (cache, budget) -> agreement -> judging. A judge is believed only as far as it
tells known-good pairs apart, and whatever goes wrong with it ends in one line, never in a number.
"""

from __future__ import annotations

from .address import check
from .asking import Juror, opened
from .criteria import check_rubrics, ticked
from .judging import judged
from .source import Unusable
from .wording import described

__all__ = ["Juror", "Unusable", "check", "check_rubrics", "described", "judged", "opened", "ticked"]
