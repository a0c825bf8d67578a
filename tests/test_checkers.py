"""Checkers of mathematics and of diagnoses: hand-made right and wrong answers, and answers that attack the checker."""

from __future__ import annotations

import time

import pytest

from raro.benchmarks import deepmath, diagnosis
from raro.benchmarks.deepmath import Worker, correct, final

RIGHT = [
    (r"\frac{1}{2}", answer)
    for answer in ("1/2", "0.5", r"\frac{1}{2}", r"\dfrac12", "$0.5$", r"The answer is $\frac{2}{4}$.", r"\boxed{\frac{1}{2}}", "Answer: 1/2")  # noqa: E501
] + [
    ("2", "2"), ("2", "2.0"), ("2", r"\boxed{2}"), ("2", r"So the answer is $2$."), ("-3", "$-3$"), ("10^6", "1000000"),
    (r"x^2+2x+1", r"(x+1)^2"), (r"\sqrt{8}", r"2\sqrt{2}"), (r"\pi", r"$\pi$"), (r"\infty", r"\infty"), ("Yes", "yes"),
    ("No", r"\text{No}"), (r"(1, 2)", r"$(1,2)$"), (r"\{1,2\}", r"$\{2,1\}$"), (r"\log 2", r"$\log(2)$"), ("0", "$0$"),
    (r"\frac{\pi}{4}", r"$\pi/4$"), ("e", "$e$"), (r"2^{10}", "1024"), (r"\left(0,1\right)", "(0,1)"),
]  # fmt: skip  # noqa: E501
WRONG = [
    ("2", answer)
    for answer in (
        "3", "-2", "", " ", "two or three", r"\boxed{2} or \boxed{3}", "$2$ or $3$", "2 3", "22", "1, 2", "None", r"\boxed{}", r"\boxed{2",  # noqa: E501
        "the answer", "2" * 3000, "(" * 100_000, "9**9**9", "9^9^9", "9^{99999}", "10000!", "1/0", r"\frac{1}{0}", "\x00\x01",
        "__import__('os')", "lambda: 2", r"\input{x}", "NaN", "inf",
    )
] + [(r"\frac{1}{2}", "1/3"), ("x", "y"), ("Yes", "No"), (r"(0,1)", "[0,1]"), (r"\pi", "3.14"), ("A", "B")]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(("expert", "answer"), RIGHT)
def test_right_answers_are_right(expert, answer):
    assert correct(expert, answer)


@pytest.mark.parametrize(("expert", "answer"), WRONG)
def test_wrong_and_hostile_answers_are_wrong(expert, answer):
    assert not correct(expert, answer)


def test_an_endless_question_is_given_up_and_the_next_one_is_answered():
    worker = Worker(seconds=1.0)
    try:
        assert worker.equal("2", "1+1")
        began = time.monotonic()
        assert not worker.equal(
            "1", r"\sum_{n=1}^{\infty} \frac{\sin(n^{n^{n}})}{n^{1.0001}} + \int_0^{10^{9}} e^{-x^{x^{x}}} dx"
        )
        assert time.monotonic() - began < 30
        assert worker.equal("2", "1+1")
    finally:
        worker.close()


def test_an_answer_that_hedges_says_nothing():
    assert final(r"It is \boxed{1}, so \boxed{1}.") == "1"
    assert final(r"It is \boxed{1} or \boxed{2}.") is None


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Sarcoidosis", True), ("sarcoidosis.", True), ("The diagnosis is sarcoidosis.", True), ("Final diagnosis: Sarcoidosis", True),  # noqa: E501
        ("tuberculosis", False), ("sarcoidosis or tuberculosis", False), ("not sarcoidosis", False), ("", False), ("x" * 500, False),  # noqa: E501
        ("sarcoidosis, tuberculosis, lymphoma", False), ("neurosarcoidosis", False),
    ],
)  # fmt: skip  # noqa: E501
def test_a_diagnosis_is_named_or_not(answer, right):
    assert diagnosis.matches(answer, "Sarcoidosis") is right


def test_a_diagnosis_goes_by_its_abbreviation_and_without_its_possessive():
    assert diagnosis.matches("SLE", "Systemic lupus erythematosus (SLE)")
    assert diagnosis.matches("Crohn disease", "Crohn's disease")
    assert deepmath.final("Crohn's disease") == "Crohn's disease"
