"""Countdown's parser and checker on more than a hundred answers written by hand, right, wrong and hostile; its problem sets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raro.benchmarks import countdown_sets
from raro.benchmarks.arithmetic import evaluate
from raro.benchmarks.countdown import correct
from raro.errors import BadInput
from raro.solver import Problem, find, solutions, solve, ways

EIGHTS, EASY = Problem((3, 3, 8, 8), 24), Problem((3, 5, 12), 96)
FOUR, FIVE, SIX = Problem((2, 4, 5, 20), 40), Problem((4, 10, 11, 20, 24), 31), Problem((3, 5, 7, 9, 11, 23), 951)
ONES = Problem((1, 1, 1), 3)

RIGHT = [
    *((EASY, a) for a in ("(3+5)*12", "( 3 + 5 ) * 12", "12*(3+5)", "12 * (5 + 3) = 96", "((3)+(5))*(12)", "(((3+5)*12))")),
    *((EASY, a) for a in ("(3 + 5) \u00d7 12", "(3+5)*12\n", "\t(3+5)*12 ", "(5+3)*12=96", "(3+5)*12 =  96 ", "(3\n+5)*12")),
    *(
        (EIGHTS, a)
        for a in ("8/(3-8/3)", "8 / ( 3 - ( 8 / 3 ) )", "(8)/((3)-(8)/(3))", "8/(3-8/3)=24", "8 \u00f7 (3 - 8 \u00f7 3)")
    ),
    *((FOUR, a) for a in ("2*20*(5-4)", "20*2*(5-4)", "20*2/(5-4)", "(5-4)*(20*2)", "(20*2)/(5-4)", "2*(20/(5-4))")),
    *((FOUR, a) for a in ("20*(2/(5-4))", "2/((5-4)/20)")),
    *((FIVE, a) for a in ("11*(10-20/4)-24", "( 11 * ( 10 - ( 20 / 4 ) ) ) - 24", "(10-20/4)*11-24", "11*(10-20/4)-24 = 31")),
    *(
        (SIX, a)
        for a in ("9*(7*23-5*11)-3", "( 9 * ( ( 7 * 23 ) - ( 5 * 11 ) ) ) - 3", "(23*7-11*5)*9-3 = 951", "9*(7*23-11*5)-3")
    ),
    *((ONES, a) for a in ("1+1+1", "1+(1+1)", "(1+1)+1", "1 + 1 + 1 = 3")),
    *((Problem((2, 9, 10), 1), a) for a in ("2-10+9", "9-10+2", "(2-10)+9", "2-(10-9)", "9-(10-2)", "9+(2-10)")),
    *((Problem((1, 2, 3), 1), a) for a in ("(1+2)/3", "3/(1+2)", "3/(2+1) = 1", "(3-2)*1", "(3-2)/1", "1/(3-2)", "3-2*1")),
    (Problem((2, 3, 4), 14), "2+3*4"),
    (Problem((2, 3, 4), 20), "(2+3)*4"),
    (Problem((2, 3, 10), 5), "10-3-2"),
    (Problem((2, 3, 12), 2), "12/3/2"),
    (Problem((100, 25, 4), 10000), "100*25*4"),
]

WRONG = [
    # wrong value, wrong numbers
    *((EASY, a) for a in ("96", "3+5*12", "3*5+12", "(3+5)*11", "(3+5)*12+1-1", "(3+5)*12*1", "3*5*12", "(5+5)*12-24", "8*12")),
    *(
        (EASY, a)
        for a in ("(3+5)*(12/1)", "12*8", "5*12+3*12", "(3+5)", "3", "12", "3+5+12", "35*12", "(3+5)*12=95", "(3+5)*12=96=96")
    ),
    *(
        (EASY, a)
        for a in ("96=(3+5)*12", "(3+5)*12==96", "(3+5)*12=", "=96", "=", "(3+5)*12 = 96.0", "(3+5)*12 = 9 6", "(3+5)*12=+96")
    ),
    *(
        (EASY, a)
        for a in ("(3+5)*12 = \uff19\uff16", "(3+5)*12 = the target", "(3+5)*12, 96", "(3+5)*12;", "the answer is (3+5)*12")
    ),
    # broken
    *(
        (EASY, a)
        for a in ("", " ", "(", ")", "()", "(3+5", "3+5)*12", "(3+5)*12)", "((3+5)*12", "(3+5)(12)", "(3+5)12", "3 5 12")
    ),
    *(
        (EASY, a)
        for a in ("*", "3+", "+3", "(3+5)**12", "(3+5)*/12", "(3++5)*12", "3+5*", "(3+5)*()12", "12*)3+5(", "(3+5)x12")
    ),
    *(
        (EASY, a)
        for a in ("-(-3-5)*12", "(+3+5)*12", "(3--5)*12", "~(3+5)*12", "(3+5)*12%97", "(3+5)//1*12", "(3+5)<<12", "3|5")
    ),
    # what other parsers take for whole numbers
    *(
        (EASY, a)
        for a in ("(3.0+5)*12", "(3+5)*1_2", "(3+5)*0xC", "(3+5)*0b1100", "(3+5)*0o14", "(3+5)*012", "(03+5)*12", "(3+5)*12.")
    ),
    *((EASY, a) for a in ("(3+5)*1.2e1", "(3e0+5)*12", "(3+5)*12j", "True*96", "(3+5)*12 # right", "(3+5)*12\\", "(3+5)*'12'")),
    *(
        (EASY, a)
        for a in (
            "(\u0663+5)*12",
            "(\uff13+5)*12",
            "(3+5)*\u216b",
            "(3+5)*\u00b9\u00b2",
            "(\u2462+5)*12",
            "(3+\u0665)*\u0661\u0662",
        )
    ),
    # code, powers, size, depth, control characters
    *(
        (EASY, a)
        for a in ("__import__('os').getcwd()", "(lambda:96)()", "[96][0]", "exec('1')", "(3+5)*12 if 1 else 0", "f'{96}'")
    ),
    *((EASY, a) for a in ("9**9**9", "9**9**9**9", "9^9^9", "1/0", "(3+5)/(12-12)", "0/0", "12/(5-3-2)", "3/0*0+96")),
    *(
        (EASY, a)
        for a in (
            "(" * 100_000 + "96" + ")" * 100_000,
            "(" * 150 + "96" + ")" * 150,
            "9" * 10_000_000,
            "9" * 350,
            "1+" * 5_000_000,
        )
    ),
    *(
        (EASY, a)
        for a in (
            "\x00",
            "(3+5)\x00*12",
            "\x1b[31m(3+5)*12",
            "(3+5)*12\x07",
            "(3\u200b+5)*12",
            "\u202e21*)5+3(",
            "(3+5)*\ud800",
        )
    ),
    (EIGHTS, "8/(3-8/3)+0"),
    (EIGHTS, "8*3"),
    (EIGHTS, "(8-3)*(8-3)-1"),
    (EIGHTS, "8+8+3+3"),
    (SIX, "951"),
    (SIX, "9*(7*23-5*11)-3+3-3"),
    (ONES, "1+1+1+0"),
    (ONES, "11+1-1"),
    (ONES, "1+1"),
    (ONES, "1+1+1+1-1"),
]


def shown(pair) -> str:
    return ascii(pair[1])[:40]


@pytest.mark.parametrize("pair", RIGHT, ids=shown)
def test_right_answers(pair):
    assert correct(*pair)


@pytest.mark.parametrize("pair", WRONG, ids=shown)
def test_wrong_answers(pair):
    assert not correct(*pair)


def test_there_are_many_of_both():
    assert len(RIGHT) >= 40 and len(WRONG) >= 100


TREES = st.recursive(
    st.integers(0, 30).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=8,
)


@given(TREES)
def test_the_parser_agrees_with_python(text):
    """Its twin: Python's own parser and Fractions, on arithmetic that both take."""
    import ast

    def value(node: ast.AST) -> Fraction:
        if isinstance(node, ast.Constant):
            return Fraction(node.value)
        left, right = value(node.left), value(node.right)
        kind = type(node.op)
        return (
            left + right
            if kind is ast.Add
            else left - right
            if kind is ast.Sub
            else left * right
            if kind is ast.Mult
            else left / right
        )

    for shape in (text, text.replace("(", "").replace(")", "")):  # precedence, too
        try:
            wanted = value(ast.parse(shape, mode="eval").body)
        except ZeroDivisionError:
            assert evaluate(shape) is None
            continue
        found = evaluate(shape)
        assert found is not None and found[0] == wanted


@settings(max_examples=100)
@given(st.text(max_size=60) | st.text("0123456789+-*/()=. _x\u0663", max_size=40))
def test_nothing_breaks_the_parser(text):
    found = evaluate(text)
    assert found is None or isinstance(found[0], Fraction)


# --------------------------------------------------------------------------------------------------------------- problem sets


def trees(numbers: tuple[int, ...]) -> set[tuple[str, Fraction]]:
    """Every expression, written one way for all orders of a sum's or a product's sides: the counter's slow twin."""
    if len(numbers) == 1:
        return {(str(numbers[0]), Fraction(numbers[0]))}
    found = set()
    for mask in range(1, 2 ** len(numbers) - 1):
        left = tuple(n for i, n in enumerate(numbers) if mask >> i & 1)
        right = tuple(n for i, n in enumerate(numbers) if not mask >> i & 1)
        for (e, a), (f, b) in ((x, y) for x in trees(left) for y in trees(right)):
            one, other = sorted((e, f))
            found |= {(f"({one}+{other})", a + b), (f"({one}*{other})", a * b), (f"({e}-{f})", a - b)}
            found |= {(f"({e}/{f})", a / b)} if b else set()
    return found


@pytest.mark.parametrize("numbers", [(2, 2), (3, 3, 8), (1, 2, 3), (2, 2, 2), (3, 3, 8, 8), (1, 5, 5, 5), (1, 2, 3, 4)])
def test_solutions_are_counted_as_by_writing_them_all(numbers):
    counted = Counter(value for _, value in trees(numbers))
    assert ways(numbers) == counted and set(counted) == set(solve(numbers))
    for value in counted:
        assert evaluate(find(numbers, value)) == (value, Counter(numbers))
        if value.denominator == 1:
            assert solutions(Problem(numbers, int(value))) == counted[value]
    with pytest.raises(ValueError, match="makes 997"):
        find(numbers, Fraction(997))
    assert solutions(Problem(numbers, 997)) == 0


def test_sets_of_every_size_are_solved_seeded_and_disjoint():
    sets = {split: countdown_sets.generate(split, 6, seed=3, sizes=(3, 4, 5)) for split in countdown_sets.SPLITS}
    assert sets["test"] == countdown_sets.generate("test", 6, seed=3, sizes=(3, 4, 5))
    assert sets["test"] != countdown_sets.generate("test", 6, seed=4, sizes=(3, 4, 5))
    numbers = {split: {one.problem.numbers for one in found} for split, found in sets.items()}
    assert (
        not numbers["train"] & numbers["test"]
        and not numbers["train"] & numbers["dev"]
        and not numbers["dev"] & numbers["test"]
    )
    for split, found in sets.items():
        assert len({one.problem for one in found}) == 6
        assert {len(one.problem.numbers) for one in found} == {3, 4, 5}
        for one in found:
            assert correct(one.problem, one.expression) and one.ways > 0
            assert countdown_sets.split_of(one.problem.numbers) == split == one.row["split"]


def test_six_numbers_and_twenty_four():
    (six,) = countdown_sets.generate("test", 1, sizes=(6,))
    assert len(six.problem.numbers) == 6 and correct(six.problem, six.expression)
    game = countdown_sets.generate("train", 30, sizes=(4,), target=24, largest=13)
    assert all(one.problem.target == 24 and correct(one.problem, one.expression) for one in game)
    assert {countdown_sets.band(n) for n in (0, 1, 2, 3, 10, 11)} == {"unsolvable", "hard", "medium", "easy"}


def test_a_whole_set_is_written_and_read_as_demonstrations(tmp_path):
    from raro.config import parse
    from raro.demonstrations import load_split
    from raro.steps import run_step

    parts = []
    for split in ("train", "dev", "test"):
        target = tmp_path / f"{split}.jsonl"
        assert countdown_sets.main(["--split", split, "--count", "20", "--sizes", "3", "--output", str(target)]) == 0
        parts.append(target.read_text())
    (tmp_path / "all.jsonl").write_text("".join(parts))
    where = {"source": str(tmp_path / "all.jsonl"), "group": "group", "split": "split"}
    small = {"policy_tokens": 64, "critic_tokens": 64}
    config, run = parse({"demonstrations": where, "rollout": small}), tmp_path / "run"
    for step in ("preflight", "ingest"):
        run_step(step, config, run)
    asked = {split: {d.question for d in load_split(run / "ingest", split)} for split in ("train", "dev", "test")}
    assert {split: len(found) for split, found in asked.items()} == {"train": 20, "dev": 20, "test": 20}
    assert {json.loads(line)["question"] for line in parts[2].splitlines()} == asked["test"]


@pytest.mark.parametrize(
    "change", [{"split": "exam"}, {"sizes": (2,)}, {"count": 0}, {"largest": 1}, {"count": 10_000, "largest": 3, "sizes": (3,)}]
)
def test_a_set_that_cannot_be_made_is_refused(change):
    with pytest.raises(BadInput):
        countdown_sets.generate(**{"split": "test", "count": 5} | change)


def test_the_command_refuses_in_one_line(tmp_path):
    command = [sys.executable, "-m", "raro.benchmarks.countdown_sets", "--sizes", "7", "--output", str(tmp_path / "none.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "are not among 3 to 6" in done.stderr and not list(tmp_path.iterdir())
