"""kill -9: nothing that a killed command or step has started goes on unseen, and what was saved is gone on with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_pipeline import GATES, LONGER, SMALL, Launched, launch, process_at_work, stages, wait_for
from test_study import SMALL as STUDY
from test_training import metrics, prepared, start

from raro.steps.alone import RUN, STEP, take
from raro.storage import read_json
from raro.tracking import events

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
LONG = LONGER | {"raro.steps": 400}


def at_work(word: str) -> dict[int, str]:
    """{process: its command} of those whose command or environment names `word`, this one aside."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, state = (path / "cmdline").read_bytes(), (path / "stat").read_text().rpartition(")")[2].split()[0]
            told = command + (path / "environ").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if word.encode() in told and state != "Z" and int(path.name) != os.getpid():
            found[int(path.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found


def nothing_is_left_of(word: str) -> None:
    wait_for(lambda: not at_work(word))


def pipeline_of(launched: Launched) -> int:
    """The pipeline's own process."""
    (found,) = [pid for pid, command in at_work(str(launched.folder)).items() if "raro.pipelines.retraining" in command]
    return found


def free(folder: Path, *names: str) -> Callable[[], bool]:
    """Whether these locks of a run's folder can be had."""
    return lambda: all((lock := take(folder / name)) and (lock.close() or True) for name in names)


def test_a_killed_command_takes_its_pipeline_with_it_and_the_run_goes_on(tmp_path):
    killed = launch(tmp_path / "run", SMALL | LONGER | GATES["reject"])
    wait_for(lambda: killed.reached("train", "metrics"))
    code, said = launch(killed.folder).ended()
    assert code == 2 and f"another raro is writing to '{killed.folder}'" in said, said
    assert re.search(rf"`kill -- -{pipeline_of(killed)}` on", said), said
    killed.process.kill()
    killed.process.wait()
    nothing_is_left_of(str(killed.folder))
    assert stages(killed.folder)["train"] == "failed" and stages(killed.folder)["finish"] == "done"
    assert read_json(killed.folder / "failure.json")["code"] == 130 and (killed.folder / "report.html").is_file()
    code, said = launch(killed.folder).ended()
    assert code == 3, said
    assert any("resumed from checkpoint" in event.get("text", "") for event in events.read(killed.folder)[0])


def test_a_closed_terminal(tmp_path):
    closed = launch(tmp_path / "run", SMALL | LONGER)
    wait_for(lambda: closed.reached("ingest", "start"))
    for _ in range(2):  # the kernel's, and the shell's
        closed.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
    code, said = closed.ended()
    assert code == 130 and stages(closed.folder)["finish"] == "done", said


def test_a_step_ends_where_its_pipeline_is_killed_with_or_without_the_command(tmp_path):
    """Two runs at once: most of their time is imports."""
    lost, both = (launch(tmp_path / name, SMALL | LONG) for name in ("lost", "both"))
    for one in (lost, both):
        wait_for(lambda one=one: one.reached("train", "metrics"))
    os.kill(pipeline_of(lost), signal.SIGKILL)
    gone = (pipeline_of(both), both.process.pid)
    assert process_at_work(both) not in gone
    for sign in (signal.SIGSTOP, signal.SIGKILL):  # first neither can do anything any more
        for process in gone:
            os.kill(process, sign)
    both.process.wait()
    code, said = lost.ended()
    assert code == 4 and "the pipeline's process was killed (SIGKILL)" in said, said
    assert f"`raro run --output {lost.folder}` resumes it" in said
    assert free(lost.folder, RUN, STEP)() and stages(lost.folder)["train"] == "failed"
    nothing_is_left_of(str(tmp_path))


def test_processes_that_train_do_not_outlive_their_step(tmp_path):
    more = {"resources.processes": 2, "raro.steps": 400, "evaluation.track_every": 0}
    folder = prepared(tmp_path / "run", **more)
    process = start(folder)
    wait_for(lambda: metrics(folder) or process.poll() is not None)
    assert len(at_work(str(folder))) >= 4, "the step, torch's launcher and two that train"
    process.kill()
    process.wait()
    nothing_is_left_of(str(folder))


def test_the_runs_of_a_killed_study_end(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY.replace("raro.steps: 3", "raro.steps: 400"), encoding="utf-8")
    command = [sys.executable, "-m", "raro.cli", "study", str(tmp_path / "study.yaml"), "--output", str(tmp_path / "out")]
    study = subprocess.Popen([*command, "--methods", "raro"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folders = [tmp_path / "out" / "raro" / f"seed-{seed}" for seed in (0, 1)]
    wait_for(lambda: all(map(metrics, folders)) or study.poll() is not None)
    assert set(at_work(str(tmp_path))) > {study.pid}
    study.kill()
    study.wait()
    nothing_is_left_of(str(tmp_path))
    assert all(stages(folder)["train"] == "failed" for folder in folders)
