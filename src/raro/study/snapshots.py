"""What blind selection cost: the accuracy of every snapshot of finished runs on the test split, beside the one that was chosen.

    python -m raro.study.snapshots runs/study-countdown-mini/raro/seed-*

For benchmarks with a checker only. A look after the fact: nothing is ever decided by it. Prints one JSON object per run, then
the means: {"chosen", "best", "cost"}, sampled at the temperature of training, one answer a problem.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from ..benchmarks.measure import measure
from ..config import stored
from ..demonstrations import load_split
from ..errors import BadInput
from ..learning import checkpoints
from ..printing import enduring
from ..rollout.models import open_model
from ..steps.claim import CONFIG
from ..steps.harness import explained
from ..storage import read_json


def looked_at(run: Path) -> dict[str, Any]:
    """{"run", "accuracy": {step: share}, "chosen": step, "cost": best less chosen}. Raises BadInput where none was
    chosen."""
    from safetensors.torch import load_file

    config = stored((run / CONFIG).read_text(encoding="utf-8"))
    if config.base.lora_rank:
        raise BadInput(
            f"the snapshots of '{run}' are adapters, and this reads whole weights", "look at its train/model instead"
        )
    if not (selection := read_json(run / "train" / "train.json")["selection"]):
        raise BadInput(f"'{run}' chose among no snapshots: it has the last step's", "leave it out")
    speaker = open_model(run / "train" / "model", config)
    items = load_split(run / "ingest", "test")[: config.evaluation.max_items]
    found = {}
    kept = [(step, path) for step, path in checkpoints.snapshots(run / "checkpoints") if step in selection["steps"]]
    for step, path in track(kept, run.name, console=Console(stderr=True)):
        speaker.engine(config).load(load_file(path))
        scores = measure(speaker, items, config, config.rollout.temperature).scores
        found[step] = sum(scores) / len(scores)
    chosen = selection["chosen"]
    return {"run": run.name, "accuracy": found, "chosen": chosen, "cost": max(found.values()) - found[chosen]}


@enduring()
def main(runs: Sequence[str]) -> int:
    try:
        told = [looked_at(Path(run)) for run in runs]
    except BadInput as error:
        print(explained(error), file=sys.stderr)
        return error.code
    for one in told:
        print(json.dumps(one))
    mean = lambda values: sum(values) / len(told)  # noqa: E731
    chosen, cost = mean([one["accuracy"][one["chosen"]] for one in told]), mean([one["cost"] for one in told])
    print(json.dumps({"chosen": chosen, "best": chosen + cost, "cost": cost}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
