"""The main job, `raro run`: where it writes, what is looked at before anything is written, the pipeline, and what came of it.

The pipeline is a process group of its own; kfp is imported over there, not here. A Ctrl-C reaches this process alone, and so
does the SIGHUP of a terminal that is closed. It asks the group to stop with SIGTERM: the step at work says where it was, the
runner starts no further step but the exit handler, and the group ends by itself. A second Ctrl-C kills it. Where this process
is killed the pipeline hears of it (raro/steps/lifeline.py) and stops in the same way, and holds the folder's lock
(raro/steps/alone.py) to its end; where the pipeline's own process is killed, so does the step at work. Where only a pipe's
reader goes (`raro run | head -1`) this process waits for the pipeline, and ends with its exit code.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from raro.config import Config
from raro.errors import INTERRUPTED, BadInput, RaroError, ServiceFailed
from raro.steps import TITLES, preflight
from raro.steps.alone import STEP, alone, sign, take
from raro.steps.claim import CONFIG, claim
from raro.steps.harness import FAILURE, explained, failure_record
from raro.steps.lifeline import GRACE, held
from raro.steps.stopping import interruptible
from raro.steps.task import STOPPING
from raro.storage import read_json, write_json

RUNS = Path("runs")
LOG = "pipeline.log"


# ------------------------------------------------------------------------------------------------------------- the run's folder


def fresh(config: Config) -> Path:
    """A new folder's name: runs/<UTC>-<first 8 of the configuration's digest>."""
    while (path := RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{config.digest[:8]}").exists():
        time.sleep(0.1)
    return path


def newest(config: Config) -> Path | None:
    """The newest run of this configuration."""
    found = sorted(path.parent for path in RUNS.glob(f"*-{config.digest[:8]}/{CONFIG}"))
    return found[-1] if found else None


def place(config: Config, output: str | None, first: str | None) -> Path:
    """The folder that the arguments mean. Raises BadInput where steps of no run are to be done again."""
    if output:
        if first and not (Path(output) / CONFIG).exists():
            raise BadInput(f"no run lies in '{output}'", "name the run's folder with --output, or leave --from out")
        return Path(output)
    if first is None:
        return fresh(config)
    if (found := newest(config)) is None:
        raise BadInput(f"no run of this configuration lies in '{RUNS}/'", "name it with --output, or leave --from out")
    return found


def discard(folder: Path, first: str) -> None:
    """Removes what a step and all after it have left, checkpoints included. RUN/evaluation.json is the decision's."""
    names = list(TITLES)
    again = names[names.index(first) :]
    for name in again:
        shutil.rmtree(folder / name, ignore_errors=True)
    if "train" in again:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if "decide" in again:
        (folder / "evaluation.json").unlink(missing_ok=True)
    (folder / "report.html").unlink(missing_ok=True)


@contextmanager
def reserved(config: Config, folder: Path) -> Iterator[IO[str]]:
    """Around whatever works in a run's folder from this machine: yields its lock. Raises BadInput where somebody else works
    there, or the folder is no run's: then no lock is left in it."""
    if not (folder / CONFIG).exists():
        claim(config, folder)
    with alone(folder) as lock:
        yield lock


# ------------------------------------------------------------------------------------------------------------------- the run


def run(config: Config, folder: Path, first: str | None = None) -> int:
    """Runs the pipeline and returns the exit code. first: this step and all after it are done again. Raises BadInput and
    ServiceFailed before anything is written; what fails later is told from failure.json."""
    preflight.check(config, folder)
    with reserved(config, folder) as lock:
        claim(config, folder)
        if first:
            discard(folder, first)
        (folder / FAILURE).unlink(missing_ok=True)
        with held() as line:
            process = _start(folder, lock, line)
            stopped = _follow(process, config, folder)
        if process.returncode < 0 and not stopped:
            _lost(process, config, folder)
        return _outcome(process.returncode, folder)


def _start(folder: Path, lock: IO[str], line: Mapping[str, str]) -> subprocess.Popen:
    """The pipeline's process, leader of its group, which holds the lock too. What it and its tasks print goes to
    RUN/pipeline.log. line: by which it hears of this one's end."""
    environment = {**os.environ, **line, "PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    environment.pop(STOPPING, None)
    command = [sys.executable, "-P", "-m", "raro.pipelines.retraining", str(folder)]
    with open(folder / LOG, "ab") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        process = subprocess.Popen(command, **streams, env=environment, start_new_session=True, pass_fds=[lock.fileno()])
    with contextlib.suppress(OSError):  # a full disk: the lock holds unsigned, too
        sign(lock, -process.pid)
    return process


def stop_gracefully() -> None:
    """In the pipeline's process: from SIGTERM on, tasks that are started end at once, all but the exit handler."""
    signal.signal(signal.SIGTERM, lambda number, frame: os.environ.update({STOPPING: "1"}))


def stop(group: int, config: Config, folder: Path) -> None:
    """Asks a pipeline to stop, as Ctrl-C does. group: its processes."""
    with contextlib.suppress(RaroError):  # a full disk
        write_json(folder / FAILURE, failure_record("pipeline", config, folder, KeyboardInterrupt()))
    _signal(group, signal.SIGTERM)


def _signal(group: int, number: int) -> None:
    """To all processes of a group, unless it ends just now."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def abandoned(config: Config, folder: Path) -> None:
    """In the pipeline's process, once `raro run` is gone: it stops, and is killed where it does not."""
    stop(os.getpgrp(), config, folder)
    time.sleep(GRACE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _follow(process: subprocess.Popen, config: Config, folder: Path) -> bool:
    """Shows the run until it ends. Ctrl-C, SIGTERM and SIGHUP stop it gracefully, once; the second time at once. Returns
    whether it was stopped."""
    from raro import terminal

    undo = interruptible()
    try:
        with contextlib.suppress(OSError):  # the terminal is gone, or the events cannot be read
            terminal.follow(folder, lambda: process.poll() is None)
        process.wait()
        return False
    except KeyboardInterrupt:
        stop(process.pid, config, folder)
        terminal.say("raro: stopping; the report is being written (Ctrl-C again: at once)")
        try:
            process.wait(GRACE)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            _signal(process.pid, signal.SIGKILL)
            process.wait()
        return True
    finally:
        undo()


def _lost(process: subprocess.Popen, config: Config, folder: Path) -> None:
    """Somebody killed the pipeline's process. Waits for the step at work, which hears of it and ends, and says so in
    failure.json."""
    deadline = time.monotonic() + GRACE
    while (lock := take(folder / STEP)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    if lock:
        lock.close()
    else:
        _signal(process.pid, signal.SIGKILL)
    line = f"the pipeline's process was killed ({signal.Signals(-process.returncode).name})"
    remedy = f"perhaps for lack of memory; `raro run --output {shlex.quote(str(folder))}` resumes it"
    write_json(folder / FAILURE, failure_record("pipeline", config, folder, ServiceFailed(line, remedy)))


def _outcome(code: int, folder: Path) -> int:
    """Tells what came of the run, and returns its exit code."""
    from raro import terminal

    if (folder / FAILURE).exists():
        failure = read_json(folder / FAILURE)
        step = "" if failure["stage"] == "pipeline" else f" (step {failure['stage']})"
        terminal.say(explained(RaroError(failure["line"] + step, failure["remedy"])))
        if (folder / "report.html").exists():
            terminal.say(f"  report: {folder / 'report.html'}")
        if failure["code"] == INTERRUPTED:
            terminal.say(f"  go on:  raro run --output {shlex.quote(str(folder))}")
        elif failure["code"] == 1:
            terminal.say(f"  log:    {folder / LOG}")
        return failure["code"]
    if code != 0:
        raise RaroError(f"the pipeline's runner failed: {_last_line(folder / LOG)}", f"a fault of ours: see '{folder / LOG}'")
    terminal.summary(folder)
    return 3 if read_json(folder / "finish" / "summary.json")["decision"] == "reject" else 0


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no word in its log")
