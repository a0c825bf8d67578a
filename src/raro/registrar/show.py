"""The audit in words, for a terminal and as JSON. Much of it was written by whoever may write to the store and to MLflow: each
line is made printable, so that none of it can stand on a line of its own, or write over another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import printable
from ..registry.findings import Audit
from ..registry.log import Record

MARKS = {"ok": "✓", "broken": "✗", "absent": "–"}


def tree(made: Audit) -> str:
    """The chain with a mark for each link, every break below its link."""
    lines = [f"{made.reference} is version {made.number}"]
    for at, check in enumerate(made.checks):
        last = at == len(made.checks) - 1
        lines.append(f"{'└' if last else '├'}─ {MARKS[check.state]} {check.name:<11} {check.detail}".rstrip())
        told = [*check.breaks, *([f"remedy: {check.remedy}"] if check.remedy else []), *(f"note: {one}" for one in check.notes)]
        lines += [f"{' ' if last else '│'}     {one}" for one in told]
    return "\n".join(map(printable, lines))


def verdict(made: Audit) -> str:
    """One line: whole, or how many breaks; and that it is unsigned where it is."""
    if not made.whole:
        broken = [check.name for check in made.checks if check.breaks]
        return f"BROKEN: {len(made.breaks)} breaks, in {', '.join(broken)}"
    absent = [check.name for check in made.checks if check.state == "absent"]
    signed = all(record.signatures for record in made.records)
    noted = [check.name for check in made.checks if check.notes]
    whole = f"whole, but for what was not recorded (see {', '.join(noted)})" if noted else "whole"
    if absent or not signed:
        return f"{whole}; unsigned, so it says that nothing changed by accident, not who made it"
    return whole if noted else f"{whole}: every link holds"


def as_json(made: Audit) -> dict[str, Any]:
    """The same for programs."""
    return {
        "model": made.desk.model,
        "version": made.number,
        "whole": made.whole,
        "head": made.records[-1].head if made.records else "",
        "checks": [
            {key: getattr(check, key) for key in ("name", "state", "detail", "breaks", "notes", "remedy")}
            for check in made.checks
        ],
    }


def story(made: Audit) -> str:
    """What a person asks of a version: from what, by whom, when, on what evidence; then the log."""
    lines = [f"{made.desk.model} version {made.number}: {verdict(made)}", ""]
    lines += [f"  {label:<16}{value}" for label, value in facts(made) if value]
    lines += ["", "  log"]
    lines += [f"  {record.seq:>4}  {record.time[:19]}Z  {sentence(record)}" for record in made.records]
    lines += ["", f"  head  {made.records[-1].head}" if made.records else "  no log"]
    return "\n".join(map(printable, lines))


def facts(made: Audit) -> Iterator[tuple[str, str]]:
    """(what, value) lines on where the version came from."""
    tags, said = made.version.tags, made.found.get("said", {})
    told, data = made.found.get("evaluation", {}), made.found.get("data", {})
    yield "files", made.version.source
    yield "root", tags.get("raro.root", "")
    yield "base", f"{_config(made, 'base', 'uri')} {tags.get('raro.base_digest', '')[:16]}"
    rows = ", ".join(f"{n:,} {split}" for split, n in data.get("splits", {}).items())
    yield "demonstrations", f"{_config(made, 'demonstrations', 'source')} {tags.get('raro.data_digest', '')[:16]} {rows}"
    yield "configuration", f"{made.found.get('config', {}).get('name', '')} {tags.get('raro.config_digest', '')[:16]}"
    yield "source", str(said.get("dependencies", {}).get("source", {}).get("gitCommit", ""))
    yield "run", made.version.run_id
    if told:
        mean, low, high = (100 * value for value in told["sampled"]["candidate"])
        yield "sampled score", f"{mean:.1f} % ({low:.1f} to {high:.1f}), {told.get('n')} problems of {told.get('benchmark')}"
    for reason in made.found.get("decision", {}).get("reasons", []):
        yield "evidence", reason


def sentence(record: Record) -> str:
    """A record in words."""
    who = record.actor + ("" if record.signatures else " (unsigned)")
    about = {
        "registered": "was registered",
        "evaluated": "was evaluated",
        "held": "was held as challenger",
        "rejected": "was rejected, and is not registered",
        "approved": "was approved",
        "promoted": "became champion",
        "rolled back": "became champion again",
        "deleted": "was deleted",
        "erasure": "holds rows that must be erased",
        "legal hold": "must be kept" if record.body.get("on", True) else "no longer needs to be kept",
    }.get(record.action, record.action)
    why = record.body.get("reason") or ""
    what = f"version {record.version}" if record.version else f"the candidate of run {str(record.body.get('run_id', ''))[:8]}"
    return f"{what} {about}, by {who}" + (f": {why}" if why else "")


def _config(made: Audit, section: str, key: str) -> str:
    return str(made.found.get("config", {}).get(section, {}).get(key, ""))
