"""`raro audit show --html`: one page on a registered version: is it whole, where did it come from, what happened to it, on what
evidence. One file, nothing is fetched when it is opened, no script in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..registry.findings import Audit
from ..report.template import rendered
from ..storage import write_atomic
from ..tracking import server
from . import lineage, show

STATES = {"ok": "holds", "broken": "broken", "absent": "not there"}
TONES = {
    "registered": "plain", "evaluated": "plain", "held": "hold", "rejected": "hold", "approved": "good", "promoted": "good",
    "rolled back": "hold", "deleted": "bad", "erasure": "bad", "legal hold": "hold",
}  # fmt: skip
ARMS = {"candidate": "this version", "champion": "champion before", "sft": "SFT", "warmstart": "warm start", "base": "base"}
"""What the table calls each arm, in its order."""


def write(made: Audit, target: Path) -> Path:
    """Writes the page, whole or not at all, and returns its path."""
    return write_atomic(target, rendered("raro.registrar", "audit.html", content(made)))


def content(made: Audit) -> dict[str, Any]:
    """Everything that the template shows. As of now: the page says when it was made."""
    evaluation = made.found.get("evaluation", {})
    return {
        "model": made.desk.model,
        "number": made.number,
        "aliases": sorted(alias for alias, number in made.desk.aliases().items() if number == made.number),
        "whole": made.whole,
        "tone": "good" if made.whole else "bad",
        "verdict": show.verdict(made),
        "read": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC from {server.shown(made.desk.uri)}, by RARO Pipelines {__version__}",
        "breaks": made.breaks,
        "checks": [(check, STATES[check.state]) for check in made.checks],
        "marks": show.MARKS,
        "pictures": lineage.pictures(made),
        "box": {"width": lineage.WIDTH, "height": lineage.HEIGHT},
        "records": [
            (record, TONES.get(record.action, "bad"), show.sentence(record), _rests_on(record.body)) for record in made.records
        ],
        "head": made.records[-1].head if made.records else "",
        "scores": scores(evaluation),
        "n": evaluation.get("n"),
        "benchmark": evaluation.get("benchmark", ""),
        "reasons": made.found.get("decision", {}).get("reasons", []),
        "facts": [(label, value) for label, value in show.facts(made) if value],
        "files": made.found.get("listing", {}).get("files", []),
        "names": {one.key.id: one.name for one in made.desk.policy.keys},
    }


def scores(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{"arm", "mean", "low", "high"} in percent, the candidate first."""
    sampled = evaluation.get("sampled", {})
    return [
        {"arm": name, "mean": 100 * sampled[arm][0], "low": 100 * sampled[arm][1], "high": 100 * sampled[arm][2]}
        for arm, name in ARMS.items()
        if arm in sampled
    ]


def _rests_on(body: Mapping[str, Any]) -> list[str]:
    """What of a record's body a person reads."""
    try:
        return list(_lines(body))
    except (LookupError, TypeError, ValueError, AttributeError):  # no release of ours wrote it
        return ["what it rests on cannot be read"]


def _lines(body: Mapping[str, Any]) -> Iterator[str]:
    yield from map(str, body.get("reasons", []))
    if candidate := body.get("sampled", {}).get("candidate"):
        yield f"sampled {100 * candidate[0]:.1f} % of {body.get('n')} problems of {body.get('benchmark')}"
    if body.get("before"):
        yield f"champion before: version {body['before']}"
    if body.get("approved"):
        yield f"approved by {', '.join(body['approved'])}"
    if body.get("aliases_found"):
        yield "aliases that stood elsewhere: " + ", ".join(f"{a} at {n or 'none'}" for a, n in body["aliases_found"].items())
    if body.get("clock_behind_s"):
        yield f"the writer's clock was {body['clock_behind_s']:,.0f} s behind the record before"
    if body.get("root"):
        yield f"root {body['root'][:16]}"
