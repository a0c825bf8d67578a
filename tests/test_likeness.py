"""Likeness to the expert's answer, the score of data without a checker."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raro.benchmarks.held_out import common_subsequence, likeness, rouge_l, token_f1, units

WORDS = st.lists(st.sampled_from("abc"), max_size=90)  # more than a machine's word has bits


def test_f1_and_order():
    def by(measure, answer: str, expert: str) -> float:
        return measure(units(answer), units(expert))

    assert by(token_f1, "the Cat sat", "The cat sat.") == 1
    assert by(token_f1, "dog", "cat") == 0
    assert by(token_f1, "a b", "b c") == pytest.approx(0.5)
    assert by(token_f1, "( 4 + 3 ) + 1", "( 1 + 3 ) + 4") == 1 > by(rouge_l, "( 4 + 3 ) + 1", "( 1 + 3 ) + 4")
    assert by(rouge_l, "the cat sat", "the cat sat down") == pytest.approx(6 / 7)
    assert likeness("the cat sat", "the cat sat down") == pytest.approx(6 / 7)
    assert likeness("", "") == likeness("...", "...") == likeness("+", "+") == 1
    assert likeness("a", "") == likeness("", "a") == likeness("+", "-") == likeness("...", "!") == 0


@pytest.mark.parametrize(
    ("expert", "other"),
    [
        ("potassium < 3.5", "potassium > 3.5"),
        ("Rh +", "Rh -"),
        ("give 2 mg, not 5 mg", "give 5 mg, not 2 mg"),
        ("( 2 + 15 ) - 12", "( 2 * 15 ) + 12"),
        ("the buyer pays the seller", "the seller pays the buyer"),
    ],
)
def test_what_says_the_opposite_is_not_the_same(expert, other):
    assert likeness(other, expert) < 1 == likeness(f"{expert}.", expert)


@given(WORDS, WORDS)
def test_the_common_subsequence_is_the_table_s(ours, theirs):
    row = [0] * (len(theirs) + 1)
    for word in ours:
        before, row = row, [0]
        for j, other in enumerate(theirs):
            row.append(before[j] + 1 if word == other else max(row[j], before[j + 1]))
    assert common_subsequence(ours, theirs) == row[-1]
    assert common_subsequence(theirs, ours) == row[-1]


def test_long_answers():
    words = [str(random.Random(0).randrange(500) + i % 7) for i in range(20_000)]
    some = sorted(random.Random(1).sample(range(20_000), 5_000))
    assert common_subsequence([words[i] for i in some], words) == 5_000
