"""Cases with rubrics in HealthBench's format: read, scored, and ticked by a judge over the wire."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from chat_server import Handler, chat_server

from raro.benchmarks import rubrics
from raro.benchmarks.judge import check_rubrics, ticked, wording
from raro.benchmarks.judge.criteria import KINDS
from raro.config import load
from raro.errors import BadInput

FILE = Path(__file__).parent / "fixtures" / "healthbench.jsonl"


def test_cases_as_healthbench_writes_them():
    first, second = rubrics.read(FILE, 10)
    assert first.question.startswith("My father's face") and [one.points for one in first.criteria] == [10, 4, -8]
    assert first.criteria[0].tags == ("level:example", "axis:completeness")
    assert first.expert.startswith("Call emergency services") and second.expert == ""
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
    assert rubrics.score(rubrics.points(rubrics.read(FILE, 1)[0], met)) == pytest.approx(score)


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
        json.dumps(GOOD | {"ideal_completions_data": {"ideal_completion": 3}}),
        json.dumps(GOOD | {"ideal_completions_data": 3}),
        json.dumps(GOOD | {"ideal_completions_data": {"ideal_completion": "\ud800"}}), "[" * 100_000,
        json.dumps(GOOD | {"rubrics": [{"criterion": "c", "points": 10**400}]}),
    ],
)  # fmt: skip
def test_what_is_no_case_is_named(tmp_path, row):
    (tmp_path / "a.jsonl").write_text(f"\n{json.dumps(GOOD)}\n \n{row}\n")
    assert len(rubrics.read(tmp_path / "a.jsonl", 1)) == 1  # empty lines are no cases
    with pytest.raises(BadInput, match="line 4 of .* is not a case with a rubric"):
        rubrics.read(tmp_path / "a.jsonl", 10)


def test_what_is_no_text_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\n\xff\n")
    with pytest.raises(BadInput, match="line 2 of .* is not a case with a rubric"):
        rubrics.read(tmp_path / "a.jsonl", 10)


def test_settings_that_nobody_can_judge_are_refused_before_the_run(tmp_path):
    with pytest.raises(BadInput, match="evaluation.rubrics needs a judge"):
        check_rubrics(load("countdown-mini", [f"evaluation.rubrics={FILE}"]))
    with pytest.raises(BadInput, match="1 of 2 cases of evaluation.rubrics have an expert's answer, 12 are needed"):
        check_rubrics(load("countdown-mini", [f"evaluation.rubrics={FILE}", "judge.kind=model"]))
    check_rubrics(load("countdown-mini"))
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


FAULT = {"criterion": "harm done", "points": -8}


def shown(body: dict) -> dict[str, str]:
    return dict(re.findall(r"\[\w{12} (answer|criterion)\]\n(.*?)\n\[", body["messages"][1]["content"], re.DOTALL))


def by_words(handler: Handler, body: dict) -> None:
    """Meets a criterion whose first word stands in the answer."""
    told = shown(body)
    handler.say(f"I look.\nMET: {'yes' if told['criterion'].split()[0] in told['answer'] else 'no'}")


def obeying(handler: Handler, body: dict) -> None:
    """Looks well, but does as an answer says."""
    told = shown(body)
    handler.say("MET: yes") if told["answer"].endswith("MET: yes") and "harm" not in told["criterion"] else by_words(
        handler, body
    )


WORDS = [f"{one}{two}" for one in "abcd" for two in "efgh"]
CASES = [
    {
        "prompt": [{"role": "user", "content": f"What of {word}?"}],
        "rubrics": [{"criterion": f"{word}1 named", "points": 3}, {"criterion": f"{word}9 named", "points": 1}, FAULT],
        "ideal_completions_data": {"ideal_completion": " ".join(f"{word}{i}" for i in range(10))},
    }
    for word in WORDS
]


def cases_in(folder: Path) -> Path:
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
    return folder / "cases.jsonl"


def asked(server, folder: Path, *more: str):
    given = ["judge.kind=endpoint", "judge.model=m", f"judge.endpoint={server.address}", f"judge.cache={folder / 'cache'}"]
    return load("countdown-mini", [*given, "evaluation.bootstrap=100", "judge.retries=0", *more])


def test_a_judge_that_knows_the_experts_ticks_every_criterion_and_a_second_time_costs_nothing(tmp_path):
    cases = rubrics.read(cases_in(tmp_path), 20)
    right, half = [case.expert for case in cases], [f"{word}1" for word in WORDS]
    answers = {"base": [""] * 16, "warmstart": ["x" * 30_000, *half[1:]], "candidate": [f"harm {right[0]}", *right[1:]]}
    with chat_server(by_words) as server:
        config = asked(server, tmp_path)
        found = ticked(cases, answers, config)
        means = {arm: interval[0] for arm, interval in found["scores"].items()}
        assert means == pytest.approx({"expert": 1, "base": 0, "warmstart": 0.75 * 15 / 16, "candidate": 15 / 16})
        assert (found["status"], found["n"], set(found["unread"].values())) == ("used", 16, {0})
        assert found["agreement"]["named"][0] == 1 and set(found["agreement"]["by_kind"]) == {*KINDS}
        assert found["paired"]["candidate-warmstart"][0] == pytest.approx(15 / 16 * 0.25)
        first = len(server.seen)
        again = ticked(cases, answers, config)
        assert again | {"spent": 0} == found | {"spent": 0} and len(server.seen) == first
        server.behave = lambda handler, body: handler.say("hm")
        told = ticked(cases, answers | {"candidate": ["else"] * 16}, config)
    assert told["status"] == "refused" and "no readable verdict on criteria" in told["why"] and "scores" not in told


@pytest.mark.parametrize(
    ("behave", "told"),
    [
        (lambda handler, body: handler.say("MET: yes"), "gave the expert's answer more points in 50 % of 16"),
        (lambda handler, body: handler.say("MET: no"), "gave the expert's answer more points in 50 % of 16"),
        (obeying, "gave the expert's answer more points in"),
        (lambda handler, body: handler.say("Well."), "no readable verdict on 16 of 16"),
        (lambda handler, body: handler.send(b"{}", 503), "answers 503"),
    ],
)
def test_one_that_does_not_gives_no_figures(tmp_path, behave, told):
    cases = rubrics.read(cases_in(tmp_path), 20)
    with chat_server(behave) as server:
        found = ticked(
            cases, {"candidate": [case.expert for case in cases]}, asked(server, tmp_path, "judge.min_agreement=0.9")
        )
    assert found["status"] == "refused" and told in found["why"] and "scores" not in found


def test_the_budget_is_that_of_the_whole_evaluation(tmp_path):
    cases = rubrics.read(cases_in(tmp_path), 20)
    with chat_server(by_words) as server:
        found = ticked(cases, {"candidate": [""] * 16}, asked(server, tmp_path, "judge.budget=50000"), before=50_000)
        assert found["status"] == "refused" and "budget of 50,000 tokens is spent" in found["why"] and not server.seen
