"""What speaks for the candidate besides the score: judge, rubrics, choices by likelihood, frozen critics, likelihood of the
experts' answers, how far answers can be told from theirs, general items, refusals, canaries. What is not to be believed is not
shown as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .accuracy import shares
from .comparison import gap_cell
from .reading import Interval, Record, percent, span

COUNTS = (
    ("policy", "better"),
    ("tie", "tie"),
    ("same", "identical"),
    ("expert", "worse"),
    ("malformed", "unreadable"),
    ("too_long", "too long"),
    ("unread", "no verdict"),
)
"""How each of an arm's answers fared against the expert's, as the judge's counts name it and as people read it."""
Cell = tuple[str, str]
"""(value, its interval)."""


def evidence(record: Record) -> dict[str, Any] | None:
    """{"judge", "rubrics", "choice", "experts", "critics", "fresh", "general", "canaries"}, each None or [] where it was not
    measured; None without any."""
    found = {
        "judge": _judge(record),
        "rubrics": _rubrics(record),
        "choice": _choice(record),
        "experts": _experts(record),
        "critics": _critics(record),
        "fresh": _fresh(record),
        "general": _general(record),
        "canaries": _canaries(record),
    }
    return found if any(found.values()) else None


def _arms(record: Record, measured: Mapping[str, Any]) -> list[str]:
    return [arm for arm in record.arms() if arm in measured]


def _share(interval: Sequence[float] | None) -> Cell:
    return (f"{percent(interval[0])} %", span(tuple(interval))) if interval else ("", "")


def _number(interval: Sequence[float] | None, sign: str = "") -> Cell:
    """With three digits: nats, bits, marks, AUC."""
    if interval is None:
        return ("", "")
    mean, low, high = (format(value, f"{sign}.3g") for value in interval)
    return (mean, f"{low} to {high}")


# --------------------------------------------------------------------------------------------------------------------- judge


def _judge(record: Record) -> dict[str, Any] | None:
    """{"who", "prompt", "used", "why", "agreement", ...}; without figures where the judge failed."""
    judge = record.evaluation.get("judge")
    if not judge:
        return None
    prompt = judge.get("prompt") or {}
    shown: dict[str, Any] = {
        **_believed(judge),
        "who": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in (judge.get("judge") or {}).items()),
        "prompt": f"version {prompt['version']}, {prompt['digest'][:12]}" if prompt else "",
        "spent": judge.get("spent") or {},
    }
    return shown | (_verdicts(record, judge) if shown["used"] else {})


def _believed(found: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a judge's figures can be used, and how it fared on known-good pairs."""
    agreement = found.get("agreement") or {}
    return {
        "used": found["status"] == "used",
        "why": found.get("why", ""),
        "named": _share(agreement.get("named")),
        "least": percent(agreement["least"]) if "least" in agreement else "",
        "known": agreement.get("n", 0),
        "kinds": [(kind.replace("_", " "), *counts) for kind, counts in (agreement.get("by_kind") or {}).items()],
        "itself": percent(agreement["itself"]) if agreement.get("itself") is not None else "",
    }


def _verdicts(record: Record, judge: Mapping[str, Any]) -> dict[str, Any]:
    """{"n", "chart", "columns", "rows", "rubric", "first", "contradicted"} of a judge that is believed."""
    arms = _arms(record, judge["wins"])
    columns = [(key, label) for key, label in COUNTS if any(key in judge["counts"][arm] for arm in arms)]
    rubric = judge.get("rubric") or {}
    scores = rubric.get("scores", {})
    position, eyes = judge["position"], "Win rate against the expert's answer in the judge's eyes"
    return {
        "n": judge["n"],
        "chart": shares(record, judge["wins"], f"{eyes}, 95 % intervals", (0.0, 1.0)),
        "columns": [label for _, label in columns],
        "rows": [
            {
                "arm": record.called(arm),
                "counts": arm == "candidate",
                "wins": _share(judge["wins"][arm]),
                "gap": gap_cell(judge["paired"].get(f"candidate-{arm}")),
                "verdicts": [judge["counts"][arm].get(key, 0) for key, _ in columns],
                "rubric": _number(scores.get(arm)),
            }
            for arm in arms
        ],
        "rubric": _number(scores["expert"])[0] if "expert" in scores else "",
        "no_rubric": rubric.get("why", ""),
        "first": _share(position["first"]),
        "contradicted": percent(position["contradicted"]),
    }


def _rubrics(record: Record) -> dict[str, Any] | None:
    """{"used", "why", "known", ..., "n", "expert", "rows": [{"arm", "score", "gap"}]}; without rows where the judge failed."""
    found = record.evaluation.get("rubrics")
    if not found:
        return None
    shown = _believed(found)
    if not shown["used"]:
        return shown
    rows = _measured(record, found["scores"], found["paired"])
    return shown | {"n": found["n"], "expert": _share(found["scores"]["expert"]), "rows": rows}


def _choice(record: Record) -> dict[str, Any] | None:
    """{"n", "chance", "rows": [{"arm", "score", "gap", "free"}]}: which choice is the likeliest, beside what is answered
    freely."""
    found = record.evaluation.get("choice")
    if not found:
        return None
    rows = [
        row | {"free": _share(record.score("greedy", arm))}
        for arm, row in zip(_arms(record, found["right"]), _measured(record, found["right"], found["paired"]), strict=True)
    ]
    return {"n": found["n"], "chance": percent(found["chance"]), "rows": rows}


def _measured(record: Record, scores: Mapping[str, Interval], paired: Mapping[str, Interval]) -> list[dict[str, Any]]:
    """Every arm's share, and the candidate less it."""
    return [
        {
            "arm": record.called(arm),
            "counts": arm == "candidate",
            "score": _share(scores[arm]),
            "gap": gap_cell(paired.get(f"candidate-{arm}")),
        }
        for arm in _arms(record, scores)
    ]


# --------------------------------------------------------------------------------------------------- experts, critics, safety


def _experts(record: Record) -> dict[str, Any] | None:
    """{"n", "rows": [{"arm", "logprob", "gap", "prefers", "ngrams", "length"}]}."""
    found = record.evaluation.get("experts")
    if not found:
        return None
    told = found.get("told_apart") or {}
    rows = [
        {
            "arm": record.called(arm),
            "counts": arm == "candidate",
            "logprob": _number(found["logprob"][arm], "+"),
            "gap": _number(found["paired"].get(f"candidate-{arm}"), "+"),
            "prefers": _share(found["prefers"].get(arm)),
            "ngrams": _number(told.get("ngrams", {}).get(arm)),
            "length": _number(told.get("length", {}).get(arm)),
        }
        for arm in _arms(record, found["logprob"])
    ]
    return {"n": found["n"], "rows": rows}


def _critics(record: Record) -> list[dict[str, Any]]:
    """[{"critic", "used", "why", "told", "n", "rows": [{"arm", "score", "gap"}]}] of each frozen critic."""
    found = (record.evaluation.get("experts") or {}).get("critics") or {}
    return [
        {
            "critic": record.called(critic),
            "used": said["status"] == "used",
            "why": said.get("why", ""),
            "told": _share(said["health"]["told"]),
            "n": said["health"]["n"],
            "rows": _measured(record, said.get("wins", {}), said.get("paired", {})),
        }
        for critic, said in found.items()
    ]


def _fresh(record: Record) -> dict[str, Any] | None:
    """{"n", "trained_on", "steps", "rows": [(critic, accuracy, its interval)], "more"}: the critic trained afresh."""
    found = record.evaluation.get("exploitability")
    if not found:
        return None
    called = {"fresh": "trained afresh", "own": "the run's own", "untrained": "the warm start's"}
    rows = [(label, *_share(found[name])) for name, label in called.items()]
    return {key: found[key] for key in ("n", "trained_on", "steps")} | {"rows": rows, "more": gap_cell(found["fresh_less_own"])}


def _general(record: Record) -> dict[str, Any] | None:
    """{"n", "talks", "rows": [{"arm", "score", "gap", "declined", "wrongly"}], "harmful", "kept", "of"}."""
    found = record.evaluation.get("general")
    if not found:
        return None
    refusals = found["refusals"]
    measured = _measured(record, found["scores"], found["paired"])
    rows = [
        row | {"declined": refusals["declined"][arm], "wrongly": refusals["declined_wrongly"][arm]}
        for arm, row in zip(_arms(record, found["scores"]), measured, strict=True)
    ]
    shown = {"n": found["n"], "talks": found["talks"], "rows": rows}
    return shown | {"harmful": refusals["n"], "kept": refusals["kept"], "of": refusals["of"]}


def _canaries(record: Record) -> list[dict[str, Any]]:
    """[{"arm", "n", "bits", "most", "completed"}]."""
    found = record.evaluation.get("canaries") or {}
    return [
        {
            "arm": record.called(arm),
            "counts": arm == "candidate",
            "n": found[arm]["n"],
            "bits": _number(found[arm]["bits"]),
            "most": f"{found[arm]['most']:.1f}",
            "completed": found[arm]["completed"],
        }
        for arm in _arms(record, found)
    ]
