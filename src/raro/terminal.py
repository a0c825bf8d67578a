"""What a person sees in the terminal while a run goes on, and when it has ended.

Both are drawn from the run's folder alone: the live view from events.jsonl, the summary from what the steps left. A run on a
cluster, in another process or of yesterday looks the same. Where the output is no terminal, plain lines take the view's place.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .report import reading
from .report.live import View
from .report.reading import Record, percent, span
from .report.stages import ORDER, PLACES, Stage, Stages, duration, launch, title
from .tracking import events

PAUSE = 0.2  # seconds between two looks at the events
QUIET = 10.0  # seconds between two plain lines about one stage


def say(text: str) -> None:
    """On stderr, as it stands."""
    Console(stderr=True).out(text, highlight=False)


def follow(run: str | Path, alive: Callable[[], bool], console: Console | None = None) -> None:
    """Shows the run until `alive` says no, and what it wrote last. Ctrl-C passes through."""
    console = console or Console()
    if console.is_terminal and not console.is_dumb_terminal:
        _live(Path(run), alive, console)
    else:
        _plain(Path(run), alive, console)


def _live(run: Path, alive: Callable[[], bool], console: Console) -> None:
    view = View(run, console)
    with Live(view, console=console, auto_refresh=False, vertical_overflow="crop") as live:
        going = True
        while going:
            going = alive()  # asked first, so that the last events are read after the last writer has ended
            view.look(going)
            live.update(view, refresh=True)
            if going:
                time.sleep(PAUSE)


def _plain(run: Path, alive: Callable[[], bool], console: Console) -> None:
    stages, told = Stages(), {}
    going = alive()
    before, offset = events.read(run)
    found = [] if going and Stages().take(before).over else launch(before)  # not what an earlier launch left
    while True:
        for event in found:
            stages.take([event])
            if event["kind"] in ("done", "skipped", "failed") and event["stage"] in ORDER:
                _line(console, _ended(stages[event["stage"]]))
            elif event["kind"] == "note" and event.get("level") == "warning":
                _line(console, f"{event['stage']}: {event['text']}")
        now, current = time.time(), stages.current
        if current and now - max(told.get(current.name, 0.0), current.started or 0.0) >= QUIET:
            told[current.name] = now
            _line(console, _going(current, now))
        if not going:
            return
        time.sleep(PAUSE)
        going = alive()
        found, offset = events.read(run, offset)


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _ended(stage: Stage) -> str:
    if stage.status == "failed":
        return f"{title(stage)} failed: {stage.failure.get('line', '')}"
    if stage.status == "kept":
        return f"{title(stage)} already done"
    return f"{title(stage)} done in {duration(stage.seconds)}"


def _going(stage: Stage, now: float) -> str:
    """One plain line: train 120/200, 1:40 left, policy reward 0.31, critic accuracy 70 %, gate open."""
    counted = f" {stage.done:,}/{stage.total:,}" if stage.total else ""
    left = stage.left(now)
    parts = [f"{duration(left)} left" if left is not None else f"{duration(stage.elapsed(now))} so far"]
    if stage.work:
        return f"{title(stage)}{counted}: {', '.join([*parts, stage.work])}"
    for name, label, form in (
        ("policy/reward", "policy reward", "{:.2f}"),
        ("critic/accuracy", "critic accuracy", "{:.0%}"),
        ("dev/sampled", "dev sampled", "{:.1%}"),
    ):
        if (value := stage.value(name)) is not None:
            parts.append(f"{label} {form.format(value)}".replace("%", " %"))
    if (gate := stage.value("game/gate_open")) is not None:
        parts.append("gate open" if gate else "gate shut")
    return f"{title(stage)}{counted}: {', '.join(parts)}"


# --------------------------------------------------------------------------------------------------------------- the summary


def summary(run: str | Path, console: Console | None = None) -> None:
    """What came out of the run, where to read more, and what to type next."""
    console = console or Console()
    record = reading.read(run)
    console.print()
    if record.outcome in ("failed", "interrupted"):
        _failure(record, console)
    else:
        _result(record, console)
    console.print()
    for label, command in _pointers(record):
        _line_of(console, label, command)


def _result(record: Record, console: Console) -> None:
    word, style = {
        "promote": ("Promoted: the candidate became champion.", "bold green"),
        "hold": ("Held: the candidate is registered as challenger, for a person to promote.", "bold yellow"),
        "reject": ("Rejected: the candidate was not registered.", "bold red"),
        "nothing-new": ("Nothing new to train on.", "bold"),
        "unfinished": ("The run has not reached a decision.", "bold"),
    }[record.outcome]
    if record.arms():
        console.print(_table(record))
        console.print()
    console.print(Text(word, style))
    for reason in record.decision.get("reasons") or record.recorded.get("reasons") or []:
        row = Table.grid(padding=(0, 1))
        row.add_row("-", Text(reason))
        console.print(row, width=min(console.width, 100))


def _table(record: Record) -> Table:
    """Every arm with its intervals, in percent, greedy and sampled."""
    n = record.evaluation.get("n")
    on = f" on {n:,} test problems" if n else ""
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title_style="bold")
    table.title = f"{record.measure[0].capitalize()}{on}, in % (95 % interval)"
    table.add_column("")
    ways = [way for way in ("greedy", "sampled") if record.evaluation.get(way)]
    for way in ways:
        table.add_column(way, justify="right", style="")
        table.add_column("", style="dim", no_wrap=True)
    for arm in record.arms():
        cells: list[Text | str] = []
        for way in ways:
            score = record.score(way, arm)
            cells += [percent(score[0]), span(score)] if score else ["", ""]
        name = "SFT rival" if arm == "sft" else reading.ARMS.get(arm, arm)
        table.add_row(name, *cells, style="bold" if arm == "candidate" else "")
    return table


def _failure(record: Record, console: Console) -> None:
    failure = record.failure
    stage = PLACES.get(failure.get("stage", ""), failure.get("stage", "a step"))
    if record.outcome == "interrupted":
        console.print(Text(f"Interrupted in {stage}.", "bold yellow"))
    else:
        console.print(Text.assemble((f"Failed in {stage}: ", "bold red"), failure.get("line", "")), soft_wrap=True)
    if failure.get("remedy"):
        _line_of(console, "remedy", failure["remedy"])
    if failure.get("last_checkpoint"):
        _line_of(console, "checkpoint", failure["last_checkpoint"])


def _pointers(record: Record) -> Iterator[tuple[str, str]]:
    """(label, what to open or to type), every path as short as it can be written from here."""
    run, raro = record.folder, _executable("raro")
    if (run / "report.html").is_file():
        yield "report", _shown(run / "report.html")
    if (mlflow := _mlflow(record)) is not None:
        yield "MLflow", mlflow
    kept = (run / "config.json").is_file()
    if record.outcome in ("failed", "interrupted", "unfinished") and kept:
        label = "once fixed" if record.failure.get("permanent") else "resume"
        yield label, f"{raro} run --output {shlex.quote(_shown(run))}"
    elif record.outcome == "reject" and kept:
        steps = 2 * record.config.get("raro", {}).get("steps", 300)
        yield "train longer", f"{raro} run {shlex.quote(_shown(run / 'config.json'))} --set raro.steps={steps}"
    if record.config.get("demonstrations", {}).get("source", "").startswith("package:") and not record.failure:
        yield "your own data", f"{raro} init --demonstrations URI --base URI"


def _mlflow(record: Record) -> str | None:
    """The command that opens MLflow's pages on this run, or where a server shows them; None without MLflow."""
    from .config import stored
    from .tracking import server

    if not record.config or not server.installed():
        return None
    config = stored(record.config)
    if server.local(server.address(config, record.folder)) and not (record.folder / server.DATABASE).is_file():
        return None
    command = server.ui_command(config, record.folder)
    return command.replace("mlflow", _executable("mlflow"), 1) if command.startswith("mlflow ") else command


def _executable(name: str) -> str:
    """How to call a program of this environment, whether or not it is activated."""
    beside = Path(sys.executable).parent / name
    return shlex.quote(_shown(beside)) if beside.exists() else name


def _shown(path: Path) -> str:
    """The path from the working directory where it lies below it, else whole."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _line_of(console: Console, label: str, text: str) -> None:
    """A label and what may be copied: never broken into lines."""
    console.print(Text.assemble((f"{label + ':':<15}", "dim"), text), soft_wrap=True, highlight=False)
