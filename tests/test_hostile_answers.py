"""What no model should write, through every checker: none may hang, raise, run it, or find it right."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("math_verify")

from raro.benchmarks import choices, spelling
from raro.benchmarks.choices import Choices
from raro.benchmarks.scoring import SCORERS, Scorer
from raro.records import Demonstration

DEEP, LONG = 100_000, 10_000_000
HOSTILE = {
    "10 MB of a digit": "9" * LONG,
    "10 MB of words": "word " * (LONG // 5),
    "10 MB of letters": "x" * LONG,
    "10 MB of dollars": "$" * LONG,
    "control characters": "".join(map(chr, range(32))) + "\x7f\x9f\u2028\u202e\u200b\ufeff" * 99,
    "nothing but NUL": "\x00" * 400,
    "lone surrogates": "\ud800\udfff" * 50,
    "brackets": "(" * DEEP + "1" + ")" * DEEP,
    "brackets that never close": "(" * DEEP,
    "brackets within the limit": "(" * 190 + "1" + ")" * 190,
    "braces": "\\frac{" * DEEP,
    "a tower": "9**9**9",
    "a tower in LaTeX": "$9^{9^{9}}$",
    "a factorial": "99999999!",
    "a division by zero": "1/0",
    "a division by a hidden zero": "8 / ( 3 - 3 )",
    "Arabic digits": "\u0663 + \u0665",
    "full-width digits": "\uff13 \uff0b \uff15",
    "superscripts": "3\u00b2 - 1",
    "an underscore in a number": "0_3 + 5",
    "another base": "0x3 + 0b101",
    "code": "__import__('os').abort()",
    "a format": "{0.__class__}%s%n",
    "a comment": "3 + 5 # = 8 + 1",
    "not a number": "nan",
    "infinity": "1e999",
    "signs": "-" * 399 + "8",
    "combining marks": "8" + "\u0301" * 5000,
}
EXPERT = Demonstration(question="Make 8 from 3, 5, 7.", answer="Sarcoidosis of 8 lungs", source="a#1", licence="", group="")
OFFER = Choices(("holding that a lease binds", EXPERT.answer, "holding that 8 is even"), 1)
CHECKERS: dict[str, Scorer] = SCORERS | {
    "choice": lambda item, answer: float(choices.matches(answer, OFFER)),
    "spelling": lambda item, answer: float(spelling.canonical(answer) == item.answer),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("checker", CHECKERS)
def test_no_checker_is_hurt_by_an_answer(checker, name):
    started = time.monotonic()
    score = CHECKERS[checker](EXPERT, HOSTILE[name])
    assert time.monotonic() - started < 20
    assert score == 0.0 if checker != "held_out" else 0.0 <= score < 0.5
