"""Nobody reads what a command says any more: `raro run ... | head -1`. The work goes on, and has its own exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import made_run
import pytest
from test_pipeline import LONGER, SMALL, launch, stages, wait_for

from raro.storage import read_json


def test_a_run_goes_on_when_its_reader_has_gone(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "1 + 1", "answer": "2"}\n' * 3 + "broken\n" * 3)
    settings = SMALL | {"demonstrations.source": data, "demonstrations.group": "", "demonstrations.split": ""}
    launched = launch(tmp_path / "run", settings)
    launched.process.stdout.close()  # of both streams
    assert launched.process.wait(300) == 3
    assert stages(launched.folder) == {"preflight": "done", "ingest": "failed", "finish": "done"}


def test_ctrl_c_ends_the_reader_too(tmp_path):
    """`raro run ... 2>&1 | tee log`: the terminal's Ctrl-C reaches both."""
    launched = launch(tmp_path / "run", SMALL | LONGER)
    wait_for(lambda: launched.reached("ingest", "start"))
    launched.process.stdout.close()
    launched.process.send_signal(signal.SIGINT)
    assert launched.process.wait(300) == 130
    assert stages(launched.folder)["finish"] == "done" and read_json(launched.folder / "failure.json")["code"] == 130


@pytest.mark.parametrize("stopped", ["", "train"], ids=["summary", "failure"])
def test_a_summary_that_nobody_reads_changes_nothing(stopped, tmp_path):
    folder: Path = made_run.make(tmp_path / "run", **({"fail_at": stopped} if stopped else {}))
    reader, writer = os.pipe()
    os.close(reader)
    shown = f"terminal.follow({str(folder)!r}, lambda: False); terminal.summary({str(folder)!r})"
    program = f"from raro import printing, terminal\nwith printing.enduring(): {shown}"  # as each command does
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    ended = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, env=buffered)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")
