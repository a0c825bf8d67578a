"""What the critic's tournament is worth, over seeds: finished runs' candidates, each with its own critic, on the test split.

    python -m raro.study.tournaments results/countdown-mini-tournament runs/study-countdown-mini --rivals similarity,rlvr

STUDY's `raro` runs (or those of --arm) play; of each rival arm the run of the same seed answers the same problems by majority
vote, for as many tokens as the tournament spent on each. For benchmarks with a checker only, which scores and never chooses.
Writes TARGET.json: {"command", "n", "items", "seeds",
"scores": {arm: [one mean per seed]}, "paired": {"tournament-ARM": [mean, low, high]}, ...}, the intervals over seeds and
problems; the arms and their budgets are those of `raro.benchmarks.scaling`, and RIVAL_BUDGET. Prints the same as a table.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..benchmarks.scaling import compare, voted
from ..benchmarks.statistics import over_seeds, paired_over_seeds
from ..config import overridden, stored
from ..demonstrations import load_split
from ..printing import enduring
from ..rollout.models import open_model
from ..steps.claim import CONFIG
from ..storage import read_json, write_json


def played(run: Path, n: int, rivals: Sequence[Path] = (), system: str = "") -> dict[str, Any]:
    """The comparison on one finished run, as `scaling.compare` returns it, and its seed. rivals: finished runs of the same data
    whose majority votes join it, each named by its arm. system: instead of the run's own evaluation.tournament_system."""
    settings = [f"evaluation.tournament_system={system}"] if system else []
    config = stored(overridden(read_json(run / CONFIG), settings))
    items = load_split(run / "ingest", "test")[: config.evaluation.tournament_items]
    console = Console(stderr=True)
    with console.status(f"{run.name}: tournaments of {n} on {len(items)} problems"):
        found = compare(open_model(run / "train" / "model", config), items, config, n)
    for rival in rivals:
        own = stored(read_json(rival / CONFIG))
        with console.status(f"{rival.parent.name}, {rival.name}: majority votes"):
            votes = voted(open_model(rival / "train" / "model", own), items, own, found["spent"])
        found["per_item"] |= {f"{rival.parent.name}_{arm}": scores for arm, scores in votes.items()}
    return found | {"seed": config.seed}


def pooled(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table over runs. Raises ValueError where they were not played on equally many problems."""
    arms = {arm: [one["per_item"][arm] for one in found] for arm in found[0]["per_item"]}
    return {
        **{key: found[0][key] for key in ("n", "items", "system", "votes", "ties")},
        "seeds": [one["seed"] for one in found],
        "answers": {budget: sum(one["answers"][budget] for one in found) / len(found) for budget in found[0]["answers"]},
        "tokens": {kind: [one["tokens"][kind] for one in found] for kind in found[0]["tokens"]},
        "scores": {arm: [sum(items) / len(items) for items in runs] for arm, runs in arms.items()},
        "intervals": {arm: over_seeds(runs) for arm, runs in arms.items()},
        "paired": {
            f"tournament-{arm}": paired_over_seeds(arms["tournament"], runs)
            for arm, runs in arms.items()
            if arm not in ("tournament", "any")
        },
    }


@enduring()
def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="where the table goes, as .json")
    parser.add_argument("study", type=Path, help="folder of a finished study")
    parser.add_argument("--arm", default="raro", help="whose critic plays (default: raro)")
    parser.add_argument("--rivals", default="", help="arms that vote, by commas")
    parser.add_argument("--answers", type=int, default=8, help="of a tournament (default: 8)")
    parser.add_argument("--system", default="", choices=("single", "swiss"), help="instead of the runs' own")
    parser.add_argument("--seeds", default="*", help="of which runs, as the shell matches names (default: *)")
    given = parser.parse_args(arguments)
    runs = sorted((given.study / given.arm).glob(f"seed-{given.seeds}"))
    if not runs:
        parser.error(
            f"'{given.study / given.arm}' holds no run seed-{given.seeds}: name the folder of a finished study, and its arm"
        )
    rivals = [given.study / name for name in given.rivals.split(",") if name]
    content = pooled([played(run, given.answers, [rival / run.name for rival in rivals], given.system) for run in runs])
    content["command"] = f"python -m raro.study.tournaments {shlex.join(map(str, arguments))}"
    write_json(given.target.with_suffix(".json"), content)
    table = Table("arm", "accuracy, %", "the tournament less this")
    for arm, interval in content["intervals"].items():
        less = content["paired"].get(f"tournament-{arm}")
        table.add_row(arm, _shown(interval), _shown(less, "+") if less else "")
    Console().print(table)
    return 0


def _shown(interval: Sequence[float], sign: str = "") -> str:
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in interval)
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
