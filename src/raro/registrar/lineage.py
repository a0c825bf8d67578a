"""The lineage of a registered version as a picture: from what went in, over the run, to what stands. Drawn side by side for a
wide window, and one below the other for a narrow one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..registry.findings import Audit

WIDTH, HEIGHT = 232, 66  # of a box, in pixels
GAP = 18  # between two rows
COLUMN = 305  # from one column to the next
GUTTER = 64  # beside the single column, for the curves
INPUTS = ("demonstrations", "base", "config", "source")
ARROWS = (
    *((name, "run") for name in INPUTS),
    ("run", "files"),
    ("run", "evaluation"),
    ("files", "version"),
    ("evaluation", "decision"),
    ("decision", "version"),
)
WIDE = {
    **{name: (0, at) for at, name in enumerate(INPUTS)},
    "run": (1, 1.5),
    "files": (2, 1),
    "evaluation": (2, 2),
    "version": (3, 1),
    "decision": (3, 2),
}
"""Column and row of each box."""
NARROW = (*INPUTS, "run", "files", "evaluation", "decision", "version")


@dataclass(frozen=True, slots=True)
class Box:
    """A thing that the model came from, or became. state: of the link that speaks of it. x, y: of its upper left corner."""

    name: str
    title: str
    detail: str
    digest: str
    state: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Picture:
    """width, height: in pixels. arrows: an SVG path each. kind: the window that it is for."""

    kind: str
    width: float
    height: float
    boxes: list[Box]
    arrows: list[str]


def pictures(made: Audit) -> list[Picture]:
    """The same for a wide window and for a narrow one."""
    wide = {name: (column * COLUMN, row * (HEIGHT + GAP)) for name, (column, row) in WIDE.items()}
    narrow = {name: (GUTTER, row * (HEIGHT + GAP)) for row, name in enumerate(NARROW)}
    return [_picture(made, kind, places) for kind, places in (("wide", wide), ("narrow", narrow))]


def _picture(made: Audit, kind: str, places: Mapping[str, tuple[float, float]]) -> Picture:
    boxes = [Box(name, *words, *places[name]) for name, words in _told(made).items()]
    at = {box.name: box for box in boxes}
    arrows = [_arrow(at[start], at[end]) for start, end in ARROWS]
    beside = GUTTER if kind == "narrow" else 0
    width, height = (max(getattr(box, axis) for box in boxes) for axis in ("x", "y"))
    return Picture(kind, width + WIDTH + beside, height + HEIGHT, boxes, arrows)


def _told(made: Audit) -> dict[str, tuple[str, str, str, str]]:
    """{box: (title, detail, digest, state)}: what went in, the run, the files, what stands."""
    tags, said, config = made.version.tags, made.found.get("said", {}), made.found.get("config", {})
    state = {check.name: check.state for check in made.checks}
    source = said.get("dependencies", {}).get("source", {}).get("gitCommit", "")
    rows = ", ".join(f"{n:,} {split}" for split, n in made.found.get("data", {}).get("splits", {}).items())
    base, name = str(config.get("base", {}).get("uri", "")), str(config.get("name", ""))
    revision = "revision of the code" if source else "revision not recorded"
    told = made.found.get("evaluation")
    score = f"sampled {100 * told['sampled']['candidate'][0]:.1f} %" if told else ""
    listing = made.found.get("listing", {}).get("files", [])
    size = sum(file["size"] for file in listing) / 2**20
    files = f"{len(listing)} files, {size:,.1f} MiB"
    stands = ", ".join(sorted(a for a, n in made.desk.aliases().items() if n == made.number)) or "no alias"
    root = tags.get("raro.root", "")
    return {
        "demonstrations": ("Demonstrations", rows, tags.get("raro.data_digest", ""), state["data"]),
        "base": ("Base model", base, tags.get("raro.base_digest", ""), state["provenance"]),
        "config": ("Configuration", name, tags.get("raro.config_digest", ""), state["config"]),
        "source": ("Source", revision, source, state["provenance"] if source else "absent"),
        "run": ("Run", "in MLflow", made.version.run_id, state["run"]),
        "files": ("Model files", files, root, state["files"]),
        "evaluation": ("Evaluation", score, "", state["evaluation"]),
        "version": (f"Version {made.number}", stands, root, state["registry"]),
        "decision": ("Decision", _decided(made), "", state["decision"]),
    }


def _arrow(start: Box, end: Box) -> str:
    """From box to box: a curve from column to column; within a column straight to the next box, past others a curve beside
    them, on the left into the run."""
    y, to_y = start.y + HEIGHT // 2, end.y + HEIGHT // 2
    if start.x != end.x:
        x, to_x = start.x + WIDTH, end.x - 7
        bend = (to_x - x) // 2
        return f"M{x},{y} C{x + bend},{y} {to_x - bend},{to_y} {to_x},{to_y}"
    if abs(end.y - start.y) == HEIGHT + GAP:
        middle, down = start.x + WIDTH // 2, end.y > start.y
        ends = (start.y + HEIGHT, end.y - 7) if down else (start.y, end.y + HEIGHT + 7)
        return f"M{middle},{ends[0]} L{middle},{ends[1]}"
    side, edge = (-1, start.x) if end.name == "run" else (1, start.x + WIDTH)
    beside = edge + side * (GUTTER - 14)
    return f"M{edge},{y} C{beside},{y} {beside},{to_y} {edge + side * 7},{to_y}"


def _decided(made: Audit) -> str:
    told = made.found.get("decision", {})
    people = [record.actor for record in made.records if (record.action, record.version) == ("approved", made.number)]
    by = f"approved by {', '.join(dict.fromkeys(people))}" if people else "by the gate alone"
    return f"{told.get('decision', 'unknown')}; {by}"
