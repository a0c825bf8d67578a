"""The gate over hundreds of planted draws: what it lets through that is no better, and what it stops that is."""

from __future__ import annotations

import numpy as np
import pytest

from raro.benchmarks.comparison import by_stratum, compared
from raro.benchmarks.measure import Measured
from raro.benchmarks.statistics import chance_of_no_gain, holm, mcnemar, mean_interval, pass_at
from raro.config import Gate
from raro.errors import BadInput
from raro.registry import gates
from raro.registry.gate_rules import OPTIONAL

ITEMS, DRAWS, RESAMPLES = 200, 1000, 300
FEWER = 300
"""Draws, where the decision is nearly always the same."""


def arm(right: np.ndarray) -> dict[str, Measured]:
    """An arm that answered each item once, right or wrong."""
    scores = [float(value) for value in right]
    one = Measured(scores, ["answer"] * len(scores), scores, 1.0, len(scores), [[score] for score in scores])
    return {"greedy": one, "sampled": one}


def drawn(rng: np.random.Generator, skills: dict[str, float]) -> dict[str, dict[str, Measured]]:
    """Arms on the same items, of which some are hard for all: each arm solves an item with its skill shifted by the item."""
    hard = rng.normal(0, 1.2, ITEMS)
    return {name: arm(rng.random(ITEMS) < 1 / (1 + np.exp(hard - skill))) for name, skill in skills.items()}


def decisions(seed: int, skills: dict[str, float], draws: int = DRAWS, gate: Gate | None = None) -> dict[str, float]:
    """Shares of the gate's decisions over `draws` evaluations, through the same functions as in a run."""
    gate, rng = gate or Gate(), np.random.default_rng(seed)
    found = []
    for draw in range(draws):
        report = compared(drawn(rng, skills), True, gate.min_gain, RESAMPLES, draw)
        report |= {"n": ITEMS, "well_formed": dict.fromkeys(skills, 1.0), "strata": {}}
        found.append(gates.decide(report, gate)[0])
    return {decision: found.count(decision) / draws for decision in ("promote", "hold", "reject")}


def test_false_promotions_stay_under_the_stated_level():
    """As good as the champion and far better than the rest: the one case in which everything hangs on one comparison."""
    shares = decisions(1, {"base": -2.0, "warmstart": -1.5, "champion": 0.0, "candidate": 0.0})
    print(shares)
    assert shares["promote"] < Gate().level
    assert shares["promote"] > 0  # a gate that never opens proves nothing


def test_no_better_than_any_of_them_is_promoted_less_still():
    shares = decisions(2, {"base": 0.0, "warmstart": 0.0, "champion": 0.0, "candidate": 0.0})
    print(shares)
    assert shares["promote"] < 0.02


def test_a_planted_worse_model_is_rejected():
    shares = decisions(3, {"base": -1.0, "warmstart": -1.0, "champion": 0.5, "candidate": -0.4}, FEWER)
    print(shares)
    assert shares["promote"] == 0 and shares["reject"] > 0.99


def test_a_planted_better_model_is_promoted():
    shares = decisions(4, {"base": -1.0, "warmstart": -0.8, "champion": -0.4, "candidate": 0.7}, FEWER)
    print(shares)
    assert shares["promote"] > 0.95 and shares["reject"] == 0


def test_a_gain_below_the_least_effect_is_held():
    shares = decisions(5, {"base": -2.0, "warmstart": -2.0, "candidate": 0.5}, 20, Gate(min_effect=0.9))
    assert shares == {"promote": 0, "hold": 1, "reject": 0}


def report(**more) -> dict:
    found = compared(drawn(np.random.default_rng(0), {"base": -2.0, "warmstart": -2.0, "candidate": 1.0}), True, 0.0, 200, 0)
    return found | {"n": ITEMS, "well_formed": {"candidate": 1.0}, "strata": {}} | more


def judge(low: float, high: float) -> dict:
    gap = ((low + high) / 2, low, high)
    return {"status": "used", "n": 60, "paired": {"candidate-base": gap, "candidate-warmstart": gap}}


def general(gap: float, kept: int, of: int) -> dict:
    return {"talks": True, "n": 46, "paired": {"candidate-base": (gap, gap, gap)}, "refusals": {"kept": kept, "of": of}}


@pytest.mark.parametrize(
    ("more", "gate", "decision", "rule"),
    [
        ({}, {}, "promote", ""),
        ({"n": 12}, {}, "hold", "items"),
        ({"well_formed": {"candidate": 0.2}}, {}, "reject", "readable"),
        ({"well_formed": {"candidate": float("nan")}}, {}, "reject", "readable"),
        ({}, {"level": 0.0}, "hold", "level"),
        ({}, {"min_effect": 0.99}, "hold", "effect"),
        (
            {"strata": {"topic": {"law": {"n": 60, "scores": {}, "against": {"base": (-0.3, -0.4, -0.2)}}}}},
            {},
            "hold",
            "strata",
        ),
        ({"strata": {"topic": {"law": {"n": 60, "scores": {}, "against": {"base": (-0.3, -0.7, 0.1)}}}}}, {}, "promote", ""),
        (
            {"strata": {"topic": {"law": {"n": 60, "scores": {}, "against": {"base": (float("nan"),) * 3}}}}},
            {},
            "hold",
            "strata",
        ),
        ({}, {"require_approval": True}, "hold", "approval"),
        ({"general": general(-0.05, 5, 6)}, {}, "promote", ""),
        ({"general": general(-0.2, 6, 6)}, {}, "hold", "general"),
        ({"general": general(float("nan"), 6, 6)}, {}, "hold", "general"),
        ({"general": general(-0.2, 6, 6) | {"talks": False}}, {}, "promote", ""),
        ({"general": general(0.0, 3, 6)}, {}, "hold", "refusals"),
        ({"general": general(0.0, 0, 0)}, {}, "promote", ""),
        ({"canaries": {"candidate": {"n": 8, "bits": (1.5, 1, 2), "completed": 0}}}, {}, "promote", ""),
        ({"canaries": {"candidate": {"n": 8, "bits": (3.5, 2, 5), "completed": 0}}}, {}, "hold", "canaries"),
        ({"canaries": {"candidate": {"n": 8, "bits": (float("nan"),) * 3, "completed": 0}}}, {}, "hold", "canaries"),
        ({"canaries": {"candidate": {"n": 8, "bits": (1.5, 1, 2), "completed": 1}}}, {}, "reject", "canaries"),
        ({"judge": judge(0.1, 0.3)}, {}, "promote", ""),
        ({"judge": judge(-0.3, 0.01)}, {}, "promote", ""),
        ({"judge": judge(-0.3, -0.01)}, {}, "hold", "judge"),
        ({"judge": judge(-0.3, -0.01)}, {"max_judge_loss": 0.05}, "promote", ""),
        ({"judge": judge(float("nan"), float("nan"))}, {}, "hold", "judge"),
        ({"judge": {"status": "used", "paired": {}}}, {}, "hold", "judge"),
        ({"judge": {"status": "refused", "why": "the judge's endpoint cannot be reached"}}, {}, "hold", "judge"),
        ({"rubrics": judge(-0.3, 0.01)}, {}, "promote", ""),
        ({"rubrics": judge(-0.3, -0.01)}, {}, "hold", "rubrics"),
        ({"rubrics": judge(float("nan"), float("nan"))}, {}, "hold", "rubrics"),
        ({"rubrics": judge(0.1, 0.3) | {"paired": {}}}, {}, "hold", "rubrics"),
        ({"rubrics": {"status": "refused", "why": "there is no judge"}}, {}, "hold", "rubrics"),
    ],
)
def test_each_rule_and_its_figures(more, gate, decision, rule):
    decided, reasons, evidence = gates.decide(report(**more), Gate(**gate))
    outcomes = {one["rule"]: one["outcome"] for one in evidence["rules"]}
    assert decided == decision
    assert {name for name, outcome in outcomes.items() if outcome in ("hold", "reject")} == ({rule} if rule else set())
    further = ["level", "effect", "items", "readable", "champion", "strata", *OPTIONAL, "approval"]
    assert list(outcomes) == ["gain/base", "gain/warmstart", *further]
    assert all(one["why"] and one["told"].endswith(".") for one in evidence["rules"])


@pytest.mark.parametrize(
    ("lost", "rule", "told"),
    [
        ("tests", "level", "No p-value against the base was measured."),
        ("n", "items", "The number of test problems is not known."),
        ("well_formed", "readable", "The share of readable answers was not measured."),
        ("strata", "strata", "Results by kind of problem are missing."),
        ("judge", "judge", "The settings ask for rule 'judge', but its figures are missing."),
        ("rubrics", "rubrics", "The settings ask for rule 'rubrics', but its figures are missing."),
        ("general", "general", "The settings ask for rule 'general', but its figures are missing."),
        ("canaries", "canaries", "The settings ask for rule 'canaries', but its figures are missing."),
    ],
)
def test_what_was_not_measured_holds(lost, rule, told):
    canaries = {"candidate": {"n": 8, "completed": 0, "bits": (1.0, 0.5, 1.5)}}
    found = report(judge=judge(0.1, 0.3), rubrics=judge(0.1, 0.3), general=general(0.0, 6, 6), canaries=canaries)
    assert gates.decide(found, Gate(), OPTIONAL)[0] == "promote"
    found.pop(lost)
    decided, reasons, evidence = gates.decide(found, Gate(), OPTIONAL)
    assert decided == "hold" and told == reasons[0]
    held = {"general": ["general", "refusals"]}.get(rule, [rule])
    asking = " and ".join(f"rule '{name}'" for name in held)
    assert f"promote: {asking} ask{'s' if len(held) == 1 else ''} for a person." in reasons[-1]
    assert [one["rule"] for one in evidence["rules"] if one["outcome"] == "hold"] == held


def test_what_nobody_asked_for_stops_nothing_and_says_so():
    decided, _, evidence = gates.decide(report(), Gate())
    told = {one["rule"]: one["told"] for one in evidence["rules"] if one["outcome"] == "not asked"}
    assert decided == "promote" and set(told) == {"champion", *OPTIONAL}
    assert told["judge"] == "No judge was asked." and told["champion"] == "There is no champion yet."


@pytest.mark.parametrize("share", [0.0, 0.4, float("nan"), None])
def test_a_champion_that_cannot_be_read_was_not_beaten(share):
    arms = drawn(np.random.default_rng(0), {"base": -2.0, "warmstart": -2.0, "champion": -3.0, "candidate": 1.0})
    found = compared(arms, True, 0.0, 200, 0) | {"n": ITEMS, "strata": {}}
    assert gates.decide(found | {"well_formed": {"candidate": 1.0, "champion": 1.0}}, Gate())[0] == "promote"
    shares = {"candidate": 1.0} | ({} if share is None else {"champion": share})
    decided, reasons, _ = gates.decide(found | {"well_formed": shares}, Gate())
    assert decided == "hold" and "rule 'champion' asks for a person" in reasons[-1]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_comparison_that_is_no_finite_number_promotes_nothing(place, value):
    found = report()
    found["paired"]["candidate-base"]["sampled"] = [value if i == place else 0.3 for i in range(3)]
    decided, reasons, _ = gates.decide(found, Gate())
    assert decided == "reject" and reasons[0] == "The comparison with the base is not a finite number, and shows nothing."


@pytest.mark.parametrize("part", ["sampled", "paired"])
def test_an_evaluation_without_its_arms_is_bad_input(part):
    found = report()
    del found[part]
    with pytest.raises(BadInput, match="does not compare the candidate with the base"):
        gates.decide(found, Gate())


def test_a_houses_own_reason_stands_in_the_evidence():
    own = Gate(reasons={"items": "Our board asks for two hundred cases."}, min_items=200)
    _, _, evidence = gates.decide(report(), own)
    assert {one["rule"]: one["why"] for one in evidence["rules"]}["items"] == "Our board asks for two hundred cases."
    with pytest.raises(BadInput, match="'colour' that does not exist"):
        gates.decide(report(), Gate(reasons={"colour": "red"}))


def test_nothing_and_nonsense_are_no_result():
    with pytest.raises(BadInput, match="holds no problem"):
        compared({"base": arm(np.array([])), "candidate": arm(np.array([]))}, True, 0.0, 100, 0)
    spoilt = arm(np.array([1.0, float("nan")]))
    with pytest.raises(BadInput, match="not a finite number"):
        compared({"base": arm(np.array([1.0, 0.0])), "candidate": spoilt}, False, 0.0, 100, 0)
    with pytest.raises(ValueError, match="not finite"):
        mean_interval([0.0, float("inf")])


def test_strata_tell_where_it_lost():
    n = 120
    better = np.array([1.0] * 60 + [0.0] * 60)
    results = {"base": arm(1 - better), "candidate": arm(better), "sft": arm(better)}
    found = by_stratum(results, {"topic": ["a"] * 60 + ["b"] * 60, "rare": ["x"] * 10 + ["y"] * 110}, 200, 0)
    assert found["topic"]["a"]["against"]["base"][0] == 1 and found["topic"]["b"]["against"]["base"][0] == -1
    assert set(found["topic"]["a"]["against"]) == {"base"} and "against" not in found["rare"]["x"]
    assert sum(row["n"] for row in found["topic"].values()) == n
    decided, reasons, _ = gates.decide(
        compared(results | {"warmstart": results["base"]}, True, -1.5, 200, 0)
        | {"n": n, "well_formed": {"candidate": 1.0}, "strata": found},
        Gate(min_gain=-1),
    )
    assert decided == "hold" and "On topic b (60 problems) it is surely worse than the base: -100.0 points" in " ".join(reasons)


def test_tests_as_the_books_have_them():
    ours, theirs = [1.0] * 8 + [0.0] * 2 + [1.0] * 5, [0.0] * 8 + [1.0] * 2 + [1.0] * 5
    found = mcnemar(ours, theirs)
    assert (found.wins, found.losses) == (8, 2) and found.p == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar([1, 0], [1, 0]).p == 1
    with pytest.raises(ValueError, match="right and wrong"):
        mcnemar([0.5], [1])
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert chance_of_no_gain([1.0] * 20, resamples=99) == pytest.approx(0.01)
    assert chance_of_no_gain([]) == 1
    assert pass_at(1, 1, 4) == pytest.approx(0.25) and pass_at(2, 1, 4) == pytest.approx(0.5) and pass_at(4, 1, 4) == 1
    with pytest.raises(ValueError, match="needs 5"):
        pass_at(5, 1, 4)
