"""Probes: the critic's health tells a sound critic from a broken one, the angle between roles is that of their real gradients,
and neither of them moves a weight."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raro.config import load
from raro.demonstrations import load_split
from raro.learning.checkpoints import existing
from raro.learning.losses import on_policy
from raro.learning.update import Learner, Optimisation, Stream
from raro.probes.health import HealthSet
from raro.probes.retest import extremes, groups, retest_share, retested
from raro.probes.schedule import Probes, best_of
from raro.records import Completion, Pair, Sample
from raro.rollout.models import open_model
from raro.steps import run_step
from raro.storage import fetch
from raro.text import END_THINK, THINK
from raro.tracking import events

SMALL = [
    "warmstart.steps=0", "raro.steps=4", "raro.questions=4", "raro.rollouts=3", "raro.pairs=8", "raro.gate=0",
    "raro.gate_shut=0", "raro.checkpoint_every=4", "raro.snapshots=0", "raro.lr_warmup=0", "resources.processes=1",
    "evaluation.track_every=0", "probes.health_items=12",
]  # fmt: skip


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingested")
    run_step("ingest", load("countdown-mini", SMALL), folder)
    return folder / "ingest"


@pytest.fixture
def speaker():
    return open_model(fetch("package://countdown-mini"), load("countdown-mini", SMALL))


def test_health_tells_the_base_from_a_critic_that_lost_its_mind(ingested, speaker):
    config = load("countdown-mini", SMALL)
    health = HealthSet(config, load_split(ingested, "dev"))
    sound = health.look(speaker, speaker.engine(config))
    assert sound["health/accuracy"] > 0.9 and sound["health/tie"] > 0.5
    assert health.look(speaker, speaker.engine(config)) == sound  # the same pairs each time
    with torch.no_grad():
        for weight in speaker.model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.02)
    broken = health.look(speaker, speaker.engine(config))
    assert broken == {"health/accuracy": 0.5, "health/tie": 0.0}  # nothing it says can be read


def test_health_asks_what_can_be_asked(ingested, speaker):
    dev = load_split(ingested, "dev")
    alone = load("countdown-mini", [*SMALL, "raro.critic=absolute"])
    assert set(HealthSet(alone, dev).look(speaker, speaker.engine(alone))) == {"health/accuracy"}
    no_tie = load("countdown-mini", [*SMALL, "raro.tie=false"])
    assert set(HealthSet(no_tie, dev).look(speaker, speaker.engine(no_tie))) == {"health/accuracy"}
    assert HealthSet(alone, []).look(speaker, speaker.engine(alone)) == {}


def test_the_angle_is_that_of_the_roles_own_gradients(speaker):
    """One sample and its opposite pull apart, the same one along; the learner's weights, moments and gradients stay."""
    config = load("countdown-mini", [*SMALL, "probes.gradients_every=2"])
    learner = Learner(speaker.model, None, Optimisation(learning_rate=1e-3), speaker.pad_id)
    before = [weight.clone() for weight in speaker.model.parameters()]
    probes = Probes(config, speaker, [])
    streams = {"policy": Stream(), "critic": Stream(coefficient=0.5)}

    def samples(advantage):
        ids = tuple(speaker.completion("( 6 + 15 ) - 7"))
        return [Sample(ids, ids, (), 1.0, 1.0, "policy"), Sample(ids, ids, (), advantage, 1.0, "critic")]

    along, apart = (probes.angle(learner, samples(a), streams, on_policy, 0) for a in (1.0, -1.0))
    assert along["learn/role_cosine"] == pytest.approx(1) and apart["learn/role_cosine"] == pytest.approx(-1)
    assert along["policy/grad_norm"] == pytest.approx(2 * along["critic/grad_norm"])
    assert probes.angle(learner, samples(1.0), streams, on_policy, 2) == {}  # not due
    assert "learn/role_cosine" not in probes.angle(learner, samples(0.0), streams, on_policy, 0)  # one role learns nothing
    assert all(torch.equal(a, b) for a, b in zip(before, speaker.model.parameters(), strict=True))
    assert not learner.optimiser.state and all(weight.grad is None for weight in speaker.model.parameters())
    assert probes.taken()["time/probes"] > 0 and probes.taken() == {}


def test_a_run_with_probes_has_the_weights_of_one_without_and_logs_them(tmp_path):
    """The weights of the last checkpoint, bit by bit, and the optimiser's moments with them."""
    files = []
    for name, every in (("without", 0), ("with", 1)):
        looks = [f"probes.{name}_every={every}" for name in ("health", "gradients", "retest")]
        config = load("countdown-mini", [*SMALL, *looks])
        for step in ("ingest", "warmstart", "train"):
            run_step(step, config, tmp_path / name)
        (checkpoint,) = existing(tmp_path / name / "checkpoints")
        files.append({path.name: path.read_bytes() for path in checkpoint.glob("*.safetensors")})
    assert set(files[0]) == {"weights.safetensors", "optimiser.safetensors"} and files[0] == files[1]
    logged = [e["values"] for e in events.read(tmp_path / "with")[0] if e["stage"] == "train" and e["kind"] == "metrics"]
    assert all({"health/accuracy", "health/tie", "learn/role_cosine", "time/probes"} <= set(values) for values in logged)
    assert any("game/retest" in values for values in logged)


def test_the_critic_is_asked_again_about_the_best_and_the_worst_paid_of_each_question():
    """Of what was judged and paid: not of a malformed answer, a replayed one, nor where all earn or say the same."""

    def pair(i, text, age=0):
        return Pair("q", "expert", text, True, age, i)

    judged = [[SimpleNamespace(pair=pair(i, text))] for i, text in ((0, "a"), (1, "b"), (2, "c"), (4, "d"), (5, "e"), (8, "f"))]
    judged.append([SimpleNamespace(pair=pair(-1, "old", age=3))])
    earned = [0.2, 0.9, 0.1, 0.0, 0.5, 0.5, None, 0.5, 0.7]
    found = groups(judged, [0, 1, 2, 3, 4, 5, 6, 4, 8], earned, 3)
    assert [[(p.policy, pay) for p, pay in group] for group in found] == [
        [("a", 0.2), ("b", 0.9), ("c", 0.1)], [("d", 0.5), ("e", 0.5)], [("d", 0.5), ("f", 0.7)],
    ]  # fmt: skip
    assert [[p.policy for p in extremes(group)] for group in found] == [["b", "c"], [], ["f", "d"]]
    assert (
        retest_share([0.3, -0.1, 0.0]) == pytest.approx(0.75) and retest_share([0.0, 0.0]) is None and retest_share([]) is None
    )
    assert extremes([]) == () and extremes([(pair(0, "a"), 0.1), (pair(1, "a"), 0.9)]) == ()


def test_asked_again_each_pair_is_shown_in_the_other_order(speaker):
    """A critic that always says "first" names the other answer then: nothing of what it paid is kept."""
    word = speaker.completion(f"{THINK} {END_THINK} first")
    always = SimpleNamespace(generate=lambda asked, n, sampling: [[Completion(word, (0.0,) * len(word), "stop")]] * len(asked))
    paid = [[(Pair("q", "expert", "a", False, 0, 0), 1.0), (Pair("q", "expert", "b", True, 0, 1), 0.0)]]
    apart = retested(speaker, always, paid, load("countdown-mini", ["raro.verdict=said", "raro.ceiling=1"]), 0)
    assert apart == [-1.0] and retest_share(apart) == 0


def test_the_best_of_many_is_not_taken_for_better_than_it_is():
    """Even snapshots come out even, though the best of them on the questions that it was chosen by would not; a better one is
    told."""
    rng = np.random.default_rng(0)
    even, skilled = rng.random((400, 8, 16)), rng.random((400, 8, 16))
    skilled[:, 3] += 0.3
    assert np.mean([got.mean(axis=1).max() for got in even]) > 0.59
    assert abs(np.mean([best_of(got.tolist()) for got in even]) - 0.5) < 0.01
    assert np.mean([best_of(got.tolist()) for got in skilled]) > 0.75
    assert best_of([[1.0, 0.0, 1.0]]) == pytest.approx(2 / 3) and best_of([[0.5]]) == 0.5
