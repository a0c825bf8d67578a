"""What the guards would have said of runs that have ended, from their events alone.

    python -m raro.study.alarms [--looks N] RUN...

Prints one JSON object per run: {"run", "steps", "alarms": [{guard, step, since, why}], "truth_then": dev accuracy at the last
look up to the first alarm as a share of the best until then, null without looks or alarms}. --looks: accuracy is the mean over
so many looks in a row, where single ones are noisy. For setting thresholds, and for seeing what they would have cost.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import Guards
from ..errors import BadInput
from ..game.guards import Watch
from ..printing import enduring
from ..steps.harness import explained
from ..tracking import events


def replayed(run: Path, settings: Guards | None = None, looks: int = 1) -> dict[str, Any]:
    """The alarms of one run's training, under these settings. looks: over how many in a row accuracy is taken."""
    by_step = events.trained(run)
    watch = Watch(settings or Guards())
    for step, figures in by_step.items():
        watch.observe(step, figures)
    alarms = [{key: alarm[key] for key in ("guard", "step", "since", "why")} for alarm in watch.alarms]
    truth = [(step, values["dev/sampled"]) for step, values in by_step.items() if "dev/sampled" in values]
    seen = [value for step, value in truth if alarms and step <= alarms[0]["step"]]
    before = [sum(some) / looks for some in zip(*(seen[at:] for at in range(looks)), strict=False)]
    then = before[-1] / max(before) if before and max(before) > 0 else None
    return {"run": f"{run.parent.name}/{run.name}", "steps": len(by_step), "alarms": alarms, "truth_then": then}


@enduring()
def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m raro.study.alarms", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--looks", type=int, default=1, choices=range(1, 100), metavar="N")
    args = parser.parse_args(arguments)
    for run in args.runs:
        if not (run / events.FILE).is_file():
            error = BadInput(f"'{run}' holds no run", "python -m raro.study.alarms RUN...")
            print(explained(error), file=sys.stderr)
            return error.code
    for run in args.runs:
        print(json.dumps(replayed(run, looks=args.looks)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
