"""Any domain with experts' answers and no checker: how like the expert's answer is this one?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

UNIT = re.compile(r"\w+|[^\w\s.,;:!?'\"`‘’“”„«»…]")
"""Words and signs alike: `<` is half of what `potassium < 3.5` says. What only ends or quotes a sentence says nothing."""


def units(text: str) -> list[str]:
    """The words and signs of a text, case ignored."""
    return UNIT.findall(text.lower())


def likeness(answer: str, expert: str) -> float:
    """0 to 1: by words and signs (`token_f1`) and by their order (`rouge_l`), half each."""
    ours, theirs = units(answer), units(expert)
    if not ours or not theirs:
        return float(answer.strip() == expert.strip())
    return (token_f1(ours, theirs) + rouge_l(ours, theirs)) / 2


def token_f1(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """F1 of the multisets of words and signs (SQuAD's measure, arXiv 1606.05250): 1 for the same, 0 for none in common."""
    return 2 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))


def rouge_l(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """F1 of their longest common subsequence (Lin 2004): like `token_f1`, but the order counts."""
    return 2 * common_subsequence(ours, theirs) / (len(ours) + len(theirs))


def common_subsequence(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Length of the longest one: a row of the usual table is the bits of one number (Hyyrö 2004), so that answers of thousands
    of words take milliseconds."""
    places: dict[str, int] = {}
    for j, word in enumerate(theirs):
        places[word] = places.get(word, 0) | 1 << j
    full = row = (1 << len(theirs)) - 1
    for word in ours:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & full
    return len(theirs) - row.bit_count()
