"""Any domain with experts' answers and no checker: how like the expert's answer is this one?"""

from __future__ import annotations

import re
from collections import Counter

WORD = re.compile(r"\w+")
SYMBOL = re.compile(r"\w+|[^\w\s]")
"""Words and signs alike: where an answer is a formula, its signs are half of what it says."""


def token_f1(answer: str, expert: str, unit: re.Pattern = WORD) -> float:
    """F1 of the words' multisets, case ignored (SQuAD's measure, arXiv 1606.05250): 1 for the same words, 0 for none in
    common."""
    ours, theirs = (Counter(unit.findall(text.lower())) for text in (answer, expert))
    common = sum((ours & theirs).values())
    if not ours or not theirs:
        return float(ours == theirs and answer.strip() == expert.strip())
    return 2 * common / (sum(ours.values()) + sum(theirs.values()))


def rouge_l(answer: str, expert: str, unit: re.Pattern = WORD) -> float:
    """F1 of the longest common subsequence of words, case ignored (Lin 2004): like `token_f1`, but the order counts."""
    ours, theirs = (unit.findall(text.lower()) for text in (answer, expert))
    if not ours or not theirs:
        return float(ours == theirs and answer.strip() == expert.strip())
    row = [0] * (len(theirs) + 1)  # of the table of common lengths, for the words of ours so far
    for word in ours:
        before = row
        row = [0]
        for j, other in enumerate(theirs):
            row.append(before[j] + 1 if word == other else max(row[j], before[j + 1]))
    return 2 * row[-1] / (len(ours) + len(theirs))
