"""The picture of a run that the terminal shows while it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..tracking import events
from . import reading
from .reading import percent
from .stages import Stage, Stages, duration, title

TALL = 20  # lines; in a lower window only the stage that goes on is shown
COLOURS = {"policy": "dodger_blue1", "critic": "dark_orange", "tie": "grey62", "malformed": "grey50"}
VERDICTS = (  # part, colour, block, the same in ASCII: told apart without colour too
    ("expert", "critic", "█", "#"),
    ("tie", "tie", "░", "-"),
    ("malformed", "malformed", "·", "."),
    ("policy", "policy", "▓", "="),
)


class View:
    """The picture of a run as its events stand; rendered anew at each look, all of it from memory."""

    def __init__(self, run: Path, console: Console):
        self.run = run
        self.console = console
        self.stages = Stages()
        self.plain = console.options.ascii_only
        self._overflow: OverflowMethod = "crop" if self.plain else "ellipsis"
        self._offset = 0
        self._threshold: float | None = None  # of the critic's gate; None until the configuration lies there
        self._began = time.time()
        self._spinner = Spinner("line" if self.plain else "dots", style="bold")

    def look(self, going: bool = True) -> None:
        """Takes in what was written since the last look. going: whether somebody still writes; what an earlier launch left in
        the folder is then not shown."""
        first = self._offset == 0
        found, self._offset = events.read(self.run, self._offset)
        self.stages.take(found)
        if first and going and self.stages.over:
            self.stages = Stages()
        if self._threshold is None and (self.run / "config.json").is_file():
            self._threshold = reading.settings(self.run).get("raro", {}).get("gate") or 0.0

    def __rich__(self) -> RenderableType:
        now = time.time()
        head = Text.assemble(
            ("RARO ", "bold"),
            (str(self.run), "dim"),
            ("  " + duration(max(1.0, now - self._began)), "dim"),
            no_wrap=True,
            overflow=self._overflow,
        )
        low = self.console.size.height < TALL
        stages = [s for s in self.stages.shown() if not low or s.status in ("running", "failed")]
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(min_width=1)
        rows.add_column(min_width=10, no_wrap=True, overflow=self._overflow)
        rows.add_column(min_width=7, justify="right", no_wrap=True, overflow=self._overflow)
        rows.add_column(ratio=1, no_wrap=True, overflow=self._overflow)
        for stage in stages:
            rows.add_row(*self._row(stage, now))
        train = self.stages["train"]
        warned = [Text(f"! {text}", "yellow", overflow=self._overflow, no_wrap=True) for text in self.stages.warnings[-2:]]
        return Group(head, rows, *warned, *([self._training(train)] if train.metrics else []))

    def _row(self, stage: Stage, now: float) -> tuple[RenderableType, RenderableType, RenderableType, RenderableType]:
        name, took = title(stage), duration(stage.elapsed(now))
        if stage.status == "running":
            return self._spinner, Text(name, "bold"), Text(took), self._progress(stage, now)
        if stage.status == "done":
            return Text(self._mark("✓", "+"), "green"), Text(name), Text(took, "dim"), Text(_outputs(stage), "dim")
        if stage.status == "kept":
            return Text(self._mark("✓", "+"), "dim"), Text(name, "dim"), "", Text("already done", "dim")
        if stage.status == "failed":
            line = stage.failure.get("line", "")
            return Text(self._mark("✕", "x"), "bold red"), Text(name, "bold red"), Text(took), Text(line, "red")
        if self.stages.passed_over(stage):
            return Text("-", "dim"), Text(name, "dim"), "", Text("not needed", "dim")
        return Text(self._mark("·", "."), "dim"), Text(name, "dim"), "", ""

    def _mark(self, mark: str, in_ascii: str) -> str:
        return in_ascii if self.plain else mark

    def _progress(self, stage: Stage, now: float) -> RenderableType:
        if not stage.total:
            return Text(stage.text, "dim")
        left = stage.left(now)
        text = f"{stage.done:,}/{stage.total:,}"
        if left is not None:
            text += f"  {duration(max(1.0, left))} left"
        row = Table.grid(padding=(0, 2))
        row.add_column(width=20)
        row.add_column(no_wrap=True, overflow=self._overflow)
        row.add_column(no_wrap=True, overflow=self._overflow)
        bar = ProgressBar(stage.total, stage.done, width=20, complete_style="bold", finished_style="bold")
        row.add_row(bar, text, Text(stage.work, "dim"))
        return row

    def _training(self, train: Stage) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True, min_width=12, overflow=self._overflow)
        grid.add_column(no_wrap=True, overflow=self._overflow)
        for label, told in self._figures(train):
            grid.add_row(label, told)
        step = max(step for step, _ in train.metrics.values())
        title = f"train, step {step:,}" + (f" of {train.total:,}" if train.total and not train.work else "")
        width = min(self.console.width, 78)
        return Panel(grid, title=title, title_align="left", width=width, border_style="dim", padding=(0, 1))

    def _figures(self, train: Stage) -> Iterator[tuple[str, Text]]:
        value = train.value
        yield (
            "rewards",
            _joined(
                ("policy", "{:.2f}", value("policy/reward"), "policy"), ("critic", "{:.2f}", value("critic/reward"), "critic")
            ),
        )
        shares = [value(f"critic/{part}") for part, *_ in VERDICTS]
        if any(shares):
            yield "verdicts", self._verdicts([share or 0.0 for share in shares])
            yield (
                "",
                _joined(*((part, "{:.0%}", share, colour) for (part, colour, *_), share in zip(VERDICTS, shares, strict=True))),
            )
        accuracy = _joined(
            ("", "{:.0%}", value("critic/accuracy"), ""), ("replayed", "{:.0%}", value("critic/accuracy_replay"), "")
        )
        if accuracy:
            yield "critic right", accuracy
        if gate := self._gate(train):
            yield "gate", gate
        dev = _joined(("greedy", "{:.1%}", value("dev/greedy"), ""), ("sampled", "{:.1%}", value("dev/sampled"), ""))
        if dev:
            dev.append(f"  (step {train.metrics.get('dev/sampled', train.metrics.get('dev/greedy'))[0]:,})", "dim")
            yield "dev", dev
        speed = _joined(
            ("generating", "{:,.0f}", value("engine/generate_tokens_per_second"), ""),
            ("learning", "{:,.0f}", value("learn/tokens_per_second"), ""),
        )
        if speed:
            yield "tokens/s", speed

    def _gate(self, train: Stage) -> Text:
        is_open, share, tie = (train.value(f"game/{name}") for name in ("gate_open", "gate_share", "tau_crit"))
        told = Text()
        if is_open is not None and self._threshold != 0:
            until = f" until {100 * self._threshold:.0f} %" if self._threshold else ""
            now = f", critic at {100 * share:.0f} %" if share is not None else ""
            told.append("open" if is_open else f"shut{until}{now}", "" if is_open else "bold")
        return told if tie is None else told.append("   " if told else "").append("tie reward ", "dim").append(f"{tie:.2f}")

    def _verdicts(self, shares: list[float]) -> Text:
        """One bar of blocks, shared out so that they add up."""
        width, bar, before, through = max(12, min(48, self.console.width - 20)), Text(), 0, 0.0
        whole = sum(shares)
        for (_, colour, block, ascii_block), share in zip(VERDICTS, shares, strict=True):
            through += share / whole
            upto = round(width * through)
            bar.append(self._mark(block, ascii_block) * (upto - before), COLOURS[colour])
            before = upto
        return bar


def _joined(*parts: tuple[str, str, float | None, str]) -> Text:
    """(label, format, value, role) side by side; those without a value left out."""
    text = Text()
    for label, form, value, colour in parts:
        if value is not None:
            text.append("   " if text else "")
            text.append(f"{label} " if label else "", COLOURS.get(colour, "dim"))
            text.append(form.format(value).replace("%", " %"))
    return text


def _outputs(stage: Stage) -> str:
    """What is worth a word of a finished stage."""
    told = stage.outputs
    if stage.name == "ingest" and "train" in told:
        return f"{told['train']:,} train, {told.get('dev', 0):,} dev, {told.get('test', 0):,} test"
    if stage.name == "evaluate" and "sampled" in told:
        return f"candidate: greedy {percent(told.get('greedy', 0.0))} %, sampled {percent(told['sampled'])} %"
    if stage.name == "register" and "version" in told:
        return f"{told.get('model')} version {told['version']}, {told.get('alias')}"
    return str(told.get({"decide": "decision", "preflight": "device", "record": "outcome"}.get(stage.name, ""), ""))
