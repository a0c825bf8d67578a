"""`raro audit show --html`: one page on a registered version: is it whole, where did it come from, what happened to it, on what
evidence. One file, nothing is fetched when it is opened, no script in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..registry.findings import Audit
from ..report.template import rendered
from ..storage import write_atomic
from . import show

WIDTH, HEIGHT = 232, 66  # of a box of the lineage, in pixels
COLUMNS = (0, 306, 612, 918)
GAP = 18
STATES = {"ok": ("✓", "holds"), "broken": ("✗", "broken"), "absent": ("–", "not there")}
TONES = {
    "registered": "plain", "evaluated": "plain", "held": "hold", "rejected": "hold", "approved": "good", "promoted": "good",
    "rolled back": "hold", "deleted": "bad", "erasure": "bad", "legal hold": "hold",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Box:
    """A thing that the model came from, or became. state: of the link that speaks of it."""

    name: str
    title: str
    detail: str
    digest: str
    state: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Arrow:
    """From the right edge of a box to the left edge of another."""

    path: str


def write(made: Audit, target: Path) -> Path:
    """Writes the page, whole or not at all, and returns its path."""
    return write_atomic(target, rendered("raro.registrar", "audit.html", content(made)))


def content(made: Audit) -> dict[str, Any]:
    """Everything that the template shows."""
    boxes = lineage(made)
    evaluation = made.found.get("evaluation", {})
    return {
        "model": made.desk.model,
        "number": made.number,
        "aliases": sorted(alias for alias, number in made.desk.aliases().items() if number == made.number),
        "whole": made.whole,
        "tone": "good" if made.whole else "bad",
        "verdict": show.verdict(made),
        "breaks": made.breaks,
        "checks": [(check, *STATES[check.state]) for check in made.checks],
        "boxes": boxes,
        "arrows": arrows(boxes),
        "width": COLUMNS[-1] + WIDTH,
        "height": max(box.y for box in boxes) + HEIGHT,
        "box_width": WIDTH,
        "box_height": HEIGHT,
        "records": [
            (record, TONES.get(record.action, "bad"), show.sentence(record), _rests_on(record.body)) for record in made.records
        ],
        "head": made.records[-1].head if made.records else "",
        "scores": scores(evaluation),
        "n": evaluation.get("n"),
        "benchmark": evaluation.get("benchmark", ""),
        "reasons": made.found.get("decision", {}).get("reasons", []),
        "facts": [(label, value) for label, value in show.facts(made, made.version.tags, made.found.get("said", {})) if value],
        "files": made.found.get("listing", {}).get("files", []),
        "names": {one.key.id: one.name for one in made.desk.policy.keys},
    }


def lineage(made: Audit) -> list[Box]:
    """The boxes: what went in, the run, the files, what stands."""
    tags, said, config = made.version.tags, made.found.get("said", {}), made.found.get("config", {})
    state = {check.name: check.state for check in made.checks}
    splits = made.found.get("data", {}).get("splits", {})
    dependencies: Mapping[str, Any] = said.get("dependencies", {})
    source = dependencies.get("source", {}).get("gitCommit", "")
    base, name = str(config.get("base", {}).get("uri", "")), str(config.get("name", ""))
    rows = ", ".join(f"{n:,} {split}" for split, n in splits.items())
    revision = "revision of the code" if source else "revision not recorded"
    inputs = [
        ("demonstrations", "Demonstrations", rows, tags.get("raro.data_digest", ""), state["data"]),
        ("base", "Base model", base, tags.get("raro.base_digest", ""), state["provenance"]),
        ("config", "Configuration", name, tags.get("raro.config_digest", ""), state["config"]),
        ("source", "Source", revision, source, state["provenance"] if source else "absent"),
    ]
    told = made.found.get("evaluation")
    score = f"sampled {100 * told['sampled']['candidate'][0]:.1f} %" if told else ""
    listing = made.found.get("listing", {}).get("files", [])
    size = sum(file["size"] for file in listing) / 2**20
    stands = ", ".join(sorted(a for a, n in made.desk.aliases().items() if n == made.number)) or "no alias"
    middle = ((HEIGHT + GAP) * len(inputs) - GAP - HEIGHT) // 2
    upper, lower = middle - (HEIGHT + GAP) // 2, middle + (HEIGHT + GAP) // 2
    boxes = [Box(*one, COLUMNS[0], at * (HEIGHT + GAP)) for at, one in enumerate(inputs)]
    boxes += [
        Box("run", "Run", "in MLflow", made.version.run_id, state["run"], COLUMNS[1], middle),
        Box(
            "files",
            "Model files",
            f"{len(listing)} files, {size:,.1f} MiB",
            tags.get("raro.root", ""),
            state["files"],
            COLUMNS[2],
            upper,
        ),
        Box("evaluation", "Evaluation", score, "", state["evaluation"], COLUMNS[2], lower),
        Box("version", f"Version {made.number}", stands, tags.get("raro.root", ""), state["registry"], COLUMNS[3], upper),
        Box("decision", "Decision", _decided(made), "", state["decision"], COLUMNS[3], lower),
    ]
    return boxes


def arrows(boxes: list[Box]) -> list[Arrow]:
    """Curves between the boxes."""
    at = {box.name: box for box in boxes}
    pairs = [(name, "run") for name in ("demonstrations", "base", "config", "source")]
    pairs += [
        ("run", "files"),
        ("run", "evaluation"),
        ("files", "version"),
        ("evaluation", "decision"),
        ("decision", "version"),
    ]
    found = []
    for start, end in pairs:
        one, other = at[start], at[end]
        if one.x == other.x:  # upwards within a column
            middle = one.x + WIDTH // 2
            found.append(Arrow(f"M{middle},{one.y} L{middle},{other.y + HEIGHT + 7}"))
            continue
        x, y, to_x, to_y = one.x + WIDTH, one.y + HEIGHT // 2, other.x - 7, other.y + HEIGHT // 2
        bend = (to_x - x) // 2
        found.append(Arrow(f"M{x},{y} C{x + bend},{y} {to_x - bend},{to_y} {to_x},{to_y}"))
    return found


def scores(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{"arm", "mean", "low", "high"} in percent, the candidate first."""
    order = ("candidate", "champion", "sft", "warmstart", "base")
    sampled = evaluation.get("sampled", {})
    names = {
        "candidate": "this version",
        "champion": "champion before",
        "sft": "SFT",
        "warmstart": "warm start",
        "base": "base",
    }
    return [
        {"arm": names[arm], "mean": 100 * sampled[arm][0], "low": 100 * sampled[arm][1], "high": 100 * sampled[arm][2]}
        for arm in order
        if arm in sampled
    ]


def _decided(made: Audit) -> str:
    told = made.found.get("decision", {})
    people = [record.actor for record in made.records if (record.action, record.version) == ("approved", made.number)]
    by = f"approved by {', '.join(dict.fromkeys(people))}" if people else "by the gate alone"
    return f"{told.get('decision', 'unknown')}; {by}"


def _rests_on(body: Mapping[str, Any]) -> list[str]:
    """What of a record's body a person reads."""
    lines = [str(reason) for reason in body.get("reasons", [])]
    if body.get("before"):
        lines.append(f"champion before: version {body['before']}")
    if body.get("approved"):
        lines.append(f"approved by {', '.join(body['approved'])}")
    if body.get("aliases_found"):
        lines.append(
            "aliases that stood elsewhere: " + ", ".join(f"{a} at {n or 'none'}" for a, n in body["aliases_found"].items())
        )
    if body.get("clock_behind_s"):
        lines.append(f"the writer's clock was {body['clock_behind_s']:,.0f} s behind the record before")
    if body.get("root"):
        lines.append(f"root {body['root'][:16]}")
    return lines
