"""Any domain with experts' answers and no checker: how like the expert's answer is this one?"""

from __future__ import annotations

import re
from collections import Counter

WORD = re.compile(r"\w+", re.UNICODE)


def token_f1(answer: str, expert: str) -> float:
    """F1 of the words' multisets, case ignored (SQuAD's measure, arXiv 1606.05250): 1 for the same words, 0 for none in
    common."""
    ours, theirs = (Counter(WORD.findall(text.lower())) for text in (answer, expert))
    common = sum((ours & theirs).values())
    if not ours or not theirs:
        return float(ours == theirs and answer.strip() == expert.strip())
    return 2 * common / (sum(ours.values()) + sum(theirs.values()))
