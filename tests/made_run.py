"""A run folder made up for tests of the report and the terminal view: the layout and names of a real one, invented figures.

    python tests/made_run.py FOLDER

makes one to look at. Nothing in it was measured.
"""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Any

from made_evaluation import SAMPLES, drawn, evidence

from raro.config import Config, parse
from raro.registry import gates
from raro.storage import digest_text, manifest, write_atomic, write_json

BEGAN = 1_764_000_000.0
STAGES = {"preflight": 1.4, "ingest": 2.1, "warmstart": 38.0, "train": 312.0, "evaluate": 74.0, "decide": 0.2, "register": 3.9}
PACKAGES = {"raro-pipelines": "0.1.0", "torch": "2.9.1", "transformers": "5.23.0", "mlflow": "3.17.2", "kfp": "2.17.0"}
HOSTILE = '<script>alert("x")</script> & <b>"bold"</b>'
OVERHEAD = 0.8  # seconds between two stages


def config(steps: int = 200, show_text: bool = True, **more: Any) -> Config:
    """Settings such as the miniature's."""
    return parse(
        {
            "name": "countdown-mini",
            "seed": 7,
            "raro": {
                "steps": steps,
                "questions": 24,
                "rollouts": 8,
                "gate": 0.6,
                "tau_ramp": 40,
                "learning_rate": 5e-4,
                "decay": "linear",
                "lambda_pol": 0.5,
                "lambda_crit": 0.5,
                "overlong": "zero",
            },
            "warmstart": {"steps": 30, "answers": "own"},
            "rollout": {"policy_tokens": 96, "critic_tokens": 80},
            "evaluation": {"benchmark": "countdown", "sft_steps": 200, "track_every": 10},
            "privacy": {"show_text": show_text},
            **more,
        }
    )


def make(
    run: str | Path,
    steps: int = 200,
    decision: str = "promote",
    fail_at: str = "",
    show_text: bool = True,
    hostile: bool = False,
) -> Path:
    """A run that ended with `decision` (promote, hold, reject or nothing-new), or failed in stage `fail_at`."""
    run = Path(run)
    made = _Made(run, config(steps, show_text), random.Random(7))
    path = list(STAGES)
    if decision == "reject":
        path[-1] = "record"
    if decision == "nothing-new":
        path = ["preflight", "ingest", "record"]
    write_atomic(run / "config.json", made.config.canonical() + "\n")
    for stage in path:
        made.event(stage, "start", total=None, text="")
        if stage == fail_at:
            made.fail(stage, steps)
            break
        outputs = getattr(made, stage)(decision if stage in ("ingest", "decide", "register", "record") else steps)
        if stage == "train" and show_text:
            made.pairs(steps, hostile)
        if stage == "evaluate":
            made.items(show_text, hostile)
        made.finish(stage, outputs)
    made.event("finish", "start", total=None, text="")
    write_atomic(run / "events.jsonl", "".join(json.dumps(event) + "\n" for event in made.events))
    return run


class _Made:
    """The folder as it grows, with a clock of its own."""

    def __init__(self, run: Path, config: Config, rng: random.Random):
        self.run, self.config, self.rng = run, config, rng
        self.now = BEGAN
        self.events: list[dict[str, Any]] = []

    def event(self, stage: str, kind: str, **fields: Any) -> None:
        self.events.append({"time": self.now, "stage": stage, "kind": kind, **fields})

    def write(self, stage: str, name: str, data: Any) -> None:
        write_json(self.run / stage / name, data)

    def finish(self, stage: str, outputs: dict[str, Any]) -> None:
        seconds = STAGES.get(stage, 0.3)
        self.now = max(self.now, next(e["time"] for e in self.events if e["stage"] == stage) + seconds)
        listing = manifest(self.run / stage)
        body = {
            "step": stage,
            "status": "done",
            "config_digest": self.config.digest,
            "identity": self.config.identity,
            "inputs": {},
            "given": {},
            "outputs": outputs,
        }
        self.write(stage, "manifest.json", {**body, "seconds": seconds, **listing})
        self.event(stage, "done", outputs=outputs, seconds=seconds)
        self.now += OVERHEAD

    def fail(self, stage: str, steps: int) -> None:
        """Ingest fails for its data, anything else is interrupted half-way."""
        failure: dict[str, Any] = {
            "stage": stage,
            "config_digest": self.config.digest,
            "time": self.now,
            "last_checkpoint": None,
        }
        if stage == "ingest":
            rows = "".join(
                json.dumps({"row": i, "reason": "missing_column", "detail": "no column 'answer'"}) + "\n" for i in range(40)
            )
            write_atomic(self.run / "quarantine.jsonl", rows)
            line = "812 of 4,000 rows are quarantined, most as missing_column (800): 20.3%, more than 5.0%"
            remedy = "fill the column in every row; or raise demonstrations.max_quarantined_share"
            failure |= {"code": 2, "class": "BadInput", "line": line, "remedy": remedy, "permanent": True}
        else:
            if stage == "train":
                self.train(steps, steps // 2)
                failure["last_checkpoint"] = f"checkpoints/step-{steps // 2:06d}"
            remedy = "start again with the same --output: it resumes"
            failure |= {"code": 130, "class": "KeyboardInterrupt", "line": "interrupted", "remedy": remedy, "permanent": False}
        write_json(self.run / "failure.json", failure)
        self.event(stage, "failed", failure=failure)

    # ------------------------------------------------------------------------------------------------------------- the stages

    def preflight(self, _: int) -> dict[str, Any]:
        environment = {
            "python": "3.12.3",
            "platform": "Linux-6.8-x86_64",
            "packages": PACKAGES,
            "torch_threads": 1,
            "device": "cpu",
            "git": "0123456789abcdef0123456789abcdef01234567",
            "cores": 2,
            "memory_gib": 7.8,
        }
        self.write("preflight", "environment.json", environment)
        self.event("preflight", "note", text="cpu, 2 cores, 7.8 GiB of memory", level="info")
        return {"device": "cpu"}

    def ingest(self, decision: str) -> dict[str, Any]:
        summary = {"mean": 21.4, "median": 21, "p95": 24, "longest": 27}
        card = {
            "sources": [{"uri": "package://countdown-mini.jsonl", "size": 512_345, "sha256": digest_text("source")}],
            "rows": 6_012,
            "kept": 5_985,
            "quarantined": 27,
            "reasons": {"duplicate": 19, "empty": 5, "tags": 3},
            "splits": {"train": 3_785, "dev": 200, "test": 2_000},
            "digest": digest_text("data"),
            "licences": {"Apache-2.0": 5_985},
            "lengths": {"question": summary, "answer": summary},
        }
        self.write("ingest", "data.json", card)
        rows = [{"row": 17 * i, "reason": "duplicate", "detail": f"repeats row {i}", "source": "package"} for i in range(1, 20)]
        write_atomic(self.run / "ingest" / "quarantine.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        text = "27 of 6,012 rows are quarantined: see ingest/quarantine.jsonl"
        self.event("ingest", "note", text=text, level="warning")
        verdict = "nothing-new" if decision == "nothing-new" else "proceed"
        return {"verdict": verdict, "digest": card["digest"], **card["splits"], "rows": 6_012, "quarantined": 27}

    def warmstart(self, _: int) -> dict[str, Any]:
        for step in range(1, 31):
            self.now += 1.1
            self.event(
                "warmstart",
                "metrics",
                step=step,
                values={"warmstart/loss": 0.9 * math.exp(-step / 9) + self._noise(0.02) + 0.35},
            )
            self.event("warmstart", "progress", done=step, total=30, text="lessons")
        self.write("warmstart", "warmstart.json", {"steps": 30, "well_formed_before": 0.93, "well_formed_after": 0.98})
        return {"steps": 30}

    def train(self, steps: int, until: int | None = None) -> dict[str, Any]:
        self.event("train", "start", total=steps, text="adversarial training")
        opened = steps // 5
        for step in range(1, (until or steps) + 1):
            self.now += 1.5
            self.event("train", "metrics", step=step, values=self.figures(step, steps, opened))
            self.event("train", "progress", done=step, total=steps, text="steps")
        self.write("train", "train.json", {"steps": steps, "seconds": 310.2, "selected_step": steps, "gate_opened": opened})
        return {"steps": steps, "gate_opened": opened}

    def figures(self, step: int, steps: int, opened: int) -> dict[str, float]:
        """One step's metrics: a critic that learns, a gate that opens, a policy that catches up."""
        through, since = step / steps, max(0, step - opened) / (steps - opened)
        skill = 0.5 + 0.36 * (1 - math.exp(-7 * through)) - 0.16 * since
        tie, broken = 0.06 + 0.1 * since + abs(self._noise(0.015)), 0.06 * math.exp(-6 * through) + abs(self._noise(0.006))
        named = 1 - tie - broken
        accuracy = min(0.98, skill + self._noise(0.03))
        learned = 0.15 + 0.26 * (1 - math.exp(-3 * since)) if step > opened else 0.15
        values = {
            "policy/reward": (1 - accuracy) * named + 0.6 * tie + self._noise(0.02),
            "policy/tokens": 52 + 12 * since + self._noise(1.5),
            "policy/malformed": 0.03 * math.exp(-4 * through) + abs(self._noise(0.004)),
            "policy/truncated": 0.05 * math.exp(-3 * through) + abs(self._noise(0.006)),
            "policy/zero_advantage": 0.18 + 0.1 * through + self._noise(0.02),
            "policy/entropy": 0.62 - 0.2 * since + self._noise(0.01),
            "critic/reward": accuracy * named + 0.55 * tie * (step > opened) + self._noise(0.01),
            "critic/accuracy": accuracy,
            "critic/accuracy_replay": min(0.99, accuracy + 0.06 * since + self._noise(0.02)),
            "critic/accuracy_first": min(1.0, accuracy + 0.02 + self._noise(0.03)),
            "critic/accuracy_second": max(0.0, accuracy - 0.02 + self._noise(0.03)),
            "critic/expert": accuracy * named,
            "critic/policy": (1 - accuracy) * named,
            "critic/tie": tie,
            "critic/malformed": broken,
            "critic/truncated": 0.02 * math.exp(-5 * through) + abs(self._noise(0.004)),
            "critic/tokens": 44 + 4 * through + self._noise(1.0),
            "critic/zero_advantage": 0.35 + 0.25 * through + self._noise(0.03),
            "critic/entropy": 0.55 - 0.25 * through + self._noise(0.012),
            "critic/kl": 0.02 + 0.14 * through + abs(self._noise(0.005)),
            "game/gate_share": 0.5 + (skill - 0.5) * (1 - math.exp(-4 * through)),
            "game/gate_open": float(step > opened),
            "game/tau_crit": 0.55 * min(1.0, max(0, step - opened) / 40),
            "game/replay_size": float(min(10_000, 190 * step)),
            "learn/rate": 5e-4 * (1 - 0.9 * through),
            "learn/grad_norm": 0.9 + 0.4 * math.exp(-5 * through) + abs(self._noise(0.15)),
            "learn/loss": self._noise(0.01),
            "engine/generate_tokens_per_second": 31_000 + 1500 * self._noise(1),
            "learn/tokens_per_second": 28_500 + 900 * self._noise(1),
            "time/step": 1.5 + abs(self._noise(0.1)),
        }
        if step > opened:
            values["policy/kl"] = 0.02 + 0.2 * since + abs(self._noise(0.006))
        if step % 10 == 0 or step == 1:
            values |= {
                "dev/greedy": 0.19 + 0.6 * (learned - 0.15) + self._noise(0.012),
                "dev/sampled": learned + self._noise(0.012),
            }
        return values

    def _noise(self, size: float) -> float:
        return self.rng.gauss(0, size)

    def pairs(self, steps: int, hostile: bool) -> None:
        """Judged pairs: arithmetic, and one that tries to break out of the page."""
        rows = []
        for step in range(0, steps, max(1, steps // 20)):
            for _ in range(4):
                a, b, c = sorted(self.rng.sample(range(1, 16), 3))
                target, first = a + b * c, self.rng.random() < 0.5
                fooled = self.rng.random() < 0.2 + 0.3 * step / steps
                outcome = self.rng.choices(["policy" if fooled else "expert", "tie", "malformed"], [8, 1, 0.6])[0]
                named = {"expert": first, "policy": not first}.get(outcome)
                answer = f"( {b} * {c} ) + {a}" if fooled else f"( {a} + {b} ) * {c}"
                value = target if fooled else (a + b) * c
                thought = f"{a} * {b} = {a * b} no {b} * {c} = {b * c} + {a} = {target} {'ok' if fooled else 'no'}"
                judged = f"first {target} ok second {value} {'ok' if value == target else 'no'}"
                rows.append(
                    {
                        "step": step,
                        "question": f"Make {target} from {a}, {b}, {c}.",
                        "expert": f"{a} + ( {b} * {c} )",
                        "policy": answer,
                        "policy_thought": thought,
                        "expert_first": first,
                        "verdict": outcome if named is None else "first" if named else "second",
                        "outcome": outcome,
                        "critic_thought": judged,
                        "policy_reward": None if outcome == "malformed" else self.rng.choice([0.0, 0.15, 0.4, 1.0]),
                        "age": 0,
                    }
                )
        if hostile:
            texts = ("question", "expert", "policy", "policy_thought", "critic_thought", "verdict", "outcome")
            rows[0] |= dict.fromkeys(texts, HOSTILE)
        write_atomic(self.run / "train" / "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def evaluate(self, _: int) -> dict[str, Any]:
        sampled = {"base": 0.147, "warmstart": 0.151, "candidate": 0.384, "champion": 0.331, "sft": 0.212}
        greedy = {"base": 0.192, "warmstart": 0.195, "candidate": 0.301, "champion": 0.274, "sft": 0.268}
        for done in range(0, 20_001, 1000):
            self.now += 3.4
            self.event("evaluate", "progress", done=done, total=20_000, text="base, greedy")
        report = {
            "benchmark": "countdown",
            "n": 2000,
            "samples": SAMPLES,
            "greedy": {arm: _interval(p, 0.019) for arm, p in greedy.items()},
            "sampled": {arm: _interval(p, 0.02) for arm, p in sampled.items()},
            "paired": {
                f"candidate-{arm}": {
                    "greedy": _interval(greedy["candidate"] - greedy[arm], 0.024),
                    "sampled": _interval(sampled["candidate"] - sampled[arm], 0.024),
                }
                for arm in sampled
                if arm != "candidate"
            },
            "well_formed": {"base": 0.931, "warmstart": 0.982, "candidate": 0.994, "champion": 0.991, "sft": 1.0},
            "tokens": {"base": 208_113, "warmstart": 211_870, "candidate": 262_004, "champion": 259_331, "sft": 31_006},
            "seconds": 73.1,
            **drawn()[0],
            **evidence(),
        }
        self.write("evaluate", "evaluation.json", report)
        return {"greedy": greedy["candidate"], "sampled": sampled["candidate"]}

    def items(self, show_text: bool, hostile: bool) -> None:
        rows = [dict(row) for row in drawn()[1]]
        if hostile:
            rows[0] |= {"question": HOSTILE, "expert": HOSTILE, "answers": dict.fromkeys(rows[0]["answers"], HOSTILE)}
            rows[0]["strata"] = {"difficulty": HOSTILE}
        if not show_text:
            rows = [{key: row[key] for key in ("greedy", "sampled", "strata")} for row in rows]
        write_atomic(self.run / "evaluate" / "items.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def decide(self, decision: str) -> dict[str, Any]:
        low = "The candidate's sampled score of 38.4 % is 23.3 points above the warm start's 15.1 %"
        last = {
            "promote": "It becomes champion.",
            "hold": "It is held as challenger, for a person to promote: the gain may be chance.",
        }
        reasons = [
            f"{low} (95 % interval +20.9 to +25.7), and the low end passes the 0.0 required.",
            "The candidate's sampled score of 38.4 % is 5.3 points above the champion's 33.1 % (95 % interval +2.9 to +7.7), "
            "and the low end passes the 0.0 required.",
            last.get(decision, "It is rejected, and nothing is registered."),
        ]
        evaluation = json.loads((self.run / "evaluate" / "evaluation.json").read_text())
        _, _, evidence = gates.decide(evaluation, self.config.gate)
        self.write("decide", "decision.json", {"decision": decision, "reasons": reasons, "evidence": evidence})
        write_json(self.run / "evaluation.json", {**evaluation, "decision": decision})
        return {"decision": decision}

    def register(self, decision: str) -> dict[str, Any]:
        alias = "champion" if decision == "promote" else "challenger"
        registration = {
            "model": "countdown-mini",
            "version": "4",
            "alias": alias,
            "uri": f"models:/countdown-mini@{alias}",
            "source": "runs:/made-up/model",
            "root": digest_text("model"),
            "run_id": "0f3c5e7a9b1d4f60",
        }
        self.write("register", "registration.json", registration)
        return {key: registration[key] for key in ("model", "version", "alias", "root")}

    def record(self, decision: str) -> dict[str, Any]:
        outcome = "nothing-new" if decision == "nothing-new" else "reject"
        self.write(
            "record", "record.json", {"outcome": outcome, "reasons": ["Nothing is new: the demonstrations are the champion's."]}
        )
        return {"outcome": outcome}


def _interval(mean: float, half: float) -> list[float]:
    return [mean, mean - half, mean + half]


if __name__ == "__main__":
    made = make(sys.argv[1])
    from raro.report.page import write

    print(write(made))
