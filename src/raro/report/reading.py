"""A run folder, read for people: whatever is there, and nothing that is not. A run may have ended anywhere."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import ShowText
from ..errors import INTERRUPTED
from ..tracking import events
from .stages import ORDER, Stages

Interval = tuple[float, float, float]
ARMS = {"base": "base", "warmstart": "warm start", "sft": "SFT", "champion": "champion", "candidate": "candidate"}
# The word for a score, and what it means, by benchmark.
MEASURES = {
    "countdown": ("accuracy", "share of test problems solved, checked exactly"),
    "deepmath": ("accuracy", "share of test problems whose answer equals the expert's mathematically, by math-verify"),
    "diagnosis": (
        "exact match",
        "share of test problems whose answer names the expert's diagnosis and no other; a lower bound",
    ),
    "choice": ("accuracy", "share of test problems whose free answer gives the expert's choice and no other; a lower bound"),
    "held_out": ("likeness", "likeness of the answer to the expert's: words and signs (F1), and their order (ROUGE-L)"),
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that report and terminal show. Missing files are empty here."""

    folder: Path
    config: dict[str, Any]
    config_digest: str
    happened: list[dict[str, Any]]
    stages: Stages
    manifests: dict[str, dict[str, Any]]
    evaluation: dict[str, Any]
    decision: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any]
    registration: dict[str, Any]
    environment: dict[str, Any]
    failure: dict[str, Any]
    recorded: dict[str, Any]
    pairs: list[dict[str, Any]] = field(repr=False)
    items: list[dict[str, Any]] = field(repr=False)
    quarantine: list[dict[str, Any]] = field(repr=False)

    @property
    def show_text(self) -> bool:
        """Whether questions and answers may be shown. A run without a readable config said nothing about it: no."""
        return may_show(self.config)

    @property
    def masked(self) -> bool:
        """Whether that is with personal data masked."""
        return self.config.get("privacy", {}).get("show_text") == ShowText.masked

    @property
    def outcome(self) -> str:
        """failed, interrupted, promote, hold, reject, nothing-new or unfinished."""
        if self.failure:
            return "interrupted" if self.failure.get("code") == INTERRUPTED else "failed"
        decision = self.decision.get("decision") or self.evaluation.get("decision")
        if decision in ("promote", "hold", "reject"):
            return decision
        verdict = self.manifests.get("ingest", {}).get("outputs", {}).get("verdict")
        nothing = "nothing-new" in (self.recorded.get("outcome"), verdict)
        return "nothing-new" if nothing else "unfinished"

    @property
    def measure(self) -> tuple[str, str]:
        """(the word for a score, what it means) of this run's benchmark."""
        return MEASURES.get(self.evaluation.get("benchmark", ""), ("score", "mean score on the test problems"))

    def arms(self) -> list[str]:
        """The arms that were measured, in the order in which they are shown."""
        found = {**self.evaluation.get("greedy", {}), **self.evaluation.get("sampled", {})}
        return [arm for arm in ARMS if arm in found] + sorted(set(found) - set(ARMS))

    def called(self, arm: str) -> str:
        """An arm's name for people. Who was champion when it was measured may be so no longer."""
        if arm == "champion" and self.outcome == "promote":
            return "former champion"
        return "SFT rival" if arm == "sft" else ARMS.get(arm, arm)

    def score(self, way: str, arm: str) -> Interval | None:
        """(mean, low, high) as shares."""
        return _interval(self.evaluation.get(way, {}).get(arm))

    def difference(self, way: str, rival: str) -> Interval | None:
        """Candidate less rival on the same problems."""
        return _interval(self.evaluation.get("paired", {}).get(f"candidate-{rival}", {}).get(way))

    def series(self, stage: str) -> dict[str, list[tuple[int, float]]]:
        """{metric: [(step, value)]} by step; a step done twice (a run resumed from its checkpoint) counts as last done."""
        found: dict[str, dict[int, float]] = {}
        for event in self.happened:
            if event.get("stage") == stage and event["kind"] == "metrics":
                for name, value in event.get("values", {}).items():
                    if isinstance(value, (int, float)) and value == value and abs(value) != float("inf"):
                        found.setdefault(name, {})[event["step"]] = float(value)
        return {name: sorted(values.items()) for name, values in found.items()}


def standing(record: Record) -> dict[str, list[tuple[int, float]]]:
    """The series of training that stand: without the steps beyond the last that counts, which a guard undid when it ended the
    run."""
    last = record.train.get("steps", math.inf)
    kept = {name: [point for point in points if point[0] <= last] for name, points in record.series("train").items()}
    return {name: points for name, points in kept.items() if points}


def may_show(config: Mapping[str, Any]) -> bool:
    """Whether a run's configuration lets text be shown, as the steps wrote it down (masked or not); older ones say true for
    full."""
    return config.get("privacy", {}).get("show_text") in (True, ShowText.full, ShowText.masked)


def read(run: str | Path) -> Record:
    """The run folder as it stands."""
    run = Path(run)
    happened, _ = events.read(run)
    text = (run / "config.json").read_text(encoding="utf-8").strip() if (run / "config.json").is_file() else ""
    config = _parsed(text)
    folders = {name: manifest for name in ORDER if (manifest := _json(run / name / "manifest.json"))}
    shown = may_show(config)
    return Record(
        folder=run,
        config=config,
        config_digest=hashlib.sha256(text.encode()).hexdigest() if text else "",
        happened=happened,
        stages=Stages().take(happened),
        manifests=folders,
        evaluation=_json(run / "evaluation.json") or _json(run / "evaluate" / "evaluation.json"),
        decision=_json(run / "decide" / "decision.json"),
        data=_json(run / "ingest" / "data.json"),
        train=_json(run / "train" / "train.json"),
        registration=_json(run / "register" / "registration.json"),
        environment=_json(run / "preflight" / "environment.json"),
        failure=_json(run / "failure.json"),
        recorded=_json(run / "record" / "record.json"),
        pairs=list(_lines(_first(run / "train" / "pairs.jsonl", run / "checkpoints" / "pairs.jsonl"))) if shown else [],
        items=[_allowed(row, shown) for row in _lines(run / "evaluate" / "items.jsonl")],
        quarantine=list(_lines(_first(run / "ingest" / "quarantine.jsonl", run / "quarantine.jsonl"), most=200)),
    )


def _allowed(row: dict[str, Any], shown: bool) -> dict[str, Any]:
    """An item of the evaluation, without its texts where none may be shown."""
    return row if shown else {key: value for key, value in row.items() if key not in ("question", "expert", "answers")}


def settings(run: str | Path) -> dict[str, Any]:
    """The run's configuration as plain data, unchecked; empty while there is none."""
    return _json(Path(run) / "config.json")


def _first(*paths: Path) -> Path:
    """The first that exists: a stage that failed leaves its findings elsewhere."""
    return next((path for path in paths if path.is_file()), paths[0])


def _json(path: Path) -> dict[str, Any]:
    return _parsed(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _parsed(text: str) -> dict[str, Any]:
    """A JSON object; empty for anything else, such as a file that a killed process left half-written."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path, most: int = 100_000) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line, _ in zip(file, range(most), strict=False):
                if row := _parsed(line):
                    yield row


def _interval(found: Any) -> Interval | None:
    return tuple(map(float, found)) if isinstance(found, (list, tuple)) and len(found) == 3 else None


def percent(share: float, digits: int = 1) -> str:
    """0.384 as 38.4 (the unit stands beside it)."""
    return f"{100 * share:.{digits}f}"


def signed(share: float) -> str:
    """0.038 as +3.8, nothing as 0.0."""
    return f"{100 * share:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def span(interval: Interval, form: Callable[[float], str] = percent) -> str:
    """The interval's ends: 36.2 to 40.5, or with `signed` +3.1 to +7.0."""
    return " to ".join(form(value) for value in interval[1:])


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, leaf) of a nested mapping."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
