"""Cases with rubrics in HealthBench's format: read, scored, and ticked by a judge over the wire."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from chat_server import Handler, chat_server

from raro.benchmarks import rubrics
from raro.benchmarks.judge import ticked, wording
from raro.config import load
from raro.errors import BadInput

FILE = Path(__file__).parent / "fixtures" / "healthbench.jsonl"


def test_cases_as_healthbench_writes_them():
    first, second = rubrics.read(FILE, 10)
    assert first.question.startswith("My father's face") and [one.points for one in first.criteria] == [10, 4, -8]
    assert first.criteria[0].tags == ("level:example", "axis:completeness")
    assert second.question == "User: I sleep badly.\n\nAssistant: Since when?\n\nUser: For three weeks, since I changed shifts."
    assert len(rubrics.read(FILE, 1)) == 1


@pytest.mark.parametrize(
    ("met", "score"),
    [
        ((True, True, False), 1.0), ((True, False, False), 10 / 14), ((False, False, False), 0.0),
        ((True, True, True), 6 / 14), ((False, False, True), 0.0), ((True, False, True), 2 / 14),
    ],
)  # fmt: skip
def test_the_score_is_points_by_what_can_be_had_within_0_and_1(met, score):
    assert rubrics.score(rubrics.read(FILE, 1)[0], met) == pytest.approx(score)


GOOD = {"prompt": [{"role": "user", "content": "?"}], "rubrics": [{"criterion": "c", "points": 1}]}


@pytest.mark.parametrize(
    "row",
    [
        "{", "[]", "3", json.dumps(GOOD | {"prompt": []}),
        json.dumps(GOOD | {"prompt": [{"role": "user", "content": None}]}),
        json.dumps(GOOD | {"prompt": [{"role": "assistant", "content": "?"}]}),
        json.dumps(GOOD | {"rubrics": []}),
        json.dumps(GOOD | {"rubrics": [{"criterion": "c", "points": -1}]}),
        json.dumps(GOOD | {"rubrics": [{"criterion": "c"}]}),
        json.dumps(GOOD | {"rubrics": [{"criterion": " ", "points": 1}]}), json.dumps({"prompt": GOOD["prompt"]}),
        '{"prompt": [{"role": "user", "content": "?"}], "rubrics": [{"criterion": "c", "points": NaN}]}',
    ],
)  # fmt: skip
def test_what_is_no_case_is_named(tmp_path, row):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(GOOD)}\n{row}\n")
    with pytest.raises(BadInput, match="line 2 of .* is no case with a rubric"):
        rubrics.read(tmp_path / "a.jsonl", 10)


def test_settings_that_nobody_can_judge_are_refused_before_the_run(tmp_path):
    with pytest.raises(BadInput, match="evaluation.rubrics needs a judge"):
        rubrics.check(load("countdown-mini", [f"evaluation.rubrics={FILE}"]))
    rubrics.check(load("countdown-mini"))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(BadInput, match="holds no case"):
        rubrics.read(tmp_path / "empty.jsonl", 1)
    with pytest.raises(BadInput, match="cannot be read"):
        rubrics.read(tmp_path, 1)


@pytest.mark.parametrize(
    ("reply", "said"),
    [("Well.\nMET: yes", "yes"), ("**MET: No.**", "no"), ("MET: yes\nor not", None), ("MET: maybe", None), ("", None)],
)
def test_only_the_last_line_counts(reply, said):
    assert wording.read("criterion", reply) == said


def by_words(handler: Handler, body: dict) -> None:
    """Meets a criterion whose first word stands in the answer."""
    told = dict(re.findall(r"\[\w{12} (answer|criterion)\]\n(.*?)\n\[", body["messages"][1]["content"], re.DOTALL))
    handler.say(f"I look.\nMET: {'yes' if told['criterion'].split()[0] in told['answer'] else 'no'}")


def test_a_judge_ticks_every_criterion_and_a_second_time_costs_nothing(tmp_path):
    cases = rubrics.read(FILE, 10)
    answers = {"base": ["", "Prescribes"], "candidate": ["Tells", "Connects"], "warmstart": ["Asks", "x" * 30_000]}
    with chat_server(by_words) as server:
        more = ["judge.kind=endpoint", "judge.model=m", f"judge.endpoint={server.address}", f"judge.cache={tmp_path}"]
        config = load("countdown-mini", [*more, "evaluation.bootstrap=100", "judge.retries=1"])
        found = ticked(cases, answers, config)
        assert found["status"] == "used" and found["n"] == 2 and set(found["unread"].values()) == {0}
        means = {arm: interval[0] for arm, interval in found["scores"].items()}
        assert means == pytest.approx({"base": 0.0, "candidate": (2 / 14 + 1) / 2, "warmstart": (4 / 14) / 2})
        assert found["paired"]["candidate-base"][0] == pytest.approx(means["candidate"])
        asked = len(server.seen)
        assert ticked(cases, answers, config) == found and len(server.seen) == asked
        server.behave = lambda handler, body: handler.say("hm")
        told = ticked(cases, answers | {"candidate": ["else", "more"]}, config)
    assert told["status"] == "refused" and "without a readable word" in told["why"]
