"""What the guards would have said of runs that have ended, from their events alone.

    python -m raro.study.alarms RUN...

Prints one JSON object per run: {"run", "steps", "alarms": [{guard, step, since, why}], "truth_then": dev accuracy at the last
look before the first alarm as a share of the best until then, null without looks or alarms}. For setting thresholds, and for
seeing what they would have cost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import Guards
from ..game.guards import Watch
from ..tracking import events


def replayed(run: Path, settings: Guards | None = None) -> dict[str, Any]:
    """The alarms of one run's training, under these settings."""
    by_step = events.trained(run)
    watch = Watch(settings or Guards())
    for step, figures in by_step.items():
        watch.observe(step, figures)
    alarms = [{key: alarm[key] for key in ("guard", "step", "since", "why")} for alarm in watch.alarms]
    truth = [(step, values["dev/sampled"]) for step, values in by_step.items() if "dev/sampled" in values]
    before = [value for step, value in truth if alarms and step <= alarms[0]["step"]]
    then = before[-1] / max(before) if before and max(before) > 0 else None
    return {"run": f"{run.parent.name}/{run.name}", "steps": len(by_step), "alarms": alarms, "truth_then": then}


def main(arguments: Sequence[str]) -> int:
    missing = [name for name in arguments if not (Path(name) / events.FILE).is_file()]
    if missing or not arguments:
        what = f"'{missing[0]}' holds no run" if missing else "no run was named"
        print(f"raro: {what}\n  remedy: python -m raro.study.alarms RUN...", file=sys.stderr)
        return 2
    for name in arguments:
        print(json.dumps(replayed(Path(name))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
