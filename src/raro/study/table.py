"""A study's one table: accuracy by arm and seed, paired differences with intervals, what each arm spent. JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..benchmarks.statistics import Interval, over_seeds, paired_over_seeds
from ..config import stored
from ..report.reading import MEASURES
from ..storage import MANIFEST, read_json, write_atomic, write_json
from . import curves, page
from .plan import Arm, Study
from .run import Job

WAYS = ("sampled", "greedy")
Scores = dict[str, list[list[float]]]
"""way -> one list per seed of one score per test problem."""


def write(study: Study, jobs: Sequence[Job], command: str, target: Path) -> dict[str, Any]:
    """Writes TARGET.json, TARGET.md, TARGET.html and TARGET-curves.json from finished runs and returns the content of the
    first. Raises ValueError where two runs were not measured on the same problems."""
    content = collect(study, jobs) | {"command": command}
    drawn = curves.collect(jobs)
    write_json(target.with_suffix(".json"), content)
    write_atomic(target.with_suffix(".md"), markdown(content))
    write_atomic(target.with_name(f"{target.name}-curves.json"), json.dumps(drawn, separators=(",", ":")))
    page.write(content, drawn, target.with_suffix(".html"))
    return content


def collect(study: Study, jobs: Sequence[Job]) -> dict[str, Any]:
    """The table's content. Arms: those of the study; `base` and `warmstart` as the budget's arm (else the first) met them; and
    `ARM: base` where an arm starts from another base."""
    scores: dict[str, Scores] = {}
    seeds: dict[str, list[int]] = {}
    arm_of: dict[str, Arm] = {}
    first = study.lead(study.arms[0])
    for arm in study.arms:
        own = [job for job in jobs if job.arm == arm]
        names = {arm.name: "candidate"}
        if arm == first:
            names |= {"base": "base", "warmstart": "warmstart"}
        elif arm.changes.get("base.uri") != first.changes.get("base.uri"):
            names[f"{arm.name}: base"] = "base"
        for name, role in names.items():
            scores[name] = {way: [_items(job, way, role) for job in own] for way in WAYS}
            seeds[name], arm_of[name] = [job.seed for job in own], arm
    means = {
        name: {way: [sum(items) / len(items) for items in by_seed] for way, by_seed in found.items()}
        for name, found in scores.items()
    }
    leads = {name: study.lead(arm).name for name, arm in arm_of.items()}
    oracles = {name: peer.name for name, arm in arm_of.items() if (peer := study.peer(arm, "rlvr"))}
    leading = next(job for job in jobs if job.arm == first)
    return {
        "study": study.name,
        "study_digest": study.digest,
        "leads": leads,
        "axes": _axes(study),
        "n_test": len(_items(leading, "greedy", "base")),
        "measure": MEASURES[study.configured(first, leading.seed).evaluation.benchmark][0],
        "equal": bool(study.budget) or any(arm.budget for arm in study.arms),
        "seeds": seeds[first.name],
        "arms": {name: found | {"seeds": seeds[name]} for name, found in means.items()},
        "intervals": {name: {way: over_seeds(scores[name][way]) for way in WAYS} for name in scores},
        "paired": {
            f"{lead}-{name}": {way: _paired(scores, seeds, lead, name, way) for way in WAYS}
            for name, lead in leads.items()
            if name != lead and set(seeds[name]) & set(seeds[lead])
        },
        "share_of_oracle": _shares(means, seeds, oracles),
        "spent": {arm.name: _spent([job for job in jobs if job.arm == arm]) for arm in study.arms},
        "says": {arm.name: arm.says for arm in study.arms},
        "problems": {name: min(map(len, found["greedy"])) for name, found in scores.items()},
        "critic_on_errors": {arm.name: [_critic(job) for job in jobs if job.arm == arm] for arm in study.arms},
        "training": {arm.name: [_training(job) for job in jobs if job.arm == arm] for arm in study.arms},
        "digests": _digests(jobs),
    }


def _axes(study: Study) -> list[dict[str, Any]]:
    """[{"axis", "budget", "places": [[number, arm], ...]}] in the order of the numbers, of each budget."""
    found = []
    for axis, places in study.axes.items():
        for budget in dict.fromkeys(arm.budget for arm in study.arms):
            here = [[places[arm.role], arm.name] for arm in study.arms if arm.budget == budget and arm.role in places]
            if len(here) > 1:
                found.append({"axis": axis, "budget": budget, "places": sorted(here)})
    return found


def _items(job: Job, way: str, role: str) -> list[float]:
    path = job.folder / "evaluate" / "items.jsonl"
    with path.open(encoding="utf-8") as file:
        return [json.loads(line)[way][role] for line in file]


def _paired(scores: dict[str, Scores], seeds: dict[str, list[int]], lead: str, other: str, way: str) -> Interval:
    """Lead less other over the seeds that both have, and the problems that both were asked: the first of the split."""
    both = [seed for seed in seeds[lead] if seed in seeds[other]]
    ours = [scores[lead][way][seeds[lead].index(seed)] for seed in both]
    theirs = [scores[other][way][seeds[other].index(seed)] for seed in both]
    n = min(len(items) for items in [*ours, *theirs])
    return paired_over_seeds([items[:n] for items in ours], [items[:n] for items in theirs])


def _shares(means: dict, seeds: dict[str, list[int]], oracles: dict[str, str]) -> dict[str, dict[str, float]]:
    """What each arm gained over the base, as a share of what its oracle gained, over the seeds that both have. Arms that start
    from another base, and ways in which the oracle gained nothing, are left out."""

    def mean(name: str, way: str, both: Sequence[int]) -> float:
        return sum(means[name][way][seeds[name].index(seed)] for seed in both) / len(both)

    found: dict[str, dict[str, float]] = {}
    for name, oracle in oracles.items():
        both = [seed for seed in seeds[name] if seed in seeds[oracle] and seed in seeds["base"]]
        if name in ("base", oracle) or not both or f"{name}: base" in means or name.endswith(": base"):
            continue
        for way in WAYS:
            base, best, ours = (mean(arm, way, both) for arm in ("base", oracle, name))
            if best > base:
                found.setdefault(name, {})[way] = (ours - base) / (best - base)
    return found


def _spent(jobs: Sequence[Job]) -> dict[str, float]:
    """Means over the seeds: rollout tokens and steps of training, seconds of it."""
    told = [read_json(job.folder / "train" / "train.json") for job in jobs]
    return {key: sum(t[key] for t in told) / len(told) for key in ("tokens", "steps", "seconds")}


def _critic(job: Job) -> dict[str, dict[str, float | None]]:
    """Of the decided verdicts on the candidate's errors, the share that names the expert: by the critics of warm start and
    candidate, where it has one, sampled as in training, and greedy."""
    found = read_json(job.folder / "evaluate" / "evaluation.json")["critic"]
    return {arm: {"sampled": told["accuracy"], "greedy": told["greedy_accuracy"]} for arm, told in found.items()}


def _training(job: Job) -> dict[str, Any]:
    """What a run's training says of itself, for whoever looks for the selection, the gate and the guards."""
    told = read_json(job.folder / "train" / "train.json")
    keys = ("steps", "tokens", "gate_opened", "selected_step", "selection", "alarms", "stopped_by_guard")
    return {"seed": job.seed} | {key: told[key] for key in keys}


def _digests(jobs: Sequence[Job]) -> dict[str, Any]:
    """Configurations by arm and seed, data and bases by root."""
    config = {job.name: stored((job.folder / "config.json").read_text(encoding="utf-8")).digest for job in jobs}
    roots = lambda step: sorted({read_json(job.folder / step / MANIFEST)["root"] for job in jobs})  # noqa: E731
    return {"config": config, "data": roots("ingest"), "warmstart": roots("warmstart")}


def markdown(content: dict[str, Any]) -> str:
    """The table for people: mean over the seeds, and the seeds' own figures."""
    what = f"{content['n_test']:,} test problems, {content.get('measure', 'accuracy')} in %"
    lines = [f"`{content['command']}`: {what}, mean (one figure per seed).", ""]
    lines += ["| arm | sampled | greedy | rollout tokens | seconds |", "|---|---|---|---|---|"]
    for name, found in content["arms"].items():
        spent = content["spent"].get(name)
        cost = f"{spent['tokens'] / 1e6:.2f} M | {spent['seconds']:.0f}" if spent else "- | -"
        lines.append(f"| {name} | {_cell(found['sampled'])} | {_cell(found['greedy'])} | {cost} |")
    lines += ["", "Paired differences in points, 95 % intervals from a bootstrap over seeds and problems:", ""]
    lines += ["| | sampled | greedy |", "|---|---|---|"]
    for name, found in content["paired"].items():
        lines.append(f"| {name} | {_difference(found['sampled'])} | {_difference(found['greedy'])} |")
    if content["share_of_oracle"]:
        lines += ["", "Share of the oracle's gain over the base:", "", "| | sampled | greedy |", "|---|---|---|"]
        for name, shares in content["share_of_oracle"].items():
            told = [f"{100 * shares[way]:.0f} %" if way in shares else "-" for way in WAYS]
            lines.append(f"| {name} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    each = ", ".join(f"{100 * value:.1f}" for value in values)
    return f"{100 * sum(values) / len(values):.1f} ({each})"


def _difference(interval: Interval) -> str:
    mean, low, high = (100 * value for value in interval)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
