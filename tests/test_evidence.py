"""The evaluation's further evidence in a run of the miniature: what stands in evaluation.json beside the scores."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from chat_server import chat_server, honest
from safetensors.torch import load_file, save_file
from test_rubrics import by_words, cases_in

from raro.benchmarks import critics, likelihood, telling
from raro.config import load
from raro.errors import BadInput, ServiceFailed
from raro.records import Demonstration
from raro.steps import evaluate, ingest, preflight
from raro.steps.evidence import Evidence
from raro.steps.harness import Step
from raro.steps.train import CRITIC
from raro.storage import fetch, read_json

pytestmark = pytest.mark.usefixtures("untracked")

ITEMS = 24
SMALL = [
    f"evaluation.max_items={ITEMS}",
    "evaluation.samples=1",
    "evaluation.sft_steps=0",
    "evaluation.bootstrap=100",
    "evaluation.critic_items=8",
    "evaluation.experts=0",
    "judge.items=12",
    "judge.known=14",
    "judge.timeout=60",
    "judge.retries=1",
    "resources.processes=1",
    "resources.ingest_processes=1",
]


def made(folder, *more):
    """Makes a run whose warm start and candidate are the base itself, up to the evaluation; a separate critic says nothing."""
    config = load("countdown-mini", [*SMALL, *more])
    ingest.run(config, folder)
    for name in ("warmstart", "train"):
        with Step(name, config, folder) as step:
            step.input("ingest")
            shutil.copytree(fetch(config.base.uri), step.folder / "model")
            if name == "train" and config.raro.critic_model == "separate":
                shutil.copytree(fetch(config.base.uri), step.folder / CRITIC)
                file = step.folder / CRITIC / "model.safetensors"
                save_file({key: 0 * value for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    return config


def test_a_judges_word_stands_beside_the_scores(tmp_path):
    rows = [json.loads(line) for line in fetch("package://countdown-mini.jsonl").read_text().splitlines()]
    experts = {row["question"]: row["answer"] for row in rows}
    cases_in(tmp_path)
    fair = honest(lambda question, answer: float(answer == experts.get(question)))

    def behave(handler, body):
        (by_words if "criterion]" in body["messages"][1]["content"] else fair)(handler, body)

    with chat_server(behave) as server:
        more = ["judge.kind=endpoint", "judge.model=m", f"judge.endpoint={server.address}", f"judge.cache={tmp_path / 'cache'}"]
        more.append(f"evaluation.rubrics={tmp_path / 'cases.jsonl'}")
        config = made(tmp_path / "run", *more)
        assert preflight._probed_judge(config) == "" and len(server.seen) == 1
        evaluate.run(config, tmp_path / "run")
    report = read_json(tmp_path / "run" / "evaluate" / "evaluation.json")
    items = [json.loads(line) for line in (tmp_path / "run" / "evaluate" / "items.jsonl").read_text().splitlines()]
    judge = report["judge"]
    assert judge["status"] == "used" and judge["judge"] == {"kind": "endpoint", "endpoint": server.address, "model": "m"}
    assert judge["agreement"]["named"][0] == 1.0
    assert (report["rubrics"]["status"], report["rubrics"]["n"]) == ("used", 16)
    assert set(report["rubrics"]["scores"]) == {"expert", "base", "warmstart", "candidate"}
    assert report["rubrics"]["paired"]["candidate-base"] == [0, 0, 0]
    assert judge["paired"]["candidate-base"] == [0, 0, 0]  # the same model, and asked about but once
    assert judge["wins"]["candidate"][2] <= 0.5 and sum(judge["counts"]["candidate"].values()) == 12
    assert sum(row["judge"]["candidate"] is not None for row in items) == 12


def test_a_judge_that_is_set_up_wrongly_stops_the_run_before_the_training(tmp_path):
    with chat_server(lambda handler, body: handler.send(b"{}", 401)) as server:
        more = ["judge.kind=endpoint", "judge.model=m", f"judge.endpoint={server.address}", "judge.retries=0"]
        with pytest.raises(BadInput, match="401: it rejects the key"):
            preflight.run(load("countdown-mini", more), tmp_path / "run")
        server.behave = lambda handler, body: handler.send(b"{}", 503)
        assert "answers 503" in preflight._probed_judge(load("countdown-mini", more))
        with pytest.raises(ServiceFailed, match="answers 503"):
            preflight._probed_judge(load("countdown-mini", [*more, "judge.on_outage=stop"]))
    with pytest.raises(BadInput, match="not on a private network"):
        preflight.run(load("countdown-mini", [*more, "judge.endpoint=https://8.8.8.8/v1"]), tmp_path / "other")


def test_a_critic_trained_afresh_stands_in_the_evaluation(tmp_path):
    small = ["probes.exploit_steps=1", "evaluation.max_items=60", "raro.pairs=8", "rollout.policy_tokens=60"]
    evaluate.run(made(tmp_path / "run", *small), tmp_path / "run")
    found = read_json(tmp_path / "run" / "evaluate" / "evaluation.json")["exploitability"]
    assert 20 <= found["n"] <= 30 and found["steps"] == 1 and found["seconds"] > 0
    assert found["own"] == found["untrained"] and found["own"][1] > 0.5  # most of the base's answers are wrong
    assert found["fresh_less_own"][1] <= found["fresh_less_own"][0] <= found["fresh_less_own"][2]


def test_evidence_without_checker_or_judge_stands_in_the_evaluation(tmp_path):
    config = made(tmp_path / "run", "evaluation.experts=20")
    evaluate.run(config, tmp_path / "run")
    found = read_json(tmp_path / "run" / "evaluate" / "evaluation.json")["experts"]
    assert found["n"] == 20 and set(found["logprob"]) == {"base", "warmstart", "candidate"}
    assert all(low <= mean <= high < 0 for mean, low, high in found["logprob"].values())
    assert found["paired"]["candidate-base"] == [0, 0, 0] and found["prefers"]["base"][0] > 0.5
    assert all(0 <= found["told_apart"][by]["base"][0] <= 1 for by in ("ngrams", "length"))
    for critic in found["critics"].values():
        assert critic["health"]["n"] >= 18 and critic["health"]["told"][1] > 0.5  # the mini base's critic sees made-up faults
        assert (
            critic["status"] == "used" and critic["wins"]["base"][2] < 0.5 and critic["paired"]["candidate-base"] == [0, 0, 0]
        )


def test_only_a_model_that_was_taught_to_judge_is_asked(tmp_path):
    """A rival trains no critic; a critic that is a model of its own lies beside the candidate, and is asked in its place."""
    for name, keys in (("similarity", {"warmstart"}), ("raro", {"warmstart", "candidate"})):
        settings = [f"method={name}", "evaluation.experts=20"] + ["raro.critic_model=separate"] * (name == "raro")
        config = made(tmp_path / name, *settings)
        evaluate.run(config, tmp_path / name)
        found = read_json(tmp_path / name / "evaluate" / "evaluation.json")
        assert set(found["critic"]) == set(found["experts"]["critics"]) == keys
        assert found["critic"]["warmstart"]["malformed"] < 1
    assert found["critic"]["candidate"]["malformed"] == 1 and found["experts"]["critics"]["candidate"]["health"]["n"] == 0


def test_none_is_measured_where_none_is_asked_for(tmp_path):
    config = load("countdown-mini", [*SMALL, "evaluation.experts=0"])
    assert Evidence([], tmp_path, config).report({}, lambda *_: None) == {}


# -------------------------------------------------------------------------------------------------------------- its parts alone


@pytest.fixture(scope="module")
def mini():
    from raro.rollout.models import open_model

    config = load("countdown-mini", [*SMALL, "evaluation.bootstrap=200"])
    return open_model(fetch(config.base.uri), config), config


def items_of(n):
    rows = [json.loads(line) for line in fetch("package://countdown-mini.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "test"][:n]
    return [Demonstration(question=r["question"], answer=r["answer"], source="", licence="", group=r["group"]) for r in rows]


def test_an_experts_likelihood_is_that_of_its_tokens_behind_the_thought(mini):
    import torch

    speaker, config = mini
    items, thoughts = items_of(4), ["7 + 4 = 11", None, "", "1 2"]
    found = likelihood.likelihood(speaker, items, thoughts, config)
    for item, thought, value in zip(items, thoughts, found.experts, strict=True):
        messages = [{"role": "system", "content": config.prompts.policy}, {"role": "user", "content": item.question}]
        prompt = speaker.prompt(messages, "", 0).ids
        whole = (
            *prompt,
            *speaker.completion(f"<think> {thought} </think> {item.answer}".replace("None ", "").replace("  ", " ")),
        )
        n = len(speaker.completion(item.answer))
        with torch.inference_mode():
            logprobs = speaker.model(torch.tensor([whole])).logits[0].log_softmax(-1)
        own = [float(logprobs[i - 1, whole[i]]) for i in range(len(whole) - n, len(whole))]
        assert value == pytest.approx(sum(own) / n, abs=1e-4)


def test_a_model_that_knows_nothing_prefers_nobody_and_its_critic_is_refused(blank, mini):
    _, config = mini
    items = items_of(40)
    assert 4 < likelihood.likelihood(blank, items, [None] * 40, config).prefers.count(1.0) < 36
    found = critics.ruled(blank, items, {"base": ["1"] * 40, "candidate": ["2"] * 40}, config)
    assert found["status"] == "refused" and "wins" not in found and "could be read" in found["why"]


def test_made_up_faults_are_the_same_for_every_arm():
    items = items_of(30)
    one, two = likelihood.worse_answers(items, 3), likelihood.worse_answers(items, 3)
    assert one == two and all(made and made[1] != item.answer for made, item in zip(one, items, strict=True))
    assert {kind for kind, _ in one} >= {"number", "shuffled", "truncated", "foreign"}


def texts(rng, n, words):
    return [" ".join(rng.choices(words, k=rng.randint(5, 15))) for _ in range(n)]


def test_classifiers_tell_a_habit_and_nothing_where_there_is_none():
    rng = random.Random(0)
    words = [f"w{i}" for i in range(50)]
    experts, alike = texts(rng, 200, words), texts(rng, 200, words)
    for by in telling.FEATURES:
        value, low, high = telling.told_apart(experts, alike, by, 200, 0)
        assert low < 0.5 < high and abs(value - 0.5) < 0.1
    habit = [f"{text} indeed" for text in alike]
    assert telling.told_apart(experts, habit, "ngrams", 200, 0)[1] > 0.95
    long = [f"{text} {text} {text}" for text in alike]
    assert telling.told_apart(experts, long, "length", 200, 0)[1] > 0.9
    assert telling.told_apart(experts, experts, "ngrams", 200, 0)[0] == pytest.approx(0.5, abs=0.05)
    assert telling.told_apart(experts[:5], alike[:5], "length", 200, 0) is None
    assert telling.told_apart(experts, [""] * 200, "length", 200, 0) is None


@pytest.mark.parametrize("shape", [(300, 20), (20, 300)])
def test_least_squares_is_the_same_in_either_space(shape):
    rng = np.random.default_rng(0)
    rows, side, asked = rng.normal(size=shape), rng.choice([-1.0, 1.0], shape[0]), rng.normal(size=(5, shape[1]))
    penalty = telling.RIDGE * shape[0] * np.eye(shape[1])
    expected = asked @ np.linalg.inv(rows.T @ rows + penalty) @ rows.T @ side
    assert np.allclose(telling._fitted(rows, side, asked), expected)
