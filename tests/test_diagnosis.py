"""The checker of diagnoses: names that are right, wrong, hedged."""

from __future__ import annotations

import pytest

from raro.benchmarks import diagnosis


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


@pytest.mark.parametrize("expert", ["Sarcoidosis", "Kawasaki disease"])
def test_a_second_guess_in_brackets_is_a_second_guess(expert):
    assert not diagnosis.matches("sarcoidosis (Kawasaki disease)", expert)
    assert not diagnosis.matches("(sarcoidosis) Kawasaki disease", expert)


def test_a_second_name_that_the_expert_gives_too_is_none():
    expert = "Systemic lupus erythematosus (SLE)"
    for answer in ("Systemic lupus erythematosus", "Systemic lupus erythematosus (SLE)", "SLE (systemic lupus erythematosus)"):
        assert diagnosis.matches(answer, expert)
    assert not any(diagnosis.matches(answer, expert) for answer in ("()", "", "(ab)"))
