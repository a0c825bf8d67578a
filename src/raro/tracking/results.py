"""What an evaluation compared, in MLflow: figures as metrics and tables on the parent run, where runs are compared.

| table (evaluation/...) | rows |
| gate.json | the gate's rules: outcome, what was found, why, figures |
| tests.json | candidate against each arm: difference with interval, p, corrected p, effect, McNemar |
| rubrics.json, choice.json | each arm's score by rubrics, its share of right likeliest choices; the candidate less it |
| strata.json | each stratum and label: problems, every arm's score, the candidate less each rival |

The items: tables.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage import digest_file, digest_text, read_json
from . import tables

if TYPE_CHECKING:
    from .state import State, Tracked

FOLDER = "evaluation"
Table = list[dict[str, Any]]
BY_ARM = {"judge": "wins", "rubrics": "scores", "choice": "right"}
"""Parts of evaluation.json that hold an interval of each arm, and under which key."""


def scores(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """evaluation.json as flat metrics in [0, 1]: `sampled/candidate`, `sampled/candidate/low`, `sampled/candidate/high`, ..."""
    return {
        name: float(value)
        for way in ("greedy", "sampled")
        for arm, interval in evaluation.get(way, {}).items()
        for name, value in _ends(f"{way}/{arm}", interval).items()
    }


def _ends(name: str, interval: Sequence[float | None]) -> dict[str, Any]:
    """An estimate under its name, and the ends of its interval beside it."""
    return {f"{name}{end}": value for end, value in zip(("", "/low", "/high"), interval, strict=True)}


def figures(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """(metric, value, step): paired differences with their intervals, corrected p, the judge's win rates, scores by rubrics,
    likeliest choices, what a critic trained afresh tells, and pass@k, whose step is k. The scores themselves: `scores`."""
    paired, exploited = (evaluation.get(part) or {} for part in ("paired", "exploitability"))
    intervals = {f"paired/{way}/{name}": one for name, ways in paired.items() for way, one in ways.items()}
    for part, key in BY_ARM.items():
        intervals |= {f"{part}/{arm}": one for arm, one in ((evaluation.get(part) or {}).get(key) or {}).items()}
    intervals |= {f"exploitability/{name}": one for name, one in exploited.items() if isinstance(one, (list, tuple))}
    for name, interval in intervals.items():
        for end, value in _ends(name, interval).items():
            yield end, value, 0
    for way, tests in (evaluation.get("tests") or {}).items():
        for arm, row in tests.items():
            yield f"p/{way}/candidate-{arm}", row.get("p_holm", row["p"]), 0
    for arm, curve in (evaluation.get("pass_at") or {}).items():
        for k, value in curve:
            yield f"pass_at/{arm}", value, k


def send(run: Path, tracked: Tracked, state: State) -> None:
    """The figures of an evaluation and, once it is decided, its tables, where they changed."""
    _send_metrics(run, tracked, state)
    _send_tables(run, tracked, state)


def _send_metrics(run: Path, tracked: Tracked, state: State) -> None:
    """Scores with their intervals and the decision, on the parent run, where runs are compared."""
    from mlflow.entities import Metric

    path = run / "evaluation.json"
    if not path.is_file() or state.sent.get("evaluation.json") == digest_file(path):
        return
    evaluation, now = read_json(path), int(path.stat().st_mtime * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in scores(evaluation).items()]
    metrics += [Metric(name, value, now, step) for name, value, step in figures(evaluation)]
    tracked.client.log_batch(tracked.run_id, metrics=metrics)
    if "decision" in evaluation:
        tracked.client.set_tag(tracked.run_id, "raro.decision", evaluation["decision"])
        if (warm := run / "warmstart" / "manifest.json").is_file():
            tracked.client.set_tag(tracked.run_id, "raro.base_digest", read_json(warm)["given"].get("base", ""))


def _send_tables(run: Path, tracked: Tracked, state: State) -> None:
    paths = [run / "evaluation.json", run / "decide" / "decision.json"]
    if not all(path.is_file() for path in paths):
        return
    digest = digest_text(" ".join(map(digest_file, paths)))
    if state.sent.get(FOLDER) == digest:
        return
    evaluation, decision = map(read_json, paths)
    made = {"gate": rules(decision), "tests": tests(evaluation), "strata": strata(evaluation)}
    made |= {part: by_arm(evaluation, part) for part in ("rubrics", "choice")}
    shown = {f"{FOLDER}/{name}.json": tables.split(rows) for name, rows in made.items() if rows}
    tables.write(tracked.client, tracked.run_id, shown)
    state.sent[FOLDER] = digest


# -------------------------------------------------------------------------------------------------------------------- tables


def rules(decision: Mapping[str, Any]) -> Table:
    """Of decision.json; figures as JSON, for every rule has its own."""
    return [
        {key: rule[key] for key in ("rule", "outcome", "told", "why")} | {"figures": json.dumps(rule["figures"])}
        for rule in decision.get("evidence", {}).get("rules") or []
    ]


def tests(evaluation: Mapping[str, Any]) -> Table:
    """Of evaluation.json. wins, losses: McNemar's, None where nothing says right or wrong."""
    found = []
    for way, by_arm in (evaluation.get("tests") or {}).items():
        for arm, row in by_arm.items():
            difference, low, high = evaluation["paired"][f"candidate-{arm}"][way]
            told = {"way": way, "against": arm, "difference": difference, "low": low, "high": high}
            told |= {key: row.get(key) for key in ("p", "p_holm", "effect")}
            test = row.get("mcnemar") or {}
            found.append(told | {"wins": test.get("wins"), "losses": test.get("losses"), "mcnemar_p": test.get("p")})
    return found


def strata(evaluation: Mapping[str, Any]) -> Table:
    """Of evaluation.json, sampled; a difference's interval covers all of them together."""
    found = []
    for name, by_label in (evaluation.get("strata") or {}).items():
        for label, row in by_label.items():
            found.append({"stratum": name, "label": label, "n": row["n"]} | row["scores"])
            for arm, gap in row.get("against", {}).items():
                found[-1] |= _ends(f"candidate-{arm}", gap)
    return found


def by_arm(evaluation: Mapping[str, Any], part: str) -> Table:
    """Of one of BY_ARM; empty where it was not measured, or the judge failed."""
    found = evaluation.get(part) or {}
    return [
        {"arm": arm}
        | _ends("score", interval)
        | _ends("candidate less it", found["paired"].get(f"candidate-{arm}", (None,) * 3))
        for arm, interval in (found.get(BY_ARM[part]) or {}).items()
    ]
