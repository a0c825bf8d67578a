"""Corrupted experts' answers: each kind does what its name says, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raro.benchmarks.corruption import KINDS, NUMBER, corrupt

ANSWER = "The dose is 5 mg twice a day. It should not be given with milk.\nStop after 14 days."
OTHERS = ["Water boils at 100 degrees. Salt raises that.", "He was born in 1879 in Ulm."]


def made(kind, answer=ANSWER, others=OTHERS, seed=0):
    found = corrupt(answer, others, random.Random(seed), [kind])
    return found and found.text


@pytest.mark.parametrize("seed", range(20))
def test_each_kind_does_what_its_name_says(seed):
    number = made("number", seed=seed)
    before, after = NUMBER.findall(ANSWER), NUMBER.findall(number)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1 and set(after) <= {*before, "100", "1879"}
    assert NUMBER.sub("#", number) == NUMBER.sub("#", ANSWER)
    assert made("negation", seed=seed) == ANSWER.replace("should not", "should")
    assert made("negation", "It is so. It was so.", seed=seed).count(" not") == 1
    sentence = made("sentence", seed=seed)
    foreign = ("Water boils at 100 degrees.", "Salt raises that.", "He was born in 1879 in Ulm.")
    assert sum(one in sentence for one in foreign) == 1 and sentence.count("\n") <= 1
    cut = made("truncated", seed=seed)
    assert ANSWER.startswith(cut) and 0.25 < len(cut.split()) / len(ANSWER.split()) < 0.75
    mixed = made("shuffled", seed=seed)
    assert sorted(mixed.split()) == sorted(ANSWER.split()) and mixed != ANSWER and mixed.count("\n") == 1
    assert made("foreign", seed=seed) in OTHERS


def test_what_gives_no_hold_is_left():
    assert made("number", "no number in A1 or v1.2.3") is None
    assert made("negation", "tree tree") is None
    assert made("sentence", "One only.") is None
    assert made("sentence", others=[ANSWER]) is None
    assert made("truncated", "two words") is None
    assert made("shuffled", "same same same") is None
    assert made("foreign", others=[ANSWER, " "]) is None
    assert corrupt("", [], random.Random(0)) is None
    with pytest.raises(KeyError):
        made("spelling")


def test_a_number_alone_is_changed_in_a_digit():
    for seed in range(50):
        text = made("number", "3.50", [], seed)
        assert float(text) != 3.5 and len(text) == 4


@given(st.text(), st.lists(st.text(), max_size=3), st.integers(0, 9), st.sampled_from(sorted(KINDS)))
def test_whatever_the_text_the_corruption_is_another_and_the_same_again(answer, others, seed, kind):
    one, two = (corrupt(answer, others, random.Random(seed), [kind]) for _ in range(2))
    assert one == two
    assert one is None or (one.kind == kind and one.text.strip() and one.text.split() != answer.split())
