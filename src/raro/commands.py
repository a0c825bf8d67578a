"""The commands that work on this machine: their arguments, and what each does with them. Each imports what it needs."""

from __future__ import annotations

import argparse
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .config import Config, load, overridden, stored
from .errors import BadInput
from .steps import TITLES, run_step
from .steps.claim import CONFIG
from .storage import read_json

DEFAULT = "countdown-mini"
FIRST = ("preflight", "ingest")  # the steps that need no other
Arguments = argparse.Namespace


# ----------------------------------------------------------------------------------------------------------- the configuration


def configured(args: Arguments) -> Config:
    """What the arguments mean: CONFIG with its overrides; else the run's in --output, with them; else the default."""
    overrides = list(args.set)
    if getattr(args, "tracking_uri", None) is not None:
        overrides.append(f"tracking.uri={args.tracking_uri}")
    output = getattr(args, "output", None)
    kept = Path(output) / CONFIG if output else None
    if args.config is None and kept and kept.is_file():
        return stored(overridden(read_json(kept), overrides))
    return load(DEFAULT if args.config is None else args.config, overrides)


def config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="?", help=f"a YAML file or a packaged name (default: {DEFAULT})")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override, e.g. --set raro.steps=100")


def named(text: str) -> str:
    """The `type` of an argument that names something: empty, for a variable is not set, it must not mean the default."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; perhaps a variable in the command is not set")
    return text


def at_least(least: int) -> Callable[[str], int]:
    """The `type` of an argument that counts something."""

    def read(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")
        return int(text)

    return read


def needs(module: str, extra: str, what: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise BadInput(f"{what} needs {module}, which is not installed", f"pip install 'raro-pipelines[{extra}]'")


# --------------------------------------------------------------------------------------------------------------- the commands


def run_arguments(parser: argparse.ArgumentParser) -> None:
    config_arguments(parser)
    parser.add_argument(
        "--output", metavar="DIR", type=named, help="the run's folder; an interrupted run is resumed (default: runs/...)"
    )
    parser.add_argument("--from", dest="first", metavar="STEP", choices=TITLES, help="redo this step and all that follow")
    parser.add_argument("--tracking-uri", metavar="URI", type=named, help="MLflow server (default: SQLite in the run's folder)")


def run(args: Arguments) -> int:
    from .pipelines import local

    needs("kfp", "pipeline", "`raro run`")
    config = configured(args)
    return local.run(config, local.place(config, args.output, args.first), args.first)


def step_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", choices=TITLES, help="one of: " + ", ".join(TITLES))
    config_arguments(parser)
    parser.add_argument(
        "--output", metavar="DIR", type=named, help="the run's folder (default: the newest of this configuration, or a new one)"
    )


def step(args: Arguments) -> int:
    from .pipelines import local

    config = configured(args)
    run = Path(args.output) if args.output else local.newest(config) or local.fresh(config)
    if args.name not in FIRST and not (run / CONFIG).exists():
        line = f"step '{args.name}' continues a run, and there is none in '{run}'"
        raise BadInput(line, f"run `raro step ingest --output {run}` first, or name a run's folder with --output")
    with local.reserved(config, run), _watched(run):
        outputs = run_step(args.name, config, run)
    print(json.dumps({"step": args.name, "run": str(run), "outputs": outputs}))
    return 0


@contextmanager
def _watched(run: Path) -> Iterator[None]:
    """Shows on stderr how the run in `run` goes on, while the block works in this process."""
    from rich.console import Console

    from . import terminal

    ended = threading.Event()
    console = Console(stderr=True)
    view = threading.Thread(target=terminal.follow, args=(run, lambda: not ended.is_set(), console), daemon=True)
    view.start()
    try:
        yield
    finally:
        ended.set()
        view.join()


def init_arguments(parser: argparse.ArgumentParser) -> None:
    place, column = {"metavar": "URI", "type": named, "required": True}, {"metavar": "COLUMN", "type": named}
    parser.add_argument("--demonstrations", **place, help="file, folder, glob or URI; its form is detected")
    start = "the model to start from: folder, s3://, hf://repo@revision, package:// or models:/NAME@ALIAS"
    parser.add_argument("--base", **place, help=start)
    parser.add_argument("--question", **column, help="column of the questions (default: guessed)")
    parser.add_argument("--answer", **column, help="column of the experts' answers (default: guessed)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any setting, e.g. privacy.show_text=none"
    )
    parser.add_argument("--output", metavar="FILE", default="raro.yaml", help="where to write (default: raro.yaml)")


def init(args: Arguments) -> int:
    from .init import write

    columns = [f"demonstrations.{key}={json.dumps(value)}" for key in ("question", "answer") if (value := getattr(args, key))]
    if not args.output or args.output.endswith("/"):
        raise BadInput(f"'{args.output}' is no file's name", "name the file that --output is to write")
    write(args.demonstrations, args.base, Path(args.output), [*args.set, *columns])
    return 0


def study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study", metavar="STUDY", nargs="?", default=DEFAULT, help=f"a YAML file or a packaged name (default: {DEFAULT})"
    )
    parser.add_argument("--methods", metavar="ARM,...", type=named, help="run only these arms")
    parser.add_argument("--seeds", metavar="N,...", type=named, help="these seeds instead of the file's")
    parser.add_argument(
        "--output", metavar="DIR", type=named, help="folder of the runs; finished ones are kept (default: runs/study-...)"
    )
    table = "where the table goes, as .json and .md (default: DIR/table)"
    parser.add_argument("--table", metavar="FILE", type=named, help=table)
    parser.add_argument(
        "--side-by-side", metavar="N", type=at_least(1), default=2, help="runs at once, one thread each (default: 2)"
    )


def study(args: Arguments) -> int:
    from .study import plan, run, table

    names = args.methods.split(",") if args.methods else None
    if args.seeds and not all(part.strip().isdecimal() for part in args.seeds.split(",")):
        raise BadInput(f"--seeds '{args.seeds}' is not a list of whole numbers", "write for example --seeds 0,1,2")
    seeds = [int(part) for part in args.seeds.split(",")] if args.seeds else None
    study = plan.read(args.study).narrowed(names, seeds)
    output = Path(args.output or f"runs/study-{Path(args.study).stem}-{study.digest[:8]}")
    target = Path(args.table) if args.table else output / "table"
    if target.is_dir():
        raise BadInput(f"--table '{target}' is a folder", "name a file: DIR/table")
    jobs = run.run(study, output, args.side_by_side)
    given = {"--methods": args.methods, "--seeds": args.seeds}
    command = " ".join(["raro study", args.study, *(f"{key} {value}" for key, value in given.items() if value)])
    content = table.write(study, jobs, command, target)
    print(table.markdown(content))
    print(target.with_suffix(".json"))
    return 0


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    config_arguments(parser)
    parser.add_argument("--compare", action="store_true", help="time the alternatives too")
    parser.add_argument("--data", action="store_true", help="measure reading demonstrations instead: rows/s and memory")
    parser.add_argument("--rows", metavar="N,N", default="10000,100000", help="sizes for --data (default: 10000,100000)")
    parser.add_argument("--processes", metavar="N", type=int, default=1, help="processes for --data (default: 1)")
    parser.add_argument("--registry", action="store_true", help="measure hashing, verification and transfer instead")
    parser.add_argument(
        "--gigabytes", metavar="N", type=float, default=10, help="size of the model for --registry (default: 10)"
    )
    parser.add_argument("--bucket", metavar="NAME", default="", help="for --registry: transfer to this S3 bucket too")
    parser.add_argument("--rounds", metavar="N", type=at_least(1), default=5, help="how often each is timed (default: 5)")


def bench(args: Arguments) -> int:
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


def forget_arguments(parser: argparse.ArgumentParser) -> None:
    meant = {"action": "append", "default": [], "type": named}  # an empty pattern is in every row
    parser.add_argument("--row", metavar="FILE#ROW", **meant, help="a row, as its `source` names it")
    parser.add_argument("--pattern", metavar="REGEX", **meant, help="matches the text of the rows")
    parser.add_argument("--runs", metavar="DIR", type=named, default="runs", help="folder of the runs (default: runs)")
    written = "where to write their digests (default: forgotten.txt)"
    parser.add_argument("--output", metavar="FILE", type=named, default="forgotten.txt", help=written)


def forget(args: Arguments) -> int:
    from .forget import forget

    forget(Path(args.runs), args.row, args.pattern, Path(args.output))
    return 0


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def doctor(args: Arguments) -> int:
    from .doctor import main as doctor

    return doctor()
