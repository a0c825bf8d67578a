"""The critic's tournament: a perfect judge finds the best, costs are counted, rivals spend as much."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raro.benchmarks import countdown, spelling
from raro.benchmarks.scaling import Given, compare, majority
from raro.benchmarks.scoring import saying
from raro.benchmarks.tournament import Rules, best_of, critic, play
from raro.config import load
from raro.errors import BadInput
from raro.records import Demonstration

RULES = [Rules(system=s, votes=v, ties=t) for s in ("single", "swiss") for v in (1, 2, 3) for t in ("backed", "lot")]
SWISS = Rules(system="swiss", votes=1)


def by_length(answers, noise: float = 0.0, said: list | None = None):
    """A judge that prefers the longer answer; with `noise` it is wrong that often. said: collects what it was asked."""
    rng = random.Random(0)

    def judge(asked):
        votes = []
        for a in asked:
            shown = [answers[a.question][a.one], answers[a.question][a.other]]
            shown = shown[::-1] if a.swapped else shown
            better = "tie" if len(shown[0]) == len(shown[1]) else ("first" if len(shown[0]) > len(shown[1]) else "second")
            if better != "tie" and rng.random() < noise:
                better = "second" if better == "first" else "first"
            votes.append((better, 3, 10))
            if said is not None:
                said.append(a)
        return votes

    return judge


@given(st.lists(st.one_of(st.none(), st.integers(1, 30)), min_size=1, max_size=17), st.sampled_from(RULES), st.integers(0, 5))
def test_single_elimination_finds_the_best_and_counts_what_it_cost(lengths, rules, seed):
    answers = [[None if n is None else "x" * n for n in lengths]]
    (found,) = play(answers, by_length(answers), rules, seed)
    known = {n for n in lengths if n is not None}
    assert found.written == 3 * rules.votes * len(found.matches)
    assert found.read == 10 * rules.votes * len(found.matches)
    if not known:
        assert found.chosen is None and not found.matches
        return
    assert lengths[found.chosen] is not None
    if rules.system == "single":
        assert lengths[found.chosen] == max(known)
        assert len(found.matches) == len(known) - 1  # equal texts are one entrant
    else:
        assert len(found.matches) == math.ceil(math.log2(len(known))) * (len(known) // 2)


@given(st.integers(2, 64), st.integers(0, 2**31))
def test_no_two_meet_twice_and_none_is_free_twice(entrants, seed):
    """Whatever the critic says."""
    rng = random.Random(seed)
    answers = [[f"answer {i}" for i in range(entrants)]]
    (found,) = play(answers, lambda asked: [(rng.choice(["first", "second", "tie"]), 1, 1) for _ in asked], SWISS, seed)
    rounds = math.ceil(math.log2(entrants))
    assert len({frozenset((m.one, m.other)) for m in found.matches}) == len(found.matches) == rounds * (entrants // 2)
    played = Counter(i for m in found.matches for i in (m.one, m.other))
    assert all(played[i] >= rounds - entrants % 2 for i in range(entrants))


@given(st.integers(2, 6), st.integers(0, 100))
def test_in_more_rounds_than_there_are_rivals_they_meet_again(pairs, seed):
    answers = [["x" * n for n in range(1, 2 * pairs + 1)]]
    (found,) = play(answers, by_length(answers), Rules(system="swiss", votes=1, rounds=2 * pairs), seed)
    assert len(found.matches) == 2 * pairs * pairs


def test_an_absolute_critic_plays_no_tournament():
    with pytest.raises(BadInput, match="absolute"):
        load("countdown-mini", ["raro.critic=absolute", "evaluation.tournament=8"])
    with pytest.raises(BadInput, match="absolute"):
        critic(None, None, [], [], load("countdown-mini", ["raro.critic=absolute"]))


def test_swiss_finds_the_best_of_a_power_of_two_and_outlives_one_wrong_verdict():
    answers = [["x" * n for n in range(1, 9)] for _ in range(200)]
    perfect = play(answers, by_length(answers), Rules(system="swiss", votes=1))
    assert all(found.chosen == 7 for found in perfect)
    one_good = [[*"abcdefg", "good"] for _ in range(200)]
    noisy = {
        system: sum(f.chosen == 7 for f in play(one_good, by_length(one_good, 0.3), Rules(system=system, votes=1, rounds=r)))
        for system, r in (("single", 0), ("swiss", 7))
    }
    assert noisy["swiss"] > noisy["single"] > 25  # 25: chance


def test_orders_take_turns_and_no_comparison_shares_its_noise():
    answers, said = [["a", "bb", "ccc", "dddd"]] * 50, []
    play(answers, by_length(answers, said=said), Rules(votes=2))
    assert all(x.swapped != y.swapped for x, y in zip(said[::2], said[1::2], strict=True))
    assert 0.3 < sum(x.swapped for x in said[::2]) / (len(said) / 2) < 0.7
    assert len({(a.question, a.number) for a in said}) == len(said)


def test_a_tie_goes_to_whom_more_answers_back():
    answers = [["aa", "bb", "bb", "bb", None], ["aa", "aa", "bb", "cc"]]
    assert [f.chosen for f in play(answers, by_length(answers), Rules(ties="backed"))] == [1, 0]
    lots = {play(answers, by_length(answers), Rules(ties="lot"), seed)[0].chosen for seed in range(20)}
    assert lots == {0, 1}


@pytest.mark.parametrize("wrong", [{"votes": 0}, {"rounds": -1}, {"temperature": -1.0}, {"system": "league"}, {"ties": "x"}])
def test_rules_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError):
        Rules(**wrong)


def test_majority_counts_what_is_the_same_answer():
    same = spelling.canonical
    assert same("( 1 + 2 ) * 3") == same("3 * ( 2 + 1 )") == same("(2+1)*3 = 9")
    assert same("( 1 - 2 ) - 3") != same("1 - ( 2 - 3 )")
    assert same("1 + ( 2 + 3 )") == same("( 3 + 1 ) + 2")
    assert same("import os") == "import os" and same("1 +") == "1 +" and same("x + 1") == "x + 1"
    assert majority([None, "1 + 2", "3 * 1", "2 + 1"], same) == 1
    assert majority(["b", "a", "a", "b"]) == 0
    assert majority([None, None]) is None and majority([]) is None


@pytest.mark.parametrize(
    ("benchmark", "alike", "other"),
    [
        ("deepmath", [r"$\frac{1}{2}$", r"\boxed{\frac{1}{2}}", r"\(\dfrac{1}{2}\)"], "7"),
        ("diagnosis", ["The diagnosis is Addison's disease.", "addison disease"], "Cushing disease"),
        ("held_out", ["The same words."], "the same words"),
    ],
)
def test_a_vote_counts_what_is_said_and_not_how(benchmark, alike, other):
    item = Demonstration(question="Q", answer="A", source="", licence="", group="")
    said = saying([item], load("countdown-mini", [f"evaluation.benchmark={benchmark}"]))
    assert len({said(item, answer) for answer in alike}) == 1 and said(item, other) != said(item, alike[0])


def test_rivals_pay_their_last_answer_in_full():
    own = Given(["a", "b", None], [5, 5, 5], 7)
    assert [own.within(tokens) for tokens in (1, 5, 6, 15, 16)] == [1, 1, 2, 3, None]


@pytest.fixture(scope="module")
def mini():
    from raro.rollout.models import open_model
    from raro.storage import fetch

    config = load("countdown-mini", ["evaluation.bootstrap=100"])
    return open_model(fetch(config.base.uri), config), config


PROBLEMS = [(24, (2, 3, 4)), (11, (3, 4, 4)), (8, (1, 3, 4)), (20, (2, 4, 5)), (6, (1, 2, 3)), (30, (5, 3, 3))]


def test_a_real_critic_plays_at_equal_tokens(mini):
    speaker, config = mini
    items = [
        Demonstration(question=countdown.Problem(numbers, target).question, answer="", source="", licence="", group="")
        for target, numbers in PROBLEMS
    ]
    found = compare(speaker, items, config, 4)
    spent = found["tokens"]["answers"] + found["tokens"]["critic"]
    assert found["answers"]["all"] >= found["answers"]["written"] > 4 and found["tokens"]["critic"] > 0
    assert found["scores"]["any"][0] >= found["scores"]["tournament"][0]
    again = compare(speaker, items, config, 4, fewer=[1, 2])
    assert spent == again["tokens"]["answers"] + found["tokens"]["critic"]  # the noise is keyed
    curve = again.pop("curve")
    assert again == found and curve["n"] == [1, 2, 4]
    assert all(scores[-1] == found["scores"][arm] for arm, scores in curve["scores"].items())
    assert len({curve["scores"][arm][0] for arm in ("tournament", "majority_written", "random_written", "single", "any")}) == 1
    assert set(found["paired"]) == {f"tournament-{a}_{b}" for a in ("random", "majority") for b in ("written", "all")} | {
        "tournament-single"
    }


def test_the_library_call_judges_one_question(mini):
    speaker, config = mini
    answers = ["( 2 * 3 ) * 4", "( 2 + 3 ) + 4", None, "( 2 + 3 ) * 4"]
    (found,) = best_of(speaker, ["Make 24 from 2, 3, 4."], [answers], config)
    assert found.chosen in (0, 1, 3) and len(found.matches) == 2 and found.written > 0
