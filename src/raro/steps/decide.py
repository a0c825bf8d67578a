"""The decision: promote, hold or reject, with its reasons. Reads figures only; the rule is in registry/gates.py."""

from __future__ import annotations

from pathlib import Path

from ..config import Config
from ..registry import gates, ruling
from ..storage import read_json, write_json
from . import incumbent
from .harness import Step

EVALUATION = "evaluation.json"


def run(config: Config, run: Path) -> dict:
    """From evaluate/evaluation.json to STEP/decision.json, and to RUN/evaluation.json, which holds the decision as well."""
    with Step("decide", config, run) as step:
        if step.skipped:
            return step.outputs
        evaluation = read_json(step.input("evaluate") / EVALUATION)
        incumbent.check_asked(config, run)
        decision, reasons, evidence = gates.decide(evaluation, config.gate, gates.asked_by(config))
        if (met := ruling.met(run)) is not None:
            evidence["champion"] = met
        write_json(step.folder / "decision.json", {"decision": decision, "reasons": reasons, "evidence": evidence})
        write_json(run / EVALUATION, {**evaluation, "decision": decision})
        for reason in reasons:
            step.events.note(reason)
        step.outputs["decision"] = decision
        return step.outputs
