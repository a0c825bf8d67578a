"""The training step: killed anywhere and started again it is the run that was never stopped; two processes are one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from raro.config import load
from raro.errors import BadInput, RaroError
from raro.learning import checkpoints
from raro.steps import preflight, run_step
from raro.steps.claim import claim
from raro.steps.launch import surroundings
from raro.storage import read_json
from raro.tracking import events

SMALL = {
    "warmstart.steps": 1, "warmstart.questions": 4, "warmstart.thoughts": 2,
    "raro.steps": 5, "raro.questions": 4, "raro.rollouts": 3, "raro.pairs": 8, "raro.verdicts": 2, "raro.checkpoint_every": 2,
    "raro.gate": 0.0, "raro.tau_ramp": 0, "resources.processes": 1, "evaluation.track_every": 2, "evaluation.track_items": 4,
    "probes.select_items": 8, "probes.matrix_items": 4,
}  # fmt: skip
CLOCK = ("time/step", "time/probes", "learn/tokens_per_second", "learn/padding", "engine/generate_tokens_per_second")


def prepared(folder: Path, **more: object) -> Path:
    """A run up to its warm start."""
    config = load("countdown-mini", [f"{key}={value}" for key, value in (SMALL | more).items()])
    for name in ("ingest", "warmstart"):
        run_step(name, config, folder)
    return folder


def start(folder: Path) -> subprocess.Popen:
    """`raro step train` in a process of its own."""
    command = [sys.executable, "-m", "raro.cli", "step", "train", str(folder / "config.json"), "--output", str(folder)]
    return subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(folder: Path) -> None:
    process = start(folder)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said


def metrics(folder: Path) -> dict[int, dict[str, float]]:
    """The last figures of each step, but for the clock's."""
    found = (e for e in events.read(folder)[0] if e["stage"] == "train" and e["kind"] == "metrics")
    return {e["step"]: {k: v for k, v in e["values"].items() if k not in CLOCK} for e in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    folder = prepared(tmp_path_factory.mktemp("whole") / "run")
    finish(folder)
    return folder


@pytest.mark.parametrize("victim", [random.Random(time.time()).randrange(1, 5), 3], ids=["anywhere", "past-a-checkpoint"])
def test_a_killed_run_goes_on_as_if_it_never_was(whole, tmp_path, victim):
    folder = prepared(tmp_path / "run")
    process = start(folder)
    while victim not in metrics(folder) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "train").exists(), "nothing half-written is taken for whole"
    left = checkpoints.existing(folder / "checkpoints")
    snapshots = lambda of: [step for step, _ in checkpoints.snapshots(of / "checkpoints")]  # noqa: E731
    stale = (whole / "warmstart" / "model" / "model.safetensors").read_bytes()
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "weights-000009.safetensors").write_bytes(stale)  # of a stretch that is not played again
    assert left or victim < 3, "a step's figures are told before its checkpoint is written, so step 2's may be missing"
    finish(folder)
    resumed = [e["text"] for e in events.read(folder)[0] if e["kind"] == "note" and "resumed" in e["text"]]
    assert bool(resumed) == bool(left)
    ours, theirs = (load_file(f / "train" / "model" / "model.safetensors") for f in (folder, whole))
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours), f"killed at step {victim}"
    assert metrics(folder) == metrics(whole) and snapshots(folder) == snapshots(whole)
    assert (folder / "train" / "pairs.jsonl").read_bytes() == (whole / "train" / "pairs.jsonl").read_bytes()


def test_a_run_goes_on_in_less_memory_but_never_as_another_run(tmp_path, monkeypatch):
    """As after an out-of-memory error: other micro-batches and layouts, the same samples and, but for rounding, weights."""
    more = {
        "warmstart.steps": 0,
        "raro.steps": 3,
        "raro.snapshots": 0,
        "evaluation.track_every": 0,
        "rollout.policy_tokens": 40,
    }
    more |= {f"probes.{name}": 0 for name in ("health_every", "retest_every", "gradients_every", "older_items")}
    never = prepared(tmp_path / "never", **more)
    folder, config = shutil.copytree(never, tmp_path / "run"), load(never / "config.json")
    run_step("train", config, never)
    save = checkpoints.save

    def interrupted(*given: object) -> None:
        save(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoints, "save", interrupted)
        run_step("train", config, folder)
    with pytest.raises(BadInput, match=r"holds another run \(raro.learning_rate: 0.0005, now 0.1\)"):
        run_step("train", load(folder / "config.json", ["raro.learning_rate=0.1"]), folder)
    lost = shutil.copytree(folder / "checkpoints" / "step-000002", folder / "checkpoints" / "step-000009")
    (lost / "weights.safetensors").write_bytes(b"")  # as a lost node may leave it
    sets = ["resources.batch_tokens=256", "rollout.slots=8", "resources.packing=rows"]
    less = load(folder / "config.json", sets)
    run_step("train", less, folder)
    notes = [e["text"] for e in events.read(folder)[0] if e["kind"] == "note"]
    assert any("resources.batch_tokens: 2048, now 256" in text for text in notes)
    assert any("resumed from checkpoint step-000002" in text for text in notes)
    assert "checkpoint 'step-000009' cannot be read, and is passed over" in notes and not lost.exists()
    assert load(folder / "config.json") == less
    kept = {name: read_json(folder / name / "manifest.json")["config_digest"] for name in ("warmstart", "train")}
    assert kept == {"warmstart": config.digest, "train": less.digest}, "what was done under which settings"
    ours, theirs = (read_json(f / "checkpoints" / "step-000003" / "state.json")["state"]["game"] for f in (folder, never))
    assert ours["replay"] == theirs["replay"]
    ours, theirs = (load_file(f / "train" / "model" / "model.safetensors") for f in (folder, never))
    for name in ours:
        assert (ours[name] - theirs[name]).norm() <= 1e-5 * theirs[name].norm() + 1e-8, name


def test_a_process_that_lacks_memory_tells_the_remedy(tmp_path, monkeypatch):
    """What one of several processes dies of is what the step says, and is worth another try; the others' loss of it is not."""
    import torch

    from raro.steps import launch, train

    config, folder = load("countdown-mini"), tmp_path / "train"
    claim(config, tmp_path)
    folder.mkdir()
    play = folder / launch.PLAY
    play.write_text(json.dumps({"run": str(tmp_path), "folder": str(folder), "data": "", "warm": "", "identity": {}}))
    errors = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 57 GiB"), RuntimeError("Connection closed by peer")]
    for error in (errors[1], *errors):

        def dies(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(train, "train", dies)
        with pytest.raises(type(error)):
            train.main(play)
    with pytest.raises(RaroError, match="OutOfMemoryError: CUDA out of memory") as told:
        launch.raise_theirs(folder)
    assert "resources.batch_tokens" in told.value.remedy and told.value.code == 1 and not told.value.permanent


def test_what_training_leaves_behind(whole):
    summary = read_json(whole / "train" / "train.json")
    assert summary["steps"] == 5 and summary["processes"] == 1
    assert summary["machine"] == preflight.machine("cpu") and "torch" in summary["machine"]["packages"]
    rows = [json.loads(line) for line in (whole / "train" / "pairs.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} == set(range(1, 6))
    assert all(row["verdict"] in ("first", "second", "tie", "malformed") for row in rows)
    figures = metrics(whole)[5]
    for role in ("policy", "critic"):
        assert figures[f"{role}/entropy"] > 0 and figures[f"{role}/kl"] >= 0
    before, after = (load_file(whole / step / "model" / "model.safetensors") for step in ("warmstart", "train"))
    assert any((before[name] != after[name]).any() for name in before)


def test_a_critic_of_its_own_is_kept_beside_the_candidate(tmp_path):
    run = prepared(tmp_path / "run", **{"raro.critic_model": "separate", "raro.steps": 1, "evaluation.track_every": 0})
    finish(run)
    critic, candidate = (load_file(run / "train" / name / "model.safetensors") for name in ("critic", "model"))
    (kept,) = checkpoints.existing(run / "checkpoints")
    own = load_file(kept / "critic-weights.safetensors")
    assert all((own[name] == critic[name]).all() for name in critic)
    assert any((candidate[name] != critic[name]).any() for name in critic)


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_are_one(whole, tmp_path, sharding):
    """Same samples and replay as one process, parameters within 1e-5 of it, relatively; each with the whole model or a part of
    it."""
    folder = prepared(tmp_path / "run", **{"resources.processes": 2, "resources.sharding": sharding})
    finish(folder)
    assert read_json(folder / "train" / "train.json")["processes"] == 2
    ours, theirs = metrics(folder), metrics(whole)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-4, abs=1e-6), "one step, from equal weights"
    states = [read_json(f / "checkpoints" / "step-000005" / "state.json")["state"]["game"] for f in (folder, whole)]
    assert states[0]["replay"] == states[1]["replay"]
    ours, theirs = (load_file(f / "train" / "model" / "model.safetensors") for f in (folder, whole))
    for name in ours:
        assert (ours[name] - theirs[name]).norm() <= 1e-5 * theirs[name].norm() + 1e-8, name


@pytest.mark.check
def test_a_killed_run_of_spread_weights_goes_on_as_if_it_never_was(tmp_path):
    """Two processes, each with its part of the weights, in half precision and with recomputed activations."""
    more = {"resources.processes": 2, "resources.sharding": "full", "base.dtype": "bfloat16"}
    more |= {"resources.gradient_checkpointing": True, "raro.steps": 4, "evaluation.track_every": 0}
    runs = [prepared(tmp_path / name, **more) for name in ("never", "killed")]
    finish(runs[0])
    process = start(runs[1])
    while 3 not in metrics(runs[1]) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert [path.name for path in checkpoints.existing(runs[1] / "checkpoints")] == ["step-000002"]
    finish(runs[1])
    ours, theirs = (load_file(run / "train" / "model" / "model.safetensors") for run in runs)
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)
    assert metrics(runs[0]) == metrics(runs[1])


def test_adapters_in_half_precision_make_a_model_like_any_other(tmp_path):
    """LoRA and bfloat16 through the step itself: what comes out is a plain folder of the base's dtype, and it has learnt."""
    import torch

    from raro.rollout.models import open_model

    more = {"base.dtype": "bfloat16", "base.lora_rank": 4, "raro.steps": 3, "raro.learning_rate": 0.01, "raro.lr_warmup": 0}
    more |= {"rollout.policy_tokens": 40, "evaluation.track_every": 0, "raro.verdict": "said"}
    folder = prepared(tmp_path / "run", **more)
    config = load(folder / "config.json")
    run_step("train", config, folder)
    before, after = (load_file(folder / step / "model" / "model.safetensors") for step in ("warmstart", "train"))
    assert before.keys() == after.keys() and all(value.dtype == torch.bfloat16 for value in after.values())
    assert any((before[name] != after[name]).any() for name in after)
    assert open_model(folder / "train" / "model", config).model is not None
    assert read_json(folder / "train" / "train.json")["selected_step"] in (1, 2, 3)


def test_a_critic_of_its_own_with_adapters_is_a_model_like_any_other_too(tmp_path):
    small = {"raro.steps": 2, "raro.critic_model": "separate", "raro.gate": 0.0, "evaluation.track_every": 0}
    folder = prepared(tmp_path / "run", **small, **{"base.lora_rank": 4, "raro.learning_rate": 0.01, "raro.lr_warmup": 0})
    run_step("train", load(folder / "config.json"), folder)
    warm, policy, critic = (
        load_file(folder / path / "model.safetensors") for path in ("warmstart/model", "train/model", "train/critic")
    )
    assert warm.keys() == policy.keys() == critic.keys()
    assert all(any((a[name] != b[name]).any() for name in a) for a, b in ((warm, critic), (warm, policy), (policy, critic)))


def test_a_gpus_memory_grows_in_place_unless_the_house_says_otherwise(monkeypatch):
    name = "PYTORCH_CUDA_ALLOC_CONF"
    monkeypatch.delenv(name, raising=False)
    found = surroundings(load("countdown-mini", ["resources.device=cuda", "resources.threads=3"]))
    assert (found[name], found["OMP_NUM_THREADS"], found["PATH"]) == ("expandable_segments:True", "3", os.environ["PATH"])
    assert name not in surroundings(load("countdown-mini", ["resources.device=cpu"]))
    monkeypatch.setenv(name, "max_split_size_mb:512")
    assert surroundings(load("countdown-mini", ["resources.device=cuda"]))[name] == "max_split_size_mb:512"
