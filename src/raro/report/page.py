"""RUN/report.html: one page that answers, in the order a person asks, what came out, how surely, how, and from what.

One file, nothing fetched when it is opened. It is made from whatever the run folder holds: a run that failed gets a page too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..storage import write_atomic
from ..text import listed
from . import charts, comparison, cost, reading
from .accuracy import accuracy
from .critics import matrix, on_errors, selection, tournament
from .curves import panels
from .evidence import evidence
from .items import items
from .pairs import cut, pairs
from .provenance import digests, settings, shown
from .reading import Record, percent, span
from .readings import readings
from .stages import NAMES, PLACES, duration
from .template import embedded, rendered
from .tracked import tracked

FILE = "report.html"
STATUS = {"waiting": "not reached", "running": "not finished", "done": "done", "kept": "already done", "failed": "failed"}


def write(run: str | Path) -> Path:
    """Makes RUN/report.html from the files in RUN and returns its path. Raises ServiceFailed where the disk is full."""
    return write_atomic(Path(run) / FILE, html(run))


def html(run: str | Path) -> str:
    """The page as text."""
    record = reading.read(run)
    filters = {
        "duration": duration,
        "count": lambda n: f"{n:,}",
        "short": charts.short,
        "percent": percent,
        "embedded": embedded,
    }
    whole = rendered("raro.report", FILE, content(record), filters)
    return whole.encode("utf-8", "backslashreplace").decode()  # half a character, as JSON can spell it, is no UTF-8


def content(record: Record) -> dict[str, Any]:
    """Everything the template shows, ready to be written: no logic is left to it but what to leave out."""
    read, alarms = readings(record), record.train.get("alarms") or []
    return {
        "run": record,
        "name": record.config.get("name") or record.folder.resolve().name,
        "folder": record.folder.resolve().name,
        "when": _when(record.stages.began),
        "headline": headline(record),
        "tiles": tiles(record),
        "gate": comparison.gate(record),
        "accuracy": accuracy(record),
        "tests": comparison.tests(record),
        "pass_at": comparison.pass_at(record),
        "strata": comparison.strata(record),
        "evidence": evidence(record),
        "items": items(record),
        "panels": panels(record),
        "readings": read,
        "signs": signs(read, alarms),
        "tracked": tracked(record),
        "alarms": alarms,
        "critics": on_errors(record),
        "selection": selection(record),
        "matrix": matrix(record),
        "tournament": tournament(record),
        "pairs": pairs(record),
        "data": data(record),
        "stages": stages(record),
        "cost": costs(record),
        "settings": settings(record.config),
        "digests": digests(record),
        "environment": [(key, shown(value)) for key, value in record.environment.items() if key != "packages"],
        "packages": sorted(record.environment.get("packages", {}).items()),
        "registration": [(key, shown(value)) for key, value in record.registration.items()],
        "warnings": record.stages.warnings,
    }


# ------------------------------------------------------------------------------------------------------------------- outcome


def headline(record: Record) -> dict[str, Any]:
    """{"badge", "tone", "sentence", "reasons", "remedy"}: what came out, in one sentence."""
    outcome, failure = record.outcome, record.failure
    if outcome in ("failed", "interrupted"):
        verb = "was interrupted" if outcome == "interrupted" else "failed"
        line, where = failure.get("line", ""), failure.get("stage", "a step")
        reached = [f"Its last checkpoint is {failure['last_checkpoint']}."] if failure.get("last_checkpoint") else []
        again = (
            "Retrying without a change will not help."
            if failure.get("permanent")
            else "Starting it again resumes where it stopped."
        )
        return {
            "badge": outcome.capitalize(),
            "tone": "bad" if outcome == "failed" else "hold",
            "sentence": f"The run {verb} in {PLACES.get(where, where)}" + (f": {line}." if outcome == "failed" else "."),
            "reasons": [*reached, again],
            "remedy": failure.get("remedy", ""),
        }
    reasons = record.decision.get("reasons") or record.recorded.get("reasons") or []
    badge, tone, lead = {
        "promote": ("Promoted", "good", "The candidate became champion"),
        "hold": ("Held", "hold", "The candidate waits for a person to promote it"),
        "reject": ("Rejected", "bad", "The candidate was rejected"),
        "nothing-new": ("Nothing new", "plain", "There was nothing new to train on"),
        "unfinished": ("Unfinished", "plain", "The run has not reached a decision"),
    }[outcome]
    return {"badge": badge, "tone": tone, "sentence": lead + _against(record) + ".", "reasons": reasons, "remedy": ""}


def _against(record: Record) -> str:
    """`: sampled, it solves 38.4 % of 2,000 unseen problems; the warm start 15.1 %, the base 14.7 %`, or nothing."""
    ours, n = record.score("sampled", "candidate"), record.evaluation.get("n")
    if ours is None:
        return ""
    rivals = [
        (record.called(arm), found) for arm in ("base", "warmstart", "champion") if (found := record.score("sampled", arm))
    ]
    others = listed([f"the {name} {percent(found[0])} %" for name, found in rivals])
    countdown = record.evaluation.get("benchmark") == "countdown"
    on = f"{n:,} unseen problems" if n else "the test problems"
    does = (
        f"it solves {percent(ours[0])} % of {on}" if countdown else f"its {record.measure[0]} is {percent(ours[0])} % on {on}"
    )
    return f": sampled, {does}" + (f"; {others}" if others else "")


def tiles(record: Record) -> list[dict[str, Any]]:
    """The few figures in the headline box, sampled: base, warm start, champion, candidate."""
    shown = [arm for arm in ("base", "warmstart", "sft", "champion", "candidate") if record.score("sampled", arm)]
    return [
        {"label": record.called(arm), "value": percent(score[0]), "span": span(score), "counts": arm == "candidate"}
        for arm in shown
        if (score := record.score("sampled", arm))
    ]


def signs(read: Sequence[Mapping[str, Any]], alarms: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """{"tone" of the readings, "readings", "alarms"}: what the blind signals say in two phrases; None where they are silent."""
    if not read and not alarms:
        return None
    counts = {tone: sum(row["tone"] == tone for row in read) for tone in ("red", "amber")}
    odd = [f"{n} {tone}" for tone, n in counts.items() if n]
    told = [f"{alarm['guard']}, step {alarm['step']}" for alarm in alarms[:3]]
    more = [f"{len(alarms) - 3} more"] if len(alarms) > 3 else []
    return {
        "tone": "bad" if counts["red"] else "hold" if counts["amber"] else "good",
        "readings": f"{', '.join(odd) or 'none red or amber'} of {len(read)} readings" if read else "",
        "alarms": f"{len(alarms)} alarm{'s' if len(alarms) != 1 else ''} in training ({'; '.join(told + more)})"
        if alarms
        else "",
    }


# ---------------------------------------------------------------------------------------------------------- data and stages


def data(record: Record) -> dict[str, Any] | None:
    """The data card for people; None where ingest never finished and quarantined nothing."""
    card = record.data
    if not card and not record.quarantine:
        return None
    splits, kept = card.get("splits", {}), card.get("kept") or 1
    reasons = card.get("reasons") or Counter(row.get("reason", "unknown") for row in record.quarantine)
    return {
        "card": card,
        "splits": [(name, n, n / kept) for name, n in splits.items()],
        "reasons": sorted(reasons.items(), key=lambda item: -item[1]),
        "licences": sorted(card.get("licences", {}).items()),
        "lengths": {part: found for part, found in card.get("lengths", {}).items() if isinstance(found, dict)},
        "sources": card.get("sources", []),
        "examples": [
            {"row": row.get("row", ""), "reason": row.get("reason", ""), "detail": row.get("detail", ""), "text": _quoted(row)}
            for row in record.quarantine[:12]
        ]
        if record.show_text
        else [],
    }


def _quoted(row: Mapping[str, Any]) -> str:
    """What else a quarantined row holds: its text."""
    rest = {key: value for key, value in row.items() if key not in ("row", "reason", "detail", "source")}
    return cut(json.dumps(rest, ensure_ascii=False)) if rest else ""


def stages(record: Record) -> dict[str, Any]:
    """Each stage with its seconds, and what the pipeline itself took."""
    shown = [stage for stage in record.stages.shown() if stage.name != "finish"]
    overhead = record.stages.overhead()
    whole = overhead[0] if overhead else 0.0
    rows = []
    for stage in shown:
        kept = stage.status == "kept"
        before = record.manifests.get(stage.name, {}).get("seconds") if kept else None
        status = "not needed" if record.stages.passed_over(stage) else STATUS[stage.status]
        seconds = stage.seconds if stage.seconds is not None else stage.elapsed(record.stages.latest or 0.0)
        rows.append(
            {
                "name": NAMES.get(stage.name, stage.name),
                "status": status,
                "seconds": "" if kept else duration(seconds),
                "share": 0.0 if kept or not whole else min(1.0, (seconds or 0.0) / whole),
                "told": f"took {duration(before)} when it ran" if before is not None else _told(stage.outputs),
            }
        )
    return {"rows": rows, "whole": whole, "between": overhead[1] if overhead else 0.0}


def costs(record: Record) -> dict[str, Any] | None:
    """What the run cost, stage by stage and in all; None before anything has ended."""
    found = cost.bill(record.happened, record.config, record.evaluation)
    entries = {**found["stages"], "all": found["total"]}
    if not found["stages"]:
        return None
    rows = [
        {
            "name": NAMES.get(name, name),
            "time": duration(entry["seconds"]),
            "cells": [f"{entry[key]:.3f}" if entry[key] else "" for key in ("cpu_hours", "gpu_hours")]
            + [f"{entry['tokens']:,}" if entry["tokens"] else ""]
            + ([f"{entry['money']:,.2f}"] if entry["money"] is not None else []),
            "counts": name == "all",
        }
        for name, entry in entries.items()
    ]
    money = [found["currency"]] if found["total"]["money"] is not None else []
    return {"rows": rows, "columns": ["core-hours", "GPU-hours", "tokens written", *money]}


def _told(outputs: Mapping[str, Any]) -> str:
    """A step's outputs in a few words, digests cut."""
    return ", ".join(
        f"{key.replace('_', ' ')} {_brief(value)}"
        for key, value in outputs.items()
        if value is not None and not isinstance(value, (dict, list))
    )


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text[:12] + "…" if len(text) > 40 else text


# --------------------------------------------------------------------------------------------------------------------- words


def _when(time: float | None) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%-d %B %Y, %H:%M UTC") if time else ""
