"""A model spread over two processes (FSDP2 on gloo): each holds its part, and together they make the update of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_learning import samples

from raro.config import load
from raro.errors import BadInput
from raro.learning import checkpoints
from raro.learning.losses import on_policy
from raro.learning.update import Learner, Optimisation, Stream
from raro.models.make_countdown_mini import blank_model
from raro.records import Sample
from raro.rollout.weights import local_tensor

STREAMS = {"a": Stream(coefficient=0.7, kl=0.05), "b": Stream(coefficient=0.3)}
BATCHES = {
    "many": samples("a", 7) + samples("b", 5, seed=1),  # more micro-batches for one process than for the other
    "alone": [s for s in samples("b", 6) if s.prompt_ids == samples("b", 6)[0].prompt_ids],  # none for one of them
}
BATCHES["half"] = BATCHES["many"]  # in bfloat16, with recomputed activations
UPDATES = 3


def made(name: str) -> Learner:
    """A learner with a reference that differs from its model."""
    model, reference = blank_model(0, 128), blank_model(1, 128).requires_grad_(False)
    if half := name == "half":
        model.gradient_checkpointing_enable()
    settings = Optimisation(learning_rate=1e-2, batch_tokens=30, max_grad_norm=0.5, half=half)
    return Learner(model, reference, settings, 0)


def updates(learner: Learner, batch: list[Sample]) -> list[dict[str, float]]:
    told = [learner.update(batch, STREAMS, on_policy, 1e-2) for _ in range(UPDATES)]
    return [{name: one[name] for name in ("loss", "grad_norm", "tokens", "b/entropy")} for one in told]


def process(folder: Path) -> None:
    """One of the two."""
    whole, spread = made("many"), made("many")
    spread.shard()
    moved = {"whole": moved_by_nothing(whole), "spread": moved_by_nothing(spread)}
    (folder / f"moved-{whole.accelerator.process_index}.json").write_text(json.dumps(moved))
    for name, batch in BATCHES.items():
        learner = made(name)
        total = sum(p.numel() for p in learner.model.parameters())
        learner.shard()
        held = torch.tensor([sum(p.to_local().numel() for p in learner.model.parameters())])
        told = updates(learner, batch)
        moments = sum(m.to_local().numel() for state in learner.optimiser.state.values() for m in (state["exp_avg"],))
        writes = learner.accelerator.is_main_process
        checkpoints.save(folder / name, UPDATES, learner.model, learner.optimiser, {}, {}, 1, writes=writes)
        gradient = learner.gradient(batch, STREAMS, on_policy)
        learner.accelerator.wait_for_everyone()

        other = made(name)
        other.shard()
        checkpoints.restore(checkpoints.newest(folder / name, {}), other.model, other.optimiser)
        again = other.gradient(batch, STREAMS, on_policy)
        same = all(map(torch.equal, gradient, again)) and updates(other, batch) == updates(learner, batch)
        dot = learner.dot(gradient, again)
        shares = learner.accelerator.gather(held).tolist()
        if writes:
            found = {"total": total, "shares": shares, "moments": moments, "told": told, "same": same, "dot": dot}
            (folder / f"{name}.json").write_text(json.dumps(found))


def moved_by_nothing(learner: Learner) -> float:
    """How far the weights move in an update without any gradient, behind one that had it."""
    learner.update(BATCHES["many"], {"a": Stream(), "b": Stream()}, on_policy, 1e-2)
    before = [local_tensor(p.detach()).clone() for p in learner.model.parameters()]
    learner.update([replace(s, advantage=0.0) for s in BATCHES["many"]], {"a": Stream(), "b": Stream()}, on_policy, 1e-2)
    after = (local_tensor(p.detach()) for p in learner.model.parameters())
    return sum(float((now - then).abs().sum()) for now, then in zip(after, before, strict=True))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, str(folder)]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", BATCHES)
def test_two_processes_make_the_update_of_one(two, name):
    alone, batch = made(name), BATCHES[name]
    near = 1e-2 if name == "half" else 1e-5
    told = updates(alone, batch)
    found = json.loads((two / f"{name}.json").read_text())
    assert found["told"] == [pytest.approx(one, rel=near) for one in told]
    theirs = load_file(two / name / f"step-{UPDATES:06d}" / "weights.safetensors")
    for key, parameter in alone.model.named_parameters():
        assert (theirs[key] - parameter).norm() <= near * parameter.norm() + 1e-8, key
    gradient = alone.gradient(batch, STREAMS, on_policy)
    assert found["dot"] == pytest.approx(alone.dot(gradient, gradient), rel=10 * near)


def test_a_step_without_a_gradient_moves_nothing_however_many_processes_there_are(two):
    """AdamW's momentum would, had the parameters a gradient of zeros."""
    assert moved_by_nothing(made("many")) == 0
    assert [json.loads((two / f"moved-{rank}.json").read_text()) for rank in (0, 1)] == [{"whole": 0, "spread": 0}] * 2


@pytest.mark.parametrize("name", BATCHES)
def test_each_process_holds_its_part_and_a_checkpoint_all_of_it(two, name):
    """The parts are even but for what padding a layer needs, and a checkpoint is restored, here and there, to the last bit."""
    found = json.loads((two / f"{name}.json").read_text())
    assert sum(found["shares"]) == found["total"] and max(found["shares"]) < 0.55 * found["total"]
    assert found["moments"] == found["shares"][0] and found["same"]
    alone = made(name)
    checkpoints.restore(checkpoints.newest(two / name, {}), alone.model, alone.optimiser)
    assert all(state["exp_avg"].shape == p.shape for p, state in alone.optimiser.state.items())
    updates(alone, BATCHES[name])


@pytest.mark.parametrize("other", ["base.lora_rank=4", "raro.critic_model=separate", "method=dpo"])
def test_what_cannot_be_spread_is_refused(other):
    with pytest.raises(BadInput, match=other.partition("=")[0]):
        load("countdown-mini", ["resources.sharding=full", other])


if __name__ == "__main__":
    process(Path(sys.argv[1]))
