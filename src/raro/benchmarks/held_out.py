"""Any domain with experts' answers and no checker: how like the expert's answer is this one?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

UNIT = re.compile(r"\w+|[^\w\s.,;:!?'\"`‘’“”„«»…]")
"""Words and signs alike: `<` is half of what `potassium < 3.5` says. What only ends or quotes a sentence says nothing."""


def likeness(answer: str, expert: str) -> float:
    """0 to 1: by words and signs (`token_f1`) and by their order (`rouge_l`), half each."""
    return (token_f1(answer, expert) + rouge_l(answer, expert)) / 2


def token_f1(answer: str, expert: str) -> float:
    """F1 of the multisets of words and signs, case ignored (SQuAD's measure, arXiv 1606.05250): 1 for the same, 0 for none in
    common."""
    ours, theirs = (Counter(UNIT.findall(text.lower())) for text in (answer, expert))
    if not ours or not theirs:
        return _blank(answer, expert)
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def rouge_l(answer: str, expert: str) -> float:
    """F1 of their longest common subsequence, case ignored (Lin 2004): like `token_f1`, but the order counts."""
    ours, theirs = (UNIT.findall(text.lower()) for text in (answer, expert))
    if not ours or not theirs:
        return _blank(answer, expert)
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


def _blank(answer: str, expert: str) -> float:
    """Where one of them has neither words nor signs."""
    return float(answer.strip() == expert.strip())
