"""`raro reproduce`: trains a registered model again from its recorded configuration and data, and says whether the same comes
out.

Bitwise equality is to be expected on the same kind of CPU with one thread and the recorded versions of the libraries; what
differs of them is said first. Nothing is registered, nothing is sent to MLflow.
"""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..agreement import conflicts
from ..config import Config, stored
from ..errors import BadInput, GateRefused
from ..registry.audit import audited
from ..registry.desk import Desk
from ..registry.provenance import FILE
from ..storage import digest_file, names, read_json

OLDER = "check out the revision that provenance names"
STEPS = ("preflight", "ingest", "warmstart", "train", "evaluate")


def reproduce(desk: Desk, standing_at: str, output: Path | None) -> int:
    """Prints what is compared, and returns 0 where everything is the same, 3 where not. Raises GateRefused where the version's
    audit finds a break, or base or data are others now."""
    with audited(desk, standing_at) as made:
        if not made.whole:
            raise GateRefused(f"{made.reference} cannot be reproduced: {made.breaks[0]}", "raro audit verify tells more")
        config = stored(made.found["config"])
        said = read_json(Path(made.found["path"]) / FILE)
        subject, evaluated = made.found["said"]["subject"], made.found["evaluation"]
        tags, reference = dict(made.version.tags), f"{desk.model} version {made.number}"
    if config.digest != tags["raro.config_digest"]:
        raise BadInput(
            f"{reference} was made by a release with other settings than this one",
            OLDER,
        )
    for line, _ in conflicts(config):
        raise BadInput(f"{reference} was made by a release with other rules than this one: {line}", OLDER)
    for line in _machine(said["predicate"]["buildDefinition"].get("internalParameters", {}), config):
        print(line)
    run = output or Path("runs") / f"reproduce-{desk.model}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    _again(config, run, tags)
    same = True
    again = {name: digest_file(run / "train" / "model" / name) for name in names(run / "train" / "model")}
    for name in sorted({*subject, *again} - {"README.md"}):
        equal = subject.get(name) == again.get(name)
        same &= equal
        print(f"{'same' if equal else 'DIFFERENT':<10}{name}")
    for line, equal in _scores(evaluated, read_json(run / "evaluate" / "evaluation.json")):
        same &= equal
        print(f"{'same' if equal else 'DIFFERENT':<10}{line}")
    print(f"{reference}: {'reproduced bit by bit' if same else 'NOT reproduced'}; the second run is in '{run}'")
    return 0 if same else 3


def _again(config: Config, run: Path, tags: Mapping[str, str]) -> None:
    from ..steps import run_step

    before = os.environ.get("RARO_TRACKING")
    os.environ["RARO_TRACKING"] = "off"
    try:
        for name in STEPS:
            print(f"... {name}", flush=True)
            outputs = run_step(name, config, run)
            if name == "ingest" and outputs["digest"] != tags["raro.data_digest"]:
                line = f"the demonstrations have changed: {outputs['digest'][:16]}, recorded {tags['raro.data_digest'][:16]}"
                raise GateRefused(line, "restore the sources that the data manifest names")
            if name == "warmstart" and read_json(run / name / "manifest.json")["given"]["base"] != tags["raro.base_digest"]:
                raise GateRefused(f"the base '{config.base.uri}' has changed", "restore it")
    finally:
        os.environ.pop("RARO_TRACKING") if before is None else os.environ.update(RARO_TRACKING=before)


def _machine(recorded: Mapping[str, Any], config: Config) -> Iterator[str]:
    """What differs from the machine that trained, as far as it is recorded."""
    for name, version in recorded.get("packages", {}).items():
        try:
            now = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            now = "not installed"
        if now != version:
            yield f"note      {name} is {now} here, was {version}"
    if recorded.get("device", "cpu") != "cpu":
        yield f"note      it was trained on {recorded['device']}: equal bits are not to be expected"
    if config.resources.threads * config.resources.processes > 1:
        yield "note      it was trained with several threads or processes: equal bits are not to be expected"


def _scores(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for how in ("greedy", "sampled"):
        for arm in ("base", "warmstart", "candidate"):
            if arm in then.get(how, {}):
                old, new = then[how][arm], now.get(how, {}).get(arm, [])
                yield f"{how} {arm}: {100 * old[0]:.2f} %" + ("" if old == new else f", now {100 * new[0]:.2f} %"), old == new
