"""Multiple choice answered freely: answers sorted by hand, and the likeliest choice of a real model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from raro.benchmarks import choices
from raro.benchmarks.choices import Choices, matches
from raro.benchmarks.scoring import scorer
from raro.config import load
from raro.demonstrations import SPLITS, collect, load_split, sources
from raro.errors import BadInput
from raro.records import Demonstration
from raro.roles import asking
from raro.rollout.models import open_model
from raro.storage import fetch

FIXTURES = Path(__file__).parent / "fixtures"
CASES = json.loads((FIXTURES / "holdings.json").read_text("utf-8"))


def answers(kind: str) -> list[tuple[Choices, str]]:
    return [(Choices(tuple(one["choices"]), one["right"]), said) for one in CASES for said in one.get(kind, [])]


@pytest.mark.parametrize(("offer", "said"), answers("says it"))
def test_the_choice_that_an_answer_says(offer, said):
    assert matches(said, offer)


@pytest.mark.parametrize(("offer", "said"), answers("does not"))
def test_an_answer_that_says_another_none_or_more(offer, said):
    assert not matches(said, offer)


def test_what_the_match_misses_or_takes_wrongly_and_the_docs_tell():
    """docs/evaluation.md gives these figures."""
    assert not any(matches(said, offer) for offer, said in answers("says it otherwise"))
    assert all(matches(said, offer) for offer, said in answers("taken wrongly"))
    kinds = ("says it", "says it otherwise", "does not", "taken wrongly")
    assert [len(answers(kind)) for kind in kinds] == [37, 12, 95, 1]


@pytest.fixture(scope="module")
def holdings(tmp_path_factory):
    """(configuration, its demonstrations) of the packaged `legal` on the fixture, with the miniature as its base."""
    folder = tmp_path_factory.mktemp("holdings")
    changed = [f"demonstrations.source={FIXTURES / 'casehold.jsonl'}", "resources.threads=1", "base.dtype=float32"]
    config = load("legal", changed)
    collect(config.demonstrations, sources(config.demonstrations.source), folder)
    return config, [item for split in ("train", "dev", "test") for item in load_split(folder, split)]


def test_choices_are_found_again_behind_the_demonstrations(holdings):
    config, items = holdings
    offers = choices.read(items, config)
    assert config.evaluation.benchmark == "choice" and len(items) == 2
    for item in items:
        offer = offers[item.source]
        assert offer.texts[offer.right] == item.answer and len(offer.texts) == 5
    score = scorer(items, config)
    assert [score(item, item.answer) for item in items] == [1.0, 1.0] and score(
        items[0], "holding that silence is consent"
    ) == 0.0


def test_choices_are_masked_as_answers_were_and_still_those_that_were_ingested(tmp_path):
    texts = ["Ask jo@example.org, on 2020-01-02.", "Ask al@example.org, on 2021-03-04.", "Call 650 253 0000."]
    row = {"question": "Whom to ask?", "choices": texts, "answer": 0}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    personal = "{date: keep, email: mask, phone: drop}"
    own = [f"source={path}", "reader=choice", f"personal_data={personal}", "group=''", "split=''", "choices=choices"]
    given = ["evaluation.benchmark=choice", *(f"demonstrations.{one}" for one in own)]
    config = load("countdown-mini", given)
    collect(config.demonstrations, sources(str(path)), tmp_path)
    items = [item for split in SPLITS for item in load_split(tmp_path, split)]
    (offer,) = choices.read(items, config).values()
    assert offer.texts == ("Ask [email], on 2020-01-02.", "Ask [email], on 2021-03-04.", "Call [phone].")
    path.write_text(json.dumps(row | {"choices": [texts[0], 4, None]}) + "\n")
    assert choices.read(items, config)[items[0].source].texts[1:] == ("4", "None")
    for changed in (row | {"answer": 1}, row | {"choices": None}):
        path.write_text(json.dumps(changed) + "\n")
        with pytest.raises(BadInput, match="is no longer the row that was ingested"):
            choices.read(items, config)


def test_a_benchmark_of_choices_needs_choices(holdings):
    config, items = holdings
    other = replace(config, demonstrations=replace(config.demonstrations, reader="columns"))
    with pytest.raises(BadInput, match="reads no choices"):
        choices.read(items, other)
    with pytest.raises(BadInput, match="gone.jsonl#9 is no longer the row"):
        choices.read([replace(items[0], source="gone.jsonl#9")], config)


def test_the_likeliest_choice_is_the_one_that_plain_scoring_finds():
    config = load("countdown-mini", ["resources.threads=1"])
    speaker = open_model(fetch(config.base.uri), config)
    texts = ("3 + 5", "3 * 5", "5 - 3", "( 5 + 3 ) * 8")
    item = Demonstration(question="Make 8 from 3, 5.", answer=texts[0], source="a#1", licence="", group="")
    found = []
    for right in range(4):
        offers = {"a#1": Choices(texts, right)}
        found += choices.likeliest(speaker, [item], offers, [None], config, thinking=False)
    prompt = asking.policy(speaker, item.question, config, "likelihood", 0)
    means = []
    for text in texts:
        ids = torch.tensor([[*prompt.ids, *(spoken := speaker.completion(text))]])
        with torch.no_grad():
            logprobs = speaker.model(ids).logits[0, len(prompt.ids) - 1 : -1].log_softmax(-1)
        means.append(logprobs.gather(1, torch.tensor(spoken)[:, None]).mean().item())
    assert found == [float(mean == max(means)) for mean in means]
    same = choices.likeliest(speaker, [item], {"a#1": Choices(("3 + 5", "3 + 5"), 1)}, [None], config, thinking=False)
    assert same == [1.0]  # the very same text twice is one choice


def test_figures_of_choices_are_paired_and_beside_chance():
    offers = [Choices(("a", "b"), 0), Choices(("a", "b", "c", "d"), 1)]
    found = choices.compared({"candidate": [1.0, 1.0], "base": [0.0, 1.0]}, offers, 200, 0)
    assert found["n"] == 2 and found["chance"] == 0.375
    assert found["right"]["base"][0] == 0.5 and found["paired"]["candidate-base"][0] == 0.5
