"""Registration: the candidate becomes a version in MLflow, champion when it was promoted, challenger when it is held."""

from __future__ import annotations

from pathlib import Path

from ..config import Config
from ..errors import GateRefused
from ..registry.models import ALIASES, REGISTRATION
from ..registry.registration import register
from ..storage import read_json, write_json
from .harness import Step


def run(config: Config, run: Path) -> dict:
    """From train/model and the decision to a registered version and STEP/registration.json. Raises GateRefused for a rejected
    candidate, ServiceFailed where the registry does not answer: unlike metrics, a registration is never put off."""
    with Step("register", config, run) as step:
        if step.skipped:
            return step.outputs
        data = read_json(step.input("ingest") / "data.json")
        evaluation = read_json(step.input("evaluate") / "evaluation.json")
        decision = read_json(step.input("decide") / "decision.json")
        if decision["decision"] not in ALIASES:
            raise GateRefused(
                "a rejected candidate is not registered", f"its reasons are in '{run / 'decide' / 'decision.json'}'"
            )

        def sent(done: int, total: int) -> None:
            step.events.progress(done >> 20, max(1, total >> 20), "MiB sent")

        registration = register(config, run, step.input("train") / "model", data, evaluation, decision, sent)
        write_json(step.folder / Path(REGISTRATION).name, registration)
        step.events.note("registered as {model} version {version}, {alias}".format(**registration))
        step.outputs |= {key: registration[key] for key in ("model", "version", "alias", "root")}
        return step.outputs
