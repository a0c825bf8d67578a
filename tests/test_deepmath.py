"""Answers in mathematics: right, wrong and hostile, through the real math-verify in its own process."""

import json
import signal
import time

import pytest

pytest.importorskip("math_verify")

from raro.benchmarks import deepmath, math_worker
from raro.benchmarks.deepmath import Worker, correct, final
from raro.benchmarks.scoring import scorer
from raro.benchmarks.strata import labels
from raro.config import load
from raro.demonstrations import collect, load_split, sources

RIGHT = [
    *[
        ("\\frac{1}{2}", said)
        for said in ("0.5", "1/2", "$\\frac12$", "\\dfrac{1}{2}", "\\boxed{\\frac{2}{4}}", "The answer is 1/2.")
    ],
    *[("2\\sqrt{3}", said) for said in ("\\sqrt{12}", "$2\\sqrt{3}$", "\\boxed{\\sqrt{3}\\cdot 2}", "2 \\sqrt{3}.")],
    *[("\\frac{\\pi}{4}", said) for said in ("\\pi/4", "$\\tfrac{\\pi}{4}$", "\\boxed{0.25\\pi}", "\\arctan(1)")],
    *[
        ("12", said)
        for said in (
            "12",
            "12.",
            " 12 ",
            "$12$",
            "\\boxed{12}",
            "3 \\cdot 4",
            "\\text{12}",
            "So the final answer is: 12",
            "12.0",
        )
    ],
    *[("-3", said) for said in ("-3", "$-3$", "\\boxed{-3}", "-\\frac{6}{2}", "\\left(-3\\right)")],
    *[("Yes", said) for said in ("yes", "Yes.", "\\boxed{\\text{Yes}}", "YES", "The answer is yes")],
    *[("x^2+2x+1", said) for said in ("(x+1)^2", "1+2x+x^2", "\\boxed{x^2+2x+1}")],
    *[("e^{2}", said) for said in ("e^2", "\\boxed{e^{2}}")],
    *[("1024", said) for said in ("2^{10}", "1,024", "\\boxed{1024}", "4^5")],
    *[("\\infty", said) for said in ("\\infty", "$\\infty$", "\\boxed{\\infty}")],
    *[("(1,2)", said) for said in ("(1,2)", "$(1, 2)$", "\\boxed{(1,2)}")],
]
WRONG = [
    *[
        ("\\frac{1}{2}", said)
        for said in ("0.51", "2", "\\frac{1}{3}", "-0.5", "", " ", "1/2 or 1/3", "\\boxed{}", "\\boxed{1/2", "half a loaf")
    ],
    *[
        ("12", said)
        for said in ("13", "-12", "21", "1 2", "\\boxed{12} or \\boxed{13}", "$12$ or $13$", "12?13", "12, 13", "x", "12x")
    ],
    *[
        ("12", said)
        for said in (
            "12i",
            "{12, 13}",
            "not 12",
            "any number",
            "all of them",
            "\u0661\u0662",
            "12\u0000",
            "12\x07",
            "\\boxed{11, 12}",
            "< 12",
        )
    ],
    *[
        ("0", said)
        for said in ("1/0", "0/0", "\\frac{1}{0}", "nan", "inf", "\\infty", "\\infty-\\infty", "1e-400", "None", "False")
    ],
    *[("Yes", said) for said in ("no", "No.", "yes and no", "\\boxed{\\text{No}}", "maybe", "1", "Yes or no")],
    *[("(1,2)", said) for said in ("(2,1)", "1", "(1,2,3)", "(1,3)")],
    *[("x^2", said) for said in ("x^3", "y^2", "x", "2x", "x^2+1")],
]
HOSTILE = [
    "9**9**9", "9^{9^{9}}", "9^9^9^9", "10^{1000000}", "2^{99999999}", "99999!", "((10!)!)!", "10!!!!",
    "(" * 100_000 + "12" + ")" * 100_000, "{" * 100_000, "\\sqrt{" * 29 + "12" + "}" * 29, "1" * 10_000_000,
    "\\frac{1}{" * 25 + "1" + "}" * 25, "\x00\x01\x02" * 100, "\u202e21", "__import__('os').system('touch /tmp/raro-ran')",
    "exec('1')", "lambda: 12", "open('/etc/passwd')", "\\input{/etc/passwd}", "\\sum_{n=1}^{10^{9}} n",
    "\\int_0^1 x^{x^{x^x}} dx",
    "\\prod_{n=1}^{99999999} n", "12 " * 600, "\\boxed{" * 200, "$" * 1999, "\\" * 1999, "+" * 1999, "1+" * 900 + "1",
]  # fmt: skip


@pytest.mark.parametrize(("expert", "said"), RIGHT)
def test_right(expert, said):
    assert correct(expert, said)


@pytest.mark.parametrize(("expert", "said"), WRONG)
def test_wrong(expert, said):
    assert not correct(expert, said)


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_is_wrong_in_time(said):
    started = time.monotonic()
    assert not correct("12", said)
    assert time.monotonic() - started < 30


def test_a_worker_that_is_killed_is_begun_again():
    worker = Worker(seconds=0.0)
    assert not worker.equal("12", "3*4") and worker.killed == 1
    worker.seconds = 60.0
    assert worker.equal("12", "3*4") and worker.killed == 1
    worker._process.kill()
    assert not worker.equal("12", "13")
    assert worker.equal("0.5", "1/2")
    worker.close()


def test_a_worker_whose_asker_is_gone_ends_by_itself():
    worker = Worker()
    worker._start()
    asked = {"expert": "12", "answer": "9^{9^{9}}", "seconds": 1 - math_worker.LATER}
    print(json.dumps(asked), file=worker._process.stdin, flush=True)
    assert worker._process.wait(timeout=60) == -signal.SIGALRM


def test_an_answer_is_one_formula():
    assert final("\\boxed{1} and again \\boxed{1}") == "1"
    assert final("\\boxed{1} or \\boxed{2}") is None
    assert final("9" * (deepmath.MAX_CHARS + 1)) is None


def test_results_are_told_apart_by_the_data_set_s_own_difficulty_and_topic(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    schema = arrow.schema(
        [("question", arrow.string()), ("final_answer", arrow.string()), ("difficulty", arrow.float64())]
        + [(name, arrow.string()) for name in ("topic", "r1_solution_1", "r1_solution_2", "r1_solution_3")]
    )
    levels = [
        (5.0, "Mathematics -> Algebra -> Groups"),
        (5.5, "Mathematics -> Calculus"),
        (6.0, "Mathematics -> Algebra -> Rings"),
    ]
    levels += [(9.5, "Mathematics -> Calculus -> Limits"), (4.9, "Mathematics -> Geometry"), (None, "Mathematics -> Algebra")]
    rows = [
        {"question": f"How much is the number {word}?", "final_answer": str(i), "difficulty": level, "topic": topic}
        for i, (word, (level, topic)) in enumerate(zip(("one", "two", "six", "ten", "four", "half"), levels, strict=True))
    ]
    parquet.write_table(arrow.Table.from_pylist(rows, schema), tmp_path / "train.parquet")
    changed = [f"demonstrations.source={tmp_path / 'train.parquet'}", "demonstrations.benchmarks=[]"]
    config = load("deepmath", changed)
    card = collect(config.demonstrations, sources(config.demonstrations.source), tmp_path)
    items = sorted((d for split in ("train", "dev", "test") for d in load_split(tmp_path, split)), key=lambda d: d.answer)
    assert [item.answer for item in items] == ["0", "1", "2", "3"] and card.left_out == {"filter": 2}
    found = labels(items, config)
    assert found["difficulty"] == ["5 to 6", "5 to 6", "6 to 7", "9 to 10"]
    assert found["topic"] == [f"Mathematics -> {name}" for name in ("Algebra", "Calculus", "Algebra", "Calculus")]
    score = scorer(items, config)
    assert score(items[3], "\\boxed{3}") == 1.0 and score(items[3], "\\boxed{4}") == 0.0
