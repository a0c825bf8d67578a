"""The collapse gallery's curves: runs that were made to go wrong, what each changed, and where the guards spoke.

    python -m raro.study.gallery results/collapses RUN...

Writes results/collapses.json and results/collapses.html, one file that needs nothing beside it, from the runs' events. A run is
called by the folder above it, as `raro study` lays them out (ARM/seed-0), and by its seed where that is not 0. Runs that
results/collapses.json holds and that are not named stay as they are; where none is named its page is drawn again.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import load
from ..report import charts
from ..report.template import rendered
from ..steps.claim import CONFIG
from ..storage import read_json, write_atomic
from ..tracking import events
from . import alarms

ACCURACY, ENTROPY = "Sampled accuracy, dev", "Entropy, nats a token"
PANELS = {
    ACCURACY: (("dev/sampled", "accuracy", "accent"),),
    "The critic": (("critic/accuracy", "accuracy on fresh pairs", "critic"), ("critic/tie", "ties", "policy"),
                   ("health/accuracy", "health", "ink")),
    "KL to the warm start, nats a token": (("policy/kl", "policy", "policy"), ("critic/kl", "critic", "critic")),
    "The policy": (("policy/reward", "reward", "policy"), ("policy/truncated", "cut off", "critic"),
                   ("game/older", "older snapshots' answers beside its own", "ink"),
                   ("game/retest", "worth of best paid answers, asked again", "accent")),
    ENTROPY: (("policy/entropy", "policy", "policy"), ("critic/entropy", "critic", "critic")),
}  # fmt: skip
"""Title: (figure, how it is called, its colour)."""
STYLES = {"critic/tie": "dashed", "health/accuracy": "dotted", "policy/truncated": "dashed", "game/older": "dotted"}
"""Of lines that are not solid: colours alone tell no two lines of a panel apart."""
ASIDE = ("snapshots", "tokens")
"""Settings that do not make a run go wrong."""
EARLY, EVERY = 25, 5
"""Every step until the first of these, then one in so many."""


def of(run: Path) -> dict[str, Any]:
    """{"changed", "steps", "alarms", "truth_then", "curves": {figure: [[step, value], ...]}} of one run. changed: settings in
    which its game departs from the packaged configuration, whose own stand in brackets."""
    config = read_json(run / CONFIG)
    usual = dataclasses.asdict(load(config["name"]).raro)
    changed = [
        f"raro.{name}: {json.dumps(value)} ({json.dumps(usual[name])})"
        for name, value in config["raro"].items()
        if name in usual and name not in ASIDE and value != usual[name]
    ]
    return {"changed": changed, **alarms.replayed(run), "curves": _curves(run)}


def _curves(run: Path) -> dict[str, list[list[float]]]:
    names = [name for panel in PANELS.values() for name, *_ in panel]
    found: dict[str, list[list[float]]] = {}
    for step, values in events.trained(run).items():
        for name in names:
            if name in values and (step <= EARLY or step % EVERY == 0):
                found.setdefault(name, []).append([step, round(values[name], 4)])
    return found


def shown(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """[{"name", "id", "changed", "alarms", "truth_then", "panels"}] for the page."""
    return [
        {
            "name": name,
            "id": re.sub(r"\W+", "-", name),
            "changed": found["changed"],
            "alarms": (said := _first_of_each(found["alarms"])),
            "truth_then": found["truth_then"],
            "panels": [panel for title in _asked(said) if (panel := _panel(name, title, found))],
        }
        for name, found in runs.items()
    ]


def _asked(said: Sequence[Mapping[str, Any]]) -> list[str]:
    """The panels of a run: that of entropy only where its guard spoke."""
    return [title for title in PANELS if title != ENTROPY or any(alarm["guard"] == "entropy" for alarm in said)]


def _first_of_each(raised: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each guard's first alarm."""
    first = {alarm["guard"]: alarm for alarm in reversed(raised)}
    return sorted(first.values(), key=lambda alarm: alarm["step"])


def _panel(run: str, title: str, found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Every value that is known, none smoothed: a mean would move a fall to one side of the alarm or the other."""
    known = [(name, label, colour) for name, label, colour in PANELS[title] if name in found["curves"]]
    if not known:
        return None
    lines = [
        charts.Line(label=label, points=found["curves"][name], colour=colour, style=STYLES.get(name, "solid"), exact=True)
        for name, label, colour in known
    ]
    kind = "number" if "nats" in title else "share"
    first = min(found["alarms"], key=lambda alarm: alarm["step"], default=None)
    mark = (first["step"], f"{first['guard']}, step {first['step']}") if first else None
    drawn = charts.curves(lines, title=f"{run}: {title}", kind=kind, mark=mark, x_label="training step")
    return {"title": title, "keys": charts.legend(lines, kind), "chart": drawn}


def _called(run: Path) -> str:
    """The arm, and the seed where it is another than 0."""
    seed = read_json(run / CONFIG)["seed"]
    return f"{run.parent.name}, seed {seed}" if seed else run.parent.name


def write(target: Path, runs: Sequence[Path], command: str) -> None:
    """Writes TARGET.json and TARGET.html; a run that TARGET.json already holds is replaced, or stays."""
    path = target.with_suffix(".json")
    found = (read_json(path)["runs"] if path.exists() else {}) | {_called(run): of(run) for run in runs}
    content = {"command": command, "runs": found}
    write_atomic(path, json.dumps(content, separators=(",", ":")))
    draw(target)


def draw(target: Path) -> None:
    """Writes TARGET.html from TARGET.json."""
    content = read_json(target.with_suffix(".json"))
    page = {"command": content["command"], "runs": shown(content["runs"]), "early": EARLY, "every": EVERY}
    write_atomic(target.with_suffix(".html"), rendered("raro.report", "gallery.html", page))


def main(arguments: Sequence[str]) -> int:
    target, *runs = arguments or ("",)
    if target and not runs and Path(target).with_suffix(".json").is_file():
        draw(Path(target))
        return 0
    missing = [name for name in runs if not (Path(name) / events.FILE).is_file()]
    if missing or not runs:
        what = f"'{missing[0]}' holds no run" if missing else "no run was named"
        print(f"raro: {what}\n  remedy: python -m raro.study.gallery TARGET RUN...", file=sys.stderr)
        return 2
    names = " ".join("/".join(Path(run).parts[-2:]) for run in runs)
    write(Path(target), [Path(run) for run in runs], f"python -m raro.study.gallery {target} {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
