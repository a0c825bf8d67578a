"""Runs a study: each arm and seed in a process of its own, some of them side by side, every one resumable. They end with this
process, however it ends.

A run that has finished is not run again: its steps know by their digests. The arm that sets the budget goes first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..errors import INTERRUPTED, BadInput, RaroError
from ..steps import lifeline
from ..steps.claim import CONFIG, claim
from ..steps.harness import FAILURE, error_of
from ..storage import read_json
from ..tracking import events
from .plan import Arm, Study

STEPS = ("ingest", "warmstart", "train", "evaluate")
PAUSE = 0.5
"""Seconds between two looks at the runs."""


@dataclass(frozen=True)
class Job:
    """One run of the study."""

    arm: Arm
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.arm.name}, seed {self.seed}"


Start = Callable[[Job, dict[Path, TaskID]], None]
"""What does one run, and notes its bar."""


def jobs_of(study: Study, output: Path) -> list[Job]:
    """Every run, those that set the budget first."""
    found = [Job(arm, seed, output / arm.name / f"seed-{seed}") for arm in study.arms for seed in arm.seeds]
    return sorted(found, key=lambda job: job.arm.name != study.budget)


def run(study: Study, output: Path, side_by_side: int) -> list[Job]:
    """Runs what has not run yet, `side_by_side` processes at once, and returns all runs. Raises what failed, once the runs at
    work have ended; the others are left for the next time."""
    jobs = jobs_of(study, output)
    waves = [[j for j in jobs if j.arm.name == study.budget], [j for j in jobs if j.arm.name != study.budget]]
    with lifeline.held() as line, _bars() as bars, ThreadPoolExecutor(side_by_side) as pool:
        overall = bars.add_task(f"{len(jobs)} runs", total=len(jobs), note="")
        start = partial(_one, study, output, bars, line)
        for wave in waves:
            _wave(start, wave, pool, bars, overall)
    return jobs


def _wave(start: Start, jobs: list[Job], pool: ThreadPoolExecutor, bars: Progress, overall: TaskID) -> None:
    shown: dict[Path, TaskID] = {}
    left = {pool.submit(start, job, shown): job for job in jobs}
    failed: BaseException | None = None
    try:
        while left:
            done, _ = wait(left, timeout=PAUSE, return_when=FIRST_COMPLETED)
            for folder, task in list(shown.items()):
                _look(folder, bars, task)
            for future in done:
                job = left.pop(future)
                bars.update(overall, advance=1)
                if (task := shown.pop(job.folder, None)) is not None:
                    bars.remove_task(task)
                if not future.cancelled() and (error := future.exception()):
                    failed = failed or error
                    _cancel(left)
    except KeyboardInterrupt:
        _cancel(left)
        raise
    if failed:
        raise failed


def _cancel(left: dict[Future, Job]) -> None:
    for future in left:
        future.cancel()


def _one(study: Study, output: Path, bars: Progress, line: Mapping[str, str], job: Job, shown: dict[Path, TaskID]) -> None:
    """One run in a process of its own. line: by which it hears of this one's end. Raises what ended it, named by the run."""
    tokens = 0
    if study.budget and job.arm.name != study.budget:
        tokens = spent(output / study.budget / f"seed-{job.seed}")
    config = study.configured(job.arm, job.seed, tokens)
    shown[job.folder] = bars.add_task(job.name, total=None, note="")
    claim(config, job.folder)
    environment = os.environ | line | {"OMP_NUM_THREADS": str(config.resources.threads), "RARO_TRACKING": "off"}
    with open(job.folder / "study.log", "ab") as log:
        process = subprocess.run(
            [sys.executable, "-P", "-m", "raro.study.run", str(job.folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    if process.returncode:
        failure = read_json(job.folder / FAILURE) if (job.folder / FAILURE).exists() else {}
        told = {"line": f"its process ended with exit code {process.returncode}", "remedy": "", "permanent": False} | failure
        named, remedy = f"{job.name}: {told['line']}", told["remedy"] or f"see '{job.folder / 'study.log'}'"
        raise error_of(told | {"code": process.returncode, "line": named, "remedy": remedy})


def spent(folder: Path) -> int:
    """Rollout tokens that a finished run's training has spent."""
    path = folder / "train" / "train.json"
    if not path.is_file():
        raise BadInput(f"'{folder}' has not been trained, and sets the budget", "run the study's budget arm at this seed too")
    return read_json(path)["tokens"]


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), TextColumn("{task.fields[note]}"), refresh_per_second=2,
        console=Console(stderr=True),
    )  # fmt: skip


def _look(folder: Path, bars: Progress, task: TaskID) -> None:
    """Shows how far a run is: its last progress event."""
    told = [e for e in events.read(folder)[0] if e["kind"] == "progress"]
    if told and told[-1].get("total"):
        last = told[-1]
        bars.update(task, completed=last["done"], total=last["total"], note=f"{last['stage']}: {last.get('text', '')}")


def main(folder: Path) -> int:
    """The process of one run: its steps, without pipeline and tracking."""
    from ..config import stored
    from ..steps import run_step
    from ..steps.harness import explained

    lifeline.watch(lifeline.end)
    config = stored((folder / CONFIG).read_text(encoding="utf-8"))
    try:
        for name in STEPS:
            started = time.perf_counter()
            run_step(name, config, folder)
            print(json.dumps({"step": name, "seconds": round(time.perf_counter() - started, 1)}), flush=True)
    except RaroError as error:
        print(explained(error), file=sys.stderr)
        return error.code
    except KeyboardInterrupt:  # failure.json says so
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
