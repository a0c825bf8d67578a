"""The other end of a run: nothing is registered, and why is written down; of a rejected candidate in the audit log, too."""

from __future__ import annotations

from pathlib import Path

from ..config import Config
from ..registry.rejection import reject
from ..storage import MANIFEST, manifest, read_json, write_json
from ..tracking import server
from .harness import Step

NOTHING_NEW = "Nothing is new: the demonstrations, the base and the configuration are those the champion was made from."
SETTLED = "Nothing is new: the demonstrations, the base and the configuration are those of {}. Another seed tries again."


def run(config: Config, run: Path) -> dict:
    """From the decision, or from ingest's verdict where nothing was trained, to STEP/record.json: {"outcome", "reasons"}.
    Raises ServiceFailed where the audit log cannot be written."""
    with Step("record", config, run) as step:
        if step.skipped:
            return step.outputs
        if step.has("decide"):
            decision = read_json(step.input("decide") / "decision.json")
            outcome, reasons = decision["decision"], decision["reasons"]
            if server.installed():
                evaluation = read_json(step.input("evaluate") / "evaluation.json")
                candidate = manifest(step.input("train") / "model")["root"]
                step.outputs["audit_head"] = reject(config, run, candidate, evaluation, decision)
        else:
            earlier = read_json(step.input("ingest") / MANIFEST)["outputs"].get("settled")
            outcome, reasons = "nothing-new", [SETTLED.format(earlier) if earlier else NOTHING_NEW]
        write_json(step.folder / "record.json", {"outcome": outcome, "reasons": reasons})
        for reason in reasons:
            step.events.note(reason)
        step.outputs["outcome"] = outcome
        return step.outputs
