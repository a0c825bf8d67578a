"""How well each blind signal tracked the truth, over a study's runs; and what blind selection cost.

    python -m raro.study.signals results/countdown-mini

Reads what is committed beside a study's table (TABLE.json, TABLE-curves.json and TABLE-selection.jsonl, the last by
`python -m raro.study.snapshots`), writes TABLE-signals.json and prints it as a table. For each run, Spearman's rank correlation
over its snapshots between the signal and the accuracy on the test split; the mean over the runs, its interval from a bootstrap
over runs and, within each, snapshots. A look after the fact, for tasks with a checker: nothing is decided by it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..benchmarks.statistics import spearman
from ..errors import BadInput
from ..printing import enduring
from ..steps.harness import explained
from ..storage import read_json, write_json

FIGURES = {
    "policy/reward": "the policy's reward in training",
    "critic/accuracy": "the critic's accuracy on fresh pairs",
    "critic/tie": "share of ties",
    "policy/kl": "KL to the warm start",
    "policy/tokens": "length of a rollout",
}
WORST, LAST, STEP = "worst frozen critic", "the last critic", "the step's number"
Signals = dict[str, list[float]]


def of_run(
    accuracy: Mapping[int, float], selection: Mapping[str, Any], curves: Mapping[str, Any]
) -> tuple[Signals, list[float]]:
    """Each signal at the run's snapshots, and the truth there. A training figure is the mean of its last two points so far."""
    steps = [step for step in selection["steps"] if step in accuracy]
    rates = [rates for step, rates in zip(selection["steps"], selection["win_rates"], strict=True) if step in accuracy]
    found: Signals = {STEP: [float(s) for s in steps]}
    if all(rates):  # else no critic could judge
        found |= {WORST: [min(r) for r in rates], LAST: [r[-1] for r in rates]}
    for name, label in FIGURES.items():
        points = curves.get(name, [])
        if all(any(at <= step for at, _ in points) for step in steps):
            found[label] = [float(np.mean([value for at, value in points if at <= step][-2:])) for step in steps]
    return found, [accuracy[step] for step in steps]


def tracked(runs: Sequence[tuple[Signals, list[float]]], resamples: int = 2000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """{signal: {"correlation": mean over runs, "low", "high", "runs": each one's own}}."""
    table = {}
    for name in dict.fromkeys(name for signals, _ in runs for name in signals):
        known = [(signals[name], truth) for signals, truth in runs if name in signals]
        own = [spearman(signal, truth) for signal, truth in known]
        told = [value for value in own if value is not None]
        if not told:
            continue
        low, high = _interval(known, resamples, seed)
        table[name] = {"correlation": float(np.mean(told)), "low": low, "high": high, "runs": own}
    return table


def _interval(known: Sequence[tuple[list[float], list[float]]], resamples: int, seed: int) -> tuple[float, float]:
    rng, means = np.random.default_rng(seed), []
    for _ in range(resamples):
        drawn = []
        for run in rng.integers(len(known), size=len(known)):
            signal, truth = (np.asarray(values) for values in known[run])
            rows = rng.integers(len(signal), size=len(signal))
            if (value := spearman(signal[rows], truth[rows])) is not None:
                drawn.append(value)
        if drawn:
            means.append(np.mean(drawn))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def write(table: Path, arm: str = "raro") -> dict[str, Any]:
    """Writes TABLE-signals.json and returns its content. Raises BadInput where one of the three files is missing or they are
    not of the same runs."""
    paths = [
        table.with_suffix(".json"),
        *(table.with_name(f"{table.name}-{part}") for part in ("curves.json", "selection.jsonl")),
    ]
    for path in paths:
        if not path.is_file():
            raise BadInput(f"'{path}' does not exist", "run the study, then python -m raro.study.snapshots on its runs")
    content, curves = read_json(paths[0]), read_json(paths[1])
    lines = [json.loads(line) for line in paths[2].read_text(encoding="utf-8").splitlines() if line.strip()]
    truth = {row["run"]: {int(step): value for step, value in row["accuracy"].items()} for row in lines if "run" in row}
    runs, costs = [], {}
    for own in content["training"].get(arm, []):
        name = f"seed-{own['seed']}"
        if own["selection"] and name in truth:
            runs.append(of_run(truth[name], own["selection"], curves[arm][str(own["seed"])]))
            costs[name] = max(truth[name].values()) - truth[name][own["selection"]["chosen"]]
    if not runs:
        raise BadInput(f"no run of arm '{arm}' is in '{paths[2]}'", "run python -m raro.study.snapshots on that arm's runs")
    result = {"arm": arm, "runs": list(costs), "signals": tracked(runs), "cost_of_selection": costs}
    write_json(table.with_name(f"{table.name}-signals.json"), result)
    return result


def markdown(content: Mapping[str, Any]) -> str:
    """The table for people, the signal that tracked best first."""
    lines = ["| blind signal | rank correlation with test accuracy (95 % interval) | least of the runs |", "|---|---|---|"]
    for name, found in sorted(content["signals"].items(), key=lambda item: -abs(item[1]["correlation"])):
        least = min((abs(value) for value in found["runs"] if value is not None), default=0.0)
        lines.append(f"| {name} | {found['correlation']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f}) | {least:.2f} |")
    worst = max(content["cost_of_selection"].values())
    mean = float(np.mean(list(content["cost_of_selection"].values())))
    return "\n".join([*lines, "", f"Selection cost {100 * mean:.1f} points, {100 * worst:.1f} at most."]) + "\n"


@enduring()
def main(arguments: Sequence[str]) -> int:
    if len(arguments) not in (1, 2):
        print("usage: python -m raro.study.signals TABLE [ARM]", file=sys.stderr)
        return 2
    try:
        print(markdown(write(Path(arguments[0]), *arguments[1:])), end="")
    except BadInput as error:
        print(explained(error), file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
