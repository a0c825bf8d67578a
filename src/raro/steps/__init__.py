"""The pipeline's steps: plain arguments in, files out. `raro step`, the Kubeflow components and the tests call the same code.

Each step is a module here with `run(config, run) -> outputs`. It is imported only when it is called, so that naming the steps
costs nothing and a step brings only the libraries it needs.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Config
from .harness import stop_if_permanent

# In the order in which the pipeline runs them; what each is for, in words for `raro step --help` and for the terminal.
TITLES: Mapping[str, str] = {
    "preflight": "checks everything that is cheap to check, before anything costly starts",
    "ingest": "reads, screens and splits the demonstrations",
    "warmstart": "teaches the base the format both roles speak",
    "train": "plays the game: policy against critic",
    "evaluate": "measures every arm on the test split, once",
    "decide": "promote, hold or reject",
    "register": "registers the candidate with its alias",
    "record": "records why nothing was registered",
    "finish": "closes the run: tracking, report, summary",
}


def run_step(name: str, config: Config, run: str | Path, retry: bool = False, **more: Any) -> dict[str, Any]:
    """Runs one step of the run in folder `run` and returns its outputs; a step already finished with equal config and inputs is
    not run again. retry: True where a scheduler may have started it again by itself, see `harness.stop_if_permanent`.
    more: what this step takes besides. Raises RaroError; any other exception is a fault of ours."""
    if retry:
        stop_if_permanent(name, config, Path(run))
    # Before torch is imported: it reads these once. More threads than cores left free are slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", str(config.resources.threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return importlib.import_module(f".{name}", __name__).run(config, Path(run), **more)
