"""The command line. Every command is a function here that imports what it needs; `raro --help` imports nothing large."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import __version__
from .config import Config, load, parse
from .errors import BadInput, RaroError
from .steps import TITLES, run_step
from .steps.harness import CONFIG, INTERRUPTED, explained

DEFAULT = "countdown-mini"
Arguments = argparse.Namespace


@dataclass(frozen=True)
class Command:
    """line: for the page. arguments: adds them to its parser. run: does it and returns the exit code."""

    line: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], int]


# ----------------------------------------------------------------------------------------------------------- the configuration


def configured(args: Arguments) -> Config:
    """What the arguments mean: CONFIG with its overrides; else the configuration of the run in --output; else the default."""
    overrides = list(args.set)
    if getattr(args, "tracking_uri", None) is not None:
        overrides.append(f"tracking.uri={args.tracking_uri}")
    output = getattr(args, "output", None)
    kept = Path(output) / CONFIG if output else None
    if args.config is None and not overrides and kept and kept.is_file():
        return parse(kept.read_text(encoding="utf-8"))
    return load(args.config or DEFAULT, overrides)


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="?", help=f"a YAML file or a packaged name (default: {DEFAULT})")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override, e.g. --set raro.steps=100")


def _needs(module: str, extra: str, what: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise BadInput(f"{what} needs {module}, which is not installed", f"pip install 'raro-pipelines[{extra}]'")


# --------------------------------------------------------------------------------------------------------------- the commands


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _config_arguments(parser)
    parser.add_argument(
        "--output", metavar="DIR", help="the run's folder; one that was interrupted goes on (default: runs/...)"
    )
    parser.add_argument("--from", dest="first", metavar="STEP", choices=TITLES, help="do this step and all after it again")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow server (default: SQLite in the run's folder)")


def _run(args: Arguments) -> int:
    from .pipelines import local

    _needs("kfp", "pipeline", "`raro run`")
    config = configured(args)
    return local.run(config, local.place(config, args.output, args.first), args.first)


def _step_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", choices=TITLES, help="one of: " + ", ".join(TITLES))
    _config_arguments(parser)
    parser.add_argument(
        "--output", metavar="DIR", help="the run's folder (default: the newest of this configuration, or a new one)"
    )


def _step(args: Arguments) -> int:
    from .pipelines import local

    config = configured(args)
    run = Path(args.output) if args.output else local.newest(config) or local.fresh(config)
    with _watched(run):
        outputs = run_step(args.name, config, run)
    print(json.dumps({"step": args.name, "run": str(run), "outputs": outputs}))
    return 0


@contextmanager
def _watched(run: Path) -> Iterator[None]:
    """Shows on stderr how the run in `run` goes on, while the block works in this process."""
    from rich.console import Console

    from . import terminal

    ended = threading.Event()
    view = threading.Thread(target=terminal.follow, args=(run, lambda: not ended.is_set(), Console(stderr=True)), daemon=True)
    view.start()
    try:
        yield
    finally:
        ended.set()
        view.join()


def _on_a_cluster(name: str, line: str) -> Command:
    """A command of raro.pipelines.commands."""
    from .pipelines import commands

    def run(args: Arguments) -> int:
        _needs("kfp", "pipeline", f"`raro {name}`")
        return getattr(commands, name)(args)

    return Command(line, getattr(commands, f"{name}_arguments"), run)


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--demonstrations", metavar="URI", required=True, help="file, folder, glob or URI; the reader is found out"
    )
    parser.add_argument(
        "--base", metavar="URI", required=True, help="the model to start from: folder, s3:// or hf://repo@revision"
    )
    parser.add_argument("--question", metavar="COLUMN", help="column of the questions (default: guessed)")
    parser.add_argument("--answer", metavar="COLUMN", help="column of the experts' answers (default: guessed)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any setting, e.g. privacy.show_text=none"
    )
    parser.add_argument("--output", metavar="FILE", default="raro.yaml", help="where to write (default: raro.yaml)")


def _init(args: Arguments) -> int:
    from .init import write

    columns = [f"demonstrations.{key}={json.dumps(value)}" for key in ("question", "answer") if (value := getattr(args, key))]
    write(args.demonstrations, args.base, Path(args.output), [*args.set, *columns])
    return 0


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", metavar="STUDY", nargs="?", default=DEFAULT, help=f"a YAML file or a packaged name (default: {DEFAULT})"
    )
    parser.add_argument("--methods", metavar="ARM,...", help="these arms only")
    parser.add_argument("--seeds", metavar="N,...", help="these seeds instead of the file's")
    parser.add_argument(
        "--output", metavar="DIR", help="where the runs go; what has finished there is kept (default: runs/study-...)"
    )
    parser.add_argument("--table", metavar="FILE", help="where the table goes, as .json and .md (default: DIR/table)")
    parser.add_argument("--side-by-side", metavar="N", type=int, default=2, help="runs at once, one thread each (default: 2)")


def _study(args: Arguments) -> int:
    from .study import plan, run, table

    names = args.methods.split(",") if args.methods else None
    if args.seeds and not all(part.strip().isdecimal() for part in args.seeds.split(",")):
        raise BadInput(f"--seeds '{args.seeds}' is not a list of whole numbers", "write for example --seeds 0,1,2")
    seeds = [int(part) for part in args.seeds.split(",")] if args.seeds else None
    study = plan.read(args.study).narrowed(names, seeds)
    output = Path(args.output or f"runs/study-{Path(args.study).stem}-{study.digest[:8]}")
    jobs = run.run(study, output, args.side_by_side)
    given = {"--methods": args.methods, "--seeds": args.seeds}
    command = " ".join(["raro study", args.study, *(f"{key} {value}" for key, value in given.items() if value)])
    target = Path(args.table) if args.table else output / "table"
    content = table.write(study, jobs, command, target)
    print(table.markdown(content))
    print(target.with_suffix(".json"))
    return 0


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    _config_arguments(parser)
    parser.add_argument("--compare", action="store_true", help="beside the peers too")
    parser.add_argument("--data", action="store_true", help="of reading demonstrations instead: rows/s and memory")
    parser.add_argument("--rows", metavar="N,N", default="10000,100000", help="sizes for --data (default: 10000,100000)")
    parser.add_argument("--processes", metavar="N", type=int, default=1, help="that examine rows, for --data (default: 1)")
    parser.add_argument("--registry", action="store_true", help="of hashing, verification and transfer instead")
    parser.add_argument(
        "--gigabytes", metavar="N", type=float, default=10, help="size of the model for --registry (default: 10)"
    )
    parser.add_argument("--bucket", metavar="NAME", default="", help="for --registry: transfer to this S3 bucket, too")
    parser.add_argument("--rounds", metavar="N", type=int, default=5, help="times each contender is timed (default: 5)")


def _bench(args: Arguments) -> int:
    if args.data:
        from .bench_data import main as bench_data

        bench_data(args.rows, args.processes)
        return 0
    if args.registry:
        from .bench_registry import main as bench_registry

        bench_registry(args.gigabytes, args.rounds, args.bucket)
        return 0
    from .bench import main as bench

    bench(configured(args), rounds=args.rounds, compare=args.compare)
    return 0


def _forget_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--row", metavar="FILE#ROW", action="append", default=[], help="a row, as `source` names it")
    parser.add_argument("--pattern", metavar="REGEX", action="append", default=[], help="what stands in the rows meant")
    parser.add_argument("--runs", metavar="DIR", default="runs", help="folder of the runs (default: runs)")
    parser.add_argument("--output", metavar="FILE", default="forgotten.txt", help="list of digests (default: forgotten.txt)")


def _forget(args: Arguments) -> int:
    from .forget import forget

    forget(Path(args.runs), args.row, args.pattern, Path(args.output))
    return 0


def _registered(name: str, line: str) -> Command:
    """A command of raro.registrar.commands."""
    from .registrar import commands

    return Command(line, getattr(commands, f"{name}_arguments"), getattr(commands, name))


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _doctor(args: Arguments) -> int:
    from .doctor import main as doctor

    return doctor()


COMMANDS: dict[str, dict[str, Command]] = {
    "Train": {
        "run [CONFIG]": Command(
            "the whole pipeline on this machine, from demonstrations to a registered model", _run_arguments, _run
        ),
        "step NAME [CONFIG]": Command("one step of it alone", _step_arguments, _step),
        "study [STUDY]": Command("methods x seeds, each a run of its own, one table", _study_arguments, _study),
        "init": Command("a checked configuration for your own demonstrations and model", _init_arguments, _init),
    },
    "Data": {
        "forget": Command("which data sets, runs and models hold given rows", _forget_arguments, _forget),
    },
    "Registered models": {
        "audit WHAT": _registered("audit", "verify, show, export: where a model comes from, and that nothing was changed"),
        "promote": _registered("promote", "a person makes a version champion, by name and with a reason"),
        "rollback": _registered("rollback", "the champion before this one is champion again"),
        "reproduce": _registered("reproduce", "trains a version again and says whether the same comes out"),
        "serve": _registered("serve", "a KServe manifest that verifies the model before it serves it"),
        "chat": _registered("chat", "a registered model answers here, best of N by its own critic"),
        "gc": _registered("gc", "which versions may go, legal holds, erasure; says so first"),
    },
    "On a cluster": {
        "compile": _on_a_cluster("compile", "the same pipeline as YAML for Kubeflow"),
        "submit [CONFIG]": _on_a_cluster("submit", "one run of it on a cluster"),
        "schedule WHAT": _on_a_cluster("schedule", "apply, list, delete: runs that start by the clock"),
    },
    "This machine": {
        "doctor": Command("what works here, and what is missing", _doctor_arguments, _doctor),
        "bench": Command("speed beside the peers; the last line is one JSON object", _bench_arguments, _bench),
    },
}
EXAMPLES = """\
  raro run                                         the miniature: minutes, no GPU, no network
  raro run --set raro.steps=100 --output runs/try  another length, a place of your own
  raro run --output runs/try                       goes on where that run stopped
  raro init --demonstrations answers.jsonl --base hf://Qwen/Qwen2.5-1.5B-Instruct@main"""
EXIT_CODES = """\
  0  done, or nothing new to train on
  2  bad input: one line says what and how to mend it
  3  a gate or an audit said no (a rejected candidate)
  4  a service failed, worth trying again
  130  interrupted;  1  a fault of ours"""


# --------------------------------------------------------------------------------------------------------------------- parser


def page() -> str:
    """What `raro --help` shows."""
    lines = [f"raro {__version__}: learns to reason from what experts wrote, and registers what it learned", ""]
    lines += ["usage: raro COMMAND [OPTIONS]      raro COMMAND --help tells more"]
    for group, commands in COMMANDS.items():
        lines += ["", group, *(f"  {name:<20}{command.line}" for name, command in commands.items())]
    return "\n".join([*lines, "", "Examples", EXAMPLES, "", "Exit codes", EXIT_CODES, ""])


class _Parser(argparse.ArgumentParser):
    """Errors in our words: one line, a remedy, exit code 2."""

    def error(self, message: str):
        raise BadInput(message, f"see {self.prog} --help")


class _Page(_Parser):
    def format_help(self) -> str:
        return page()


def _parser() -> argparse.ArgumentParser:
    parser = _Page(prog="raro")
    parser.add_argument("--version", action="version", version=f"raro {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for group in COMMANDS.values():
        for name, command in group.items():
            own = commands.add_parser(name.split()[0], description=command.line, allow_abbrev=False)
            command.arguments(own)
            own.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command. RARO_DEBUG=1 shows the traceback of our own errors too."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        print(page())
        return 0
    try:
        args = _parser().parse_args(arguments)
        return args.run(args)
    except RaroError as error:
        if os.environ.get("RARO_DEBUG") == "1":
            raise
        print(explained(error), file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("raro: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
