"""Countdown: an exact checker that nothing fools, and a complete solver."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raro.benchmarks.countdown import attempts, correct, evaluate, problems, read_question
from raro.benchmarks.statistics import mean_interval, paired_difference
from raro.solver import Problem, solve

PROBLEM = Problem((3, 5, 12), 96)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("( 3 + 5 ) * 12", True),
        ("(3+5)*12 = 96", True),
        ("12 * (5 + 3)", True),
        ("(3 + 5) * 12 = 95", False),
        ("96", False),
        ("3 + 5 * 12", False),
        ("(3 + 5) * 12 + 0", False),
        ("(3 + 5) * 12 * 1", False),
        ("(3 + 5) * (12 / 1)", False),
        ("(3 + 5) ** 12", False),
        ("__import__('os').getcwd()", False),
        ("(lambda: 96)()", False),
        ("3 + 5) * 12", False),
        ("", False),
        ("(" * 5000, False),
        ("True * 96", False),
        ("(3.0 + 5) * 12", False),
        ("-(-3 - 5) * 12", False),
    ],
)
def test_the_checker(answer, right):
    assert correct(PROBLEM, answer) is right


def test_values_are_exact():
    assert evaluate("1 / 3 + 1 / 3 + 1 / 3")[0] == 1
    assert evaluate("1 / 0") is None
    assert correct(Problem((1, 3, 3), 1), "3 / (3 * 1)")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 13), min_size=2, max_size=4))
def test_every_solution_is_right(numbers):
    numbers = tuple(sorted(numbers))
    for value, expression in solve(numbers).items():
        assert evaluate(expression)[0] == value
        if value.denominator == 1:
            assert correct(Problem(numbers, int(value)), expression)


def test_the_solver_knows_the_hard_ones():
    assert Fraction(24) in solve((3, 3, 8, 8))
    assert Fraction(24) in solve((1, 5, 5, 5))
    assert Fraction(24) not in solve((1, 1, 1, 1))


@given(st.lists(st.integers(1, 15), min_size=3, max_size=3))
def test_attempts_are_what_they_say(numbers):
    numbers = tuple(sorted(numbers))
    for attempt in attempts(numbers):
        assert all(0 <= value <= 99 for value in attempt.values)
        if attempt.value:
            assert correct(Problem(numbers, attempt.value), attempt.answer)


def test_questions_read_back():
    for found in list(problems(5).values())[:20]:
        for problem in found:
            assert read_question(problem.question) == problem
    assert read_question("What is love?") is None


def test_the_mini_splits_share_no_numbers_and_are_solved():
    from raro.models.mini_problems import demonstrations, split_problems

    splits = split_problems()
    triples = {name: {p.numbers for p in found} for name, found in splits.items()}
    names = sorted(triples)
    assert all(not triples[a] & triples[b] for a in names for b in names if a < b)
    assert len(splits["test"]) >= 2000
    rows = demonstrations(splits)
    assert all(correct(read_question(row["question"]), row["answer"]) for row in rows)
    assert len({row["question"] for row in rows}) == len(rows)


def test_intervals_cover_and_pairing_narrows():
    import numpy as np

    rng = np.random.default_rng(0)
    hard = rng.random(400)
    a, b = (rng.random(400) < hard).astype(float), (rng.random(400) < hard).astype(float)
    mean, low, high = mean_interval(a)
    assert low < mean < high and high - low == pytest.approx(2 * 1.96 * a.std() / 20, rel=0.15)
    difference = paired_difference(np.minimum(1, a + 0.1), a)
    assert difference[1] > 0 and difference[2] - difference[1] < high - low
    assert paired_difference(a, b)[1] < 0 < paired_difference(a, b)[2]
    with pytest.raises(ValueError, match="not paired"):
        paired_difference(a, b[:-1])
