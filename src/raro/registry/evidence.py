"""The links of the audit's chain that rest on the run: the run itself, its data, configuration, evaluation and decision. Each
reads what the run keeps of it, compares that with what the version, the provenance and the log say, and names every break.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from ..errors import GateRefused
from ..storage import canonical, digest_file, digest_text, read_json
from ..tracking import server
from ..tracking.results import scores
from . import log, models, provenance, ruling
from .desk import Desk
from .findings import Audit, Check, approvals_needed, approvers, since, what_happened


def run(made: Audit, check: Check) -> None:
    desk, run_id = made.desk, made.version.run_id
    with server.speaking(desk.uri):
        found = models.lookup(desk.client.get_run, run_id)
    if found is None:
        raise GateRefused(f"run {run_id} no longer exists")
    check.detail = f"{found.info.run_name} ({run_id[:8]})"
    if found.info.lifecycle_stage != "active":
        check.breaks.append(f"run {run_id} was deleted")
    made.found["run"] = found
    digest = found.data.tags.get("raro.config_digest")
    if digest != made.version.tags.get("raro.config_digest"):
        check.breaks.append("the run's tag raro.config_digest is not the version's")
    kept = made.found.get("facts", {}).get("evidence", {})
    said = made.found.get("said", {}).get("evidence", kept)  # a provenance that is not there contradicts nothing
    if kept != said:
        check.breaks.append("the log and the provenance name different evidence")
    made.found["evidence"] = whole = {}
    for name, expected in sorted((kept or said).items()):
        if name not in provenance.EVIDENCE:  # a path into whatever else lies there, and out of an exported archive
            check.breaks.append(f"'{name}' is no evidence of a run")
            continue
        path = _artifact(desk, found, name, made.scratch)
        if path is None:
            check.breaks.append(f"the run holds no {name} any more")
        elif digest_file(path) != expected:
            check.breaks.append(f"{name} of the run was replaced: its sha256 is not the one that was registered")
        else:
            whole[name] = path


def _artifact(desk: Desk, run: Any, name: str, scratch: Path) -> Path | None:
    """A file of the run's artifacts, here; None where it is not there."""
    parts = urlparse(run.info.artifact_uri)
    if parts.scheme in ("", "file"):
        path = models.moved(Path(unquote(parts.path)), desk.home) / name
        return path if path.is_file() else None
    with server.speaking(desk.uri):
        if name not in {one.path for one in desk.client.list_artifacts(run.info.run_id, provenance.above(name))}:
            return None
        (scratch / "evidence").mkdir(exist_ok=True)
        return Path(desk.client.download_artifacts(run.info.run_id, name, str(scratch / "evidence")))


def _evidence(made: Audit, name: str) -> Any:
    """What an evidence file holds, where it is the registered one."""
    path = made.found.get("evidence", {}).get(name)
    if path is None:
        raise GateRefused(f"{name} cannot be compared: it is missing, or not the one that was registered")
    return read_json(path)


def data(made: Audit, check: Check) -> None:
    told = _evidence(made, "ingest/data.json")
    made.found["data"] = told
    check.detail = f"digest {told['digest'][:12]}, " + ", ".join(
        f"{n:,} {split}" for split, n in told.get("splits", {}).items()
    )
    if told["digest"] != made.version.tags.get("raro.data_digest"):
        check.breaks.append("the data manifest is not that of the version's tag raro.data_digest")


def config(made: Audit, check: Check) -> None:
    told = _evidence(made, "config.json")
    digest = digest_text(canonical(told))  # of the text as it was recorded: a later release may know more keys
    made.found["config"] = told
    check.detail = f"{told.get('name')}, seed {told.get('seed')}, digest {digest[:12]}"
    if digest != made.version.tags.get("raro.config_digest"):
        check.breaks.append("the configuration is not that of the version's tag raro.config_digest")
    if (said := made.found.get("said")) and said["config"] != told:
        check.breaks.append("the provenance states another configuration")


def evaluation(made: Audit, check: Check) -> None:
    told = _evidence(made, "evaluation.json")
    made.found["evaluation"] = told
    measured, ran = scores(told), made.found["run"]
    candidate = told.get("sampled", {}).get("candidate", [float("nan")])[0]
    check.detail = f"{told.get('n')} problems of {told.get('benchmark')}, sampled {100 * candidate:.1f} %"
    for where, metrics in (("the run", ran.data.metrics), ("the logged model", _model_metrics(made))):
        if off := sorted(name for name, value in measured.items() if metrics is not None and metrics.get(name) != value):
            check.breaks.append(f"{where}'s metric {off[0]} is not what was evaluated ({len(off)} differ)")
    judged = [r for r in made.records if (r.action, r.version) == ("evaluated", made.number)]
    if not judged:
        check.breaks.append("the log has no evaluation of this version")
    elif judged[-1].body["metrics"] != digest_text(canonical(measured)) or judged[-1].body["sampled"] != told.get(
        "sampled", {}
    ):
        check.breaks.append("the log's scores are not those of evaluation.json")


def _model_metrics(made: Audit) -> Mapping[str, float] | None:
    model_id = made.version.tags.get("raro.model_id")
    if not model_id:
        return None
    with server.speaking(made.desk.uri):
        logged = models.lookup(made.desk.client.get_logged_model, model_id)
    if logged is None:
        raise GateRefused(f"the logged model {model_id} no longer exists")
    return {metric.key: metric.value for metric in logged.metrics or ()}


def decision(made: Audit, check: Check) -> None:
    told = _evidence(made, "decide/decision.json")
    made.found["decision"] = told
    mine = [record for record in made.records if record.version == made.number]
    check.detail = f"{told['decision']}; {what_happened(mine)}"
    if told["decision"] != made.version.tags.get("raro.decision"):
        check.breaks.append("decision.json is not what the version's tag raro.decision says")
    if not any(record.action in ("held", "promoted") for record in mine):
        check.breaks.append("the log has no decision on this version")
    for record in mine:
        before = [one.action for one in mine if one.seq < record.seq]
        if record.action == "rolled back" and "promoted" not in before:
            check.breaks.append(f"record {record.seq} rolls back to a version that was never champion")
        if record.action == "promoted":
            check.breaks += _unapproved(made, record, told["decision"])
    settings, figures = _evidence(made, "config.json"), _evidence(made, "evaluation.json")
    breaks, lacks = ruling.audited(made.records, made.number, settings, figures, told)
    check.breaks += breaks
    if lacks:
        check.notes.append(f"an older release decided, and did not record all that the gate rests on now: {', '.join(lacks)}")
    check.detail += "; the same by the gate, computed again" * (not breaks)


def _unapproved(made: Audit, promoted: log.Record, decision: str) -> list[str]:
    """What a promotion lacks."""
    before = [one for one in made.records if one.seq < promoted.seq]
    people = approvers(since(before, made.number), made.number, made.version.tags.get("raro.root", ""))
    needed = approvals_needed(made)
    if len(people) < needed:
        return [f"record {promoted.seq} promotes with {len(people)} approvals, {needed} are needed"]
    if not people and decision != "promote":
        return [f"record {promoted.seq} promotes what was held, and nobody approved"]
    return []
