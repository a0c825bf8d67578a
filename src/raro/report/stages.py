"""The stages of a run as its events tell them: what is done, what goes on, how long it may still take.

The terminal and the page fold the same events into the same picture. A launch begins where preflight starts, or where a stage
starts that had ended already: what an earlier launch said of that stage and those after it is forgotten.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ORDER = ("preflight", "ingest", "warmstart", "train", "evaluate", "decide", "register", "record", "finish")
NAMES = {"warmstart": "warm start"}
PLACES = {"warmstart": "the warm start", "pipeline": "the pipeline"}  # where something failed
Status = Literal["waiting", "running", "done", "kept", "failed"]
ENDED = ("done", "kept", "failed")
STEPS = "steps"  # what training calls its progress, until it chooses the candidate
WINDOW = 40  # progress events over which the speed is measured


@dataclass
class Stage:
    """One stage of the latest launch.

    status: `kept` where it had finished before and was not run again. started, ended: seconds since 1970, None while unknown.
    seconds: as the step measured them. done, total, text: its progress, total 0 while unknown. metrics: {name: (step, value)},
    the newest of each. failure: what failure.json holds.
    """

    name: str
    status: Status = "waiting"
    started: float | None = None
    ended: float | None = None
    seconds: float | None = None
    done: int = 0
    total: int = 0
    text: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, tuple[int, float]] = field(default_factory=dict)
    failure: dict[str, Any] = field(default_factory=dict)
    _pace: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=WINDOW), repr=False)

    def value(self, name: str) -> float | None:
        """The newest value of a metric, None where there is none."""
        found = self.metrics.get(name)
        return found[1] if found else None

    @property
    def work(self) -> str:
        """What it counts, in words; "" while that is training steps, which need none."""
        return "" if self.text == STEPS else self.text

    def elapsed(self, now: float) -> float | None:
        """Seconds that it took, or has taken until `now`."""
        if self.seconds is not None:
            return self.seconds
        return None if self.started is None else (self.ended or now) - self.started

    def left(self, now: float) -> float | None:
        """Seconds it may still take at its recent speed; None while that cannot be told."""
        if self.status != "running" or len(self._pace) < 2 or not self.total:
            return None
        (begun, first), (latest, last) = self._pace[0], self._pace[-1]
        if last <= first or latest <= begun:
            return None
        return max(0.0, (self.total - last) * (latest - begun) / (last - first) - (now - latest))

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of this stage."""
        kind, time = event["kind"], event.get("time", 0.0)
        if kind == "start":
            self.status = "running"
            self.started = time if self.started is None else self.started
            self.total, self.text = event.get("total") or self.total, event.get("text") or self.text
        elif kind == "progress":
            done, total, text = event["done"], event["total"] or 0, event.get("text", "")
            if total != self.total or done < self.done:
                self._pace.clear()
            self.status, self.done, self.total, self.text = "running", done, total, text or self.text
            self._pace.append((time, done))
        elif kind == "metrics":
            self.metrics |= {name: (event["step"], value) for name, value in event["values"].items()}
        elif kind == "done":
            self.status, self.ended, self.seconds, self.outputs = "done", time, event.get("seconds"), event.get("outputs") or {}
        elif kind == "skipped":
            self.status, self.ended, self.seconds = "kept", time, 0.0
        elif kind == "failed":
            self.status, self.ended, self.failure = "failed", time, event.get("failure") or {}


@dataclass
class Stages:
    """All stages of the latest launch. began, latest: times of its first and its newest event. warnings: of all of them."""

    began: float | None = None
    latest: float | None = None
    by_name: dict[str, Stage] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def take(self, events: Iterable[Mapping[str, Any]]) -> Stages:
        """Folds in events, in the order in which they were written."""
        for event in events:
            name = event.get("stage", "")
            if event["kind"] == "note" and event.get("level") == "warning" and event["text"] not in self.warnings:
                self.warnings.append(event["text"])
            if name not in ORDER:  # the tracking mirror's own remarks
                continue
            if event["kind"] in ("start", "skipped"):
                self._begin(name, event)
            if self.began is None:
                self.began = event.get("time")
            self.latest = event.get("time", self.latest)
            self.by_name.setdefault(name, Stage(name)).take(event)
        return self

    def _begin(self, name: str, event: Mapping[str, Any]) -> None:
        """Forgets what an earlier launch said of this stage and those after it. The start of a stage that goes on may be told
        twice, the second time with its total: that is no new launch."""
        before = self.by_name.get(name)
        again = before is not None and (before.status in ENDED or (event["kind"] == "start" and event.get("total") is None))
        if not again and name != "preflight":
            return
        for later in ORDER[ORDER.index(name) :]:
            self.by_name.pop(later, None)
        if not self.by_name:
            self.warnings.clear()
        self.began = event.get("time")

    def __getitem__(self, name: str) -> Stage:
        return self.by_name.get(name) or Stage(name)

    @property
    def current(self) -> Stage | None:
        """The stage that goes on, None between stages."""
        return next((stage for stage in reversed(self.shown()) if stage.status == "running"), None)

    @property
    def over(self) -> bool:
        """Whether the launch has ended: the exit handler comes last, whatever happened before."""
        return self["finish"].status in ENDED

    def shown(self) -> list[Stage]:
        """In the pipeline's order; of register and record only the one that was reached, or register while both are open."""
        names = [name for name in ORDER if name in self.by_name or name not in ("register", "record")]
        if "record" not in names and "register" not in names:
            names.insert(names.index("finish"), "register")
        return [self[name] for name in names]

    def passed_over(self, stage: Stage) -> bool:
        """Whether it waits for nothing: a later stage began without it (`finish` begins in any case)."""
        after = ORDER[ORDER.index(stage.name) + 1 : -1]
        return stage.status == "waiting" and any(self[name].status != "waiting" for name in after)

    def overhead(self) -> tuple[float, float] | None:
        """(seconds of the latest launch so far, seconds of them outside every stage); None before anything has ended, and where
        every stage was kept from before."""
        stages = [s for s in self.by_name.values() if s.ended is not None and s.name != "finish"]
        ended = [s for s in stages if self.began is not None and s.ended >= self.began]
        if all(s.status == "kept" for s in ended):
            return None
        whole = max(s.ended for s in ended) - self.began
        return whole, max(0.0, whole - math.fsum(s.seconds or 0.0 for s in ended))


def launch(events: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The events since preflight last started: it opens every launch and is never skipped."""
    starts = [i for i, event in enumerate(events) if (event.get("stage"), event["kind"]) == ("preflight", "start")]
    return events[starts[-1] :] if starts else events


def title(stage: Stage) -> str:
    """The stage's name for people."""
    return NAMES.get(stage.name, stage.name)


def duration(seconds: float | None) -> str:
    """For a person: 0.8 s, 41 s, 2:05, 1:02:05."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
