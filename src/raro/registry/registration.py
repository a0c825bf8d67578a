"""Registering: the model's folder dressed (card, provenance, bill of materials, manifest, signature), uploaded once, read back,
entered into the audit log, and only then given its alias.

Each part finds what an earlier try has done, so that a repeated call completes and nothing is registered twice. An alias is
moved by the log alone (desk.py): a version whose files were not read back whole, or that the log does not know, is never
champion.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..errors import BadInput, GateRefused
from ..storage import (
    MANIFEST,
    SIGNATURE,
    canonical,
    digest_text,
    manifest,
    read_json,
    verify,
    write_atomic,
    write_json,
    writing,
)
from ..tracking import server
from ..tracking.results import scores
from ..tracking.runs import open_run
from ..tracking.state import Tracked
from . import bom, gates, log, provenance, ruling, signature
from .bases import base_digest
from .call import spoken
from .card import card
from .desk import Desk, signer_of, standing
from .folder import inspect
from .keys import Key
from .log import PIPELINE, root_of
from .models import ALIASES, BEGUN, candidate_of, checked, files
from .upload import Candidate, Progress, existing, upload

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

UNCOMPARED = "It waits as challenger: version {n} is the champion, and it was not compared with that one (raro promote)."
NEEDS_PEOPLE = "It waits as challenger: {n} must approve (raro promote)."


def register(
    config: Config,
    run: Path,
    model: Path,
    data: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    decision: Mapping[str, Any],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Registers the model folder of this run under the alias its decision earns, and returns registration.json.

    data, evaluation, decision: what ingest, evaluate and decide wrote. progress: called with (bytes sent, bytes in all). Doing
    it again for the same run and the same files gives the same version. Raises BadInput where the policy requires a key that
    is not given, GateRefused where files are not what their manifest says or the base has changed since training,
    ServiceFailed where the registry fails.
    """
    candidate = Candidate(config, run, model, data, evaluation, decision, progress)
    policy, key = signer_of(config)
    ruling.checked(config, run, evaluation, decision)
    base = _base(config, run)
    with _alone(run):
        tracked = open_run(config, run)
        desk = Desk(tracked.client, tracked.uri, config.registry.model, run, config, policy)
        desk.check_own()
        with _dressed(candidate, tracked, base, key) as folder:
            listing = read_json(folder / MANIFEST)
            verify(folder, listing)
            digests = {
                "raro.root": listing["root"],
                "raro.config_digest": config.digest,
                "raro.data_digest": data["digest"],
                "raro.base_digest": base,
            }
            with server.speaking(tracked.uri):
                version = existing(tracked, config.registry.model, listing["root"])
                if version is None:
                    tags = {**digests, **spoken(config), "raro.decision": decision["decision"]}
                    tags["raro.registered_at"] = datetime.now(UTC).isoformat()
                    if key:
                        tags["raro.signed_by"] = key.id
                    version = upload(desk, candidate, tracked, folder, listing["root"], tags)
        with tempfile.TemporaryDirectory(prefix=".verify-", dir=run) as scratch, server.speaking(tracked.uri):
            back = files(tracked.client, tracked.uri, version, run, Path(scratch))
            checked(version, back)
            inspect(back)
            if key and version.tags.get("raro.signed_by") == key.id:
                signature.verify(back, read_json(back / MANIFEST), key.public)
        write_json(run / BEGUN, {"root": listing["root"], "candidate": candidate_of(run)})  # from here on it may be champion
        _keep_evidence(tracked, run)
        records = _enter(desk, tracked, candidate, version, key)
    alias = next((alias for alias, number in standing(records).items() if number == str(version.version)), "")
    with server.speaking(tracked.uri):
        tracked.client.set_tag(
            tracked.run_id, "raro.registered", f"{desk.model} version {version.version}, {alias or 'followed by another'}"
        )
    return {
        "model": desk.model,
        "version": str(version.version),
        "alias": alias or ALIASES[decision["decision"]],
        "uri": f"models:/{desk.model}@{alias or ALIASES[decision['decision']]}",
        "source": version.source,
        "root": listing["root"],
        "run_id": tracked.run_id,
        "tracking": server.shown(tracked.uri),
        "registered_at": version.tags["raro.registered_at"],
        "signed_by": version.tags.get("raro.signed_by", ""),
        "audit_head": records[-1].head,
        **{key.removeprefix("raro."): value for key, value in digests.items() if key != "raro.root"},
    }


# ------------------------------------------------------------------------------------------------------------- the folder


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Two registrations of one run follow each other, and the second finds what the first has made; what a killed one left of
    the model's files in the run's folder is removed."""
    with writing(run), open(run / ".lock-register", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in (*run.glob(".register-*"), *run.glob(".verify-*")):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _base(config: Config, run: Path) -> str:
    """The base's digest. Raises GateRefused where it is not the one that the warm start read."""
    now, trained = base_digest(config, run), run / "warmstart" / MANIFEST
    read = read_json(trained).get("given", {}).get("base", now) if trained.is_file() else now
    if read != now:
        raise GateRefused(
            f"the base '{config.base.uri}' is not the one that was trained from: {read[:12]}, now {now[:12]}",
            "restore it, or run again with --from warmstart",
        )
    return now


@contextmanager
def _dressed(candidate: Candidate, tracked: Tracked, base: str, key: Key | None) -> Iterator[Path]:
    """The model's files with all that speaks of them, in a folder that lasts as long as the block; weights are linked."""
    config, run, data = candidate.config, candidate.run, candidate.data
    inspect(candidate.model)
    with tempfile.TemporaryDirectory(prefix=".register-", dir=run) as scratch, writing(run):
        folder = Path(scratch) / "model"
        made = (MANIFEST, SIGNATURE, provenance.FILE, bom.FILE)
        shutil.copytree(candidate.model, folder, copy_function=_link, ignore=shutil.ignore_patterns(*made))
        (folder / "README.md").unlink(missing_ok=True)
        write_atomic(folder / "README.md", card(config, data, candidate.evaluation, candidate.decision))
        where = server.shown(tracked.uri) if not server.local(tracked.uri) else "the run's folder"
        write_json(folder / provenance.FILE, provenance.statement(config, run, folder, data, base, tracked.run_id, where))
        if bom.available():
            write_atomic(folder / bom.FILE, bom.bom(config, run, folder, data, base, scores(dict(candidate.evaluation))))
        write_json(folder / MANIFEST, manifest(folder))
        if key:
            signature.sign(folder, read_json(folder / MANIFEST), key)
        yield folder


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
    return target


def _keep_evidence(tracked: Tracked, run: Path) -> None:
    """What an audit reads again, among the run's artifacts; the mirror sends it too, but perhaps later."""
    with server.speaking(tracked.uri):
        for name in provenance.evidence(run):
            tracked.client.log_artifact(tracked.run_id, str(run / name), provenance.above(name))


# ----------------------------------------------------------------------------------------------------------------- the log


def _enter(desk: Desk, tracked: Tracked, candidate: Candidate, version: ModelVersion, key: Key | None) -> list[log.Record]:
    """Enters registered, evaluated and what was decided, each once, and lets the aliases follow."""
    desk.begin(tracked.experiment)
    number, evaluation, decision = str(version.version), candidate.evaluation, candidate.decision
    facts = registered_facts(version, candidate.run)
    earned, reasons = ALIASES[decision["decision"]], list(decision["reasons"])
    if earned == "champion" and desk.policy.approvals:
        earned = "challenger"
        reasons[-1] = NEEDS_PEOPLE.format(n=_people(desk.policy.approvals))

    def once(action: str, body: Mapping[str, Any]) -> None:
        desk.append(lambda records: None if _has(records, action, number) else log.Draft(action, number, PIPELINE, body), key)

    def registered(records: Sequence[log.Record]) -> log.Draft | None:
        found = [record.body for record in records if (record.action, record.version) == ("registered", number)]
        if others := [one for one in found if any(one.get(key) != facts[key] for key in ("root", "run_id"))]:
            run_id = str(others[0].get("run_id", "none"))[:8]
            line = f"the audit log of '{desk.model}' has another version {number} already, of run {run_id}"
            raise BadInput(line, "two MLflows share it: name one as tracking.uri for all runs, or another registry.store")
        return None if found else log.Draft("registered", number, PIPELINE, facts)

    desk.append(registered, key)
    once("evaluated", judged(evaluation, decision))
    root, rival = version.tags["raro.root"], decision["evidence"].get("champion")

    def decided(records: Sequence[log.Record]) -> log.Draft | None:
        if _has(records, "held", number) or _has(records, "promoted", number):
            return None
        if number in log.deleted(records):
            raise GateRefused(f"version {number} was deleted meanwhile", "raro audit show tells by whom, and why")
        before, action, told = standing(records).get("champion", ""), "promoted" if earned == "champion" else "held", reasons
        if action == "promoted" and before and root_of(records, before) not in (rival, root):
            action, told = "held", [*reasons[:-1], UNCOMPARED.format(n=before)]  # another run was first, or the alias was moved
        return log.Draft(action, number, PIPELINE, {"root": root, "reasons": shortened(told), "before": before})

    desk.append(decided, key)
    return desk.settle()


def judged(evaluation: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
    """What the log holds of an evaluation and what the gate made of it."""
    return {
        "benchmark": evaluation.get("benchmark"),
        "n": evaluation.get("n"),
        "decision": decision["decision"],
        ruling.KEY: gates.RULES,
        "metrics": digest_text(canonical(scores(dict(evaluation)))),
        "sampled": evaluation.get("sampled", {}),
    }


def shortened(reasons: Sequence[str]) -> list[str]:
    """Of the gate's reasons what fits into a record."""
    return [reason[:400] for reason in reasons[:8]]


def registered_facts(version: ModelVersion, run: Path | None) -> dict[str, Any]:
    """What the log holds of a version, so that no tag of it can be changed unseen."""
    return {
        "root": version.tags.get("raro.root", ""),
        "source": version.source,
        "run_id": version.run_id,
        "tags": {key: value for key, value in version.tags.items() if key.startswith("raro.")},
        "description": digest_text(version.description or ""),
        **({"evidence": provenance.evidence(run)} if run else {}),
    }


def _has(records: Sequence[log.Record], action: str, number: str) -> bool:
    return any((record.action, record.version) == (action, number) for record in records)


def _people(n: int) -> str:
    return "a person" if n == 1 else f"{n} people"
