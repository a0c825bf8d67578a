"""The command line. Every command is a function of a `commands` module that imports what it needs: `raro --help` imports
nothing large."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from . import __version__
from . import commands as here
from .commands import needs
from .errors import BadInput, RaroError
from .printing import enduring
from .steps.harness import INTERRUPTED, explained

Arguments = argparse.Namespace


@dataclass(frozen=True)
class Command:
    """line: for the page. arguments: adds them to its parser. run: does it and returns the exit code."""

    line: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], int]


def _of(module: ModuleType, name: str, line: str) -> Command:
    return Command(line, getattr(module, f"{name}_arguments"), getattr(module, name))


def _here(name: str, line: str) -> Command:
    """A command of raro.commands."""
    return _of(here, name, line)


def _registered(name: str, line: str) -> Command:
    """A command of raro.registrar.commands."""
    from .registrar import commands

    return _of(commands, name, line)


def _on_a_cluster(name: str, line: str) -> Command:
    """A command of raro.pipelines.commands."""
    from .pipelines import commands

    command = _of(commands, name, line)

    def run(args: Arguments) -> int:
        needs("kfp", "pipeline", f"`raro {name}`")
        return command.run(args)

    return replace(command, run=run)


COMMANDS: dict[str, dict[str, Command]] = {
    "Train": {
        "run [CONFIG]": _here("run", "the whole pipeline on this machine, from demonstrations to a registered model"),
        "step NAME [CONFIG]": _here("step", "one step of it alone"),
        "study [STUDY]": _here("study", "methods x seeds, each a run of its own, one table"),
        "init": _here("init", "a checked configuration for your own demonstrations and model"),
    },
    "Data": {
        "forget": _here("forget", "which data sets, runs and models hold given rows"),
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
        "doctor": _here("doctor", "what works here, and what is missing"),
        "bench": _here("bench", "speed beside the peers; the last line is one JSON object"),
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


@enduring()
def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command. RARO_DEBUG=1 shows the traceback of our own errors too."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        print(page())
        return 0
    try:
        args, unknown = _parser().parse_known_args(arguments)
        if unknown:
            raise BadInput(f"`raro {args.command}` takes no {' '.join(unknown)}", f"see raro {args.command} --help")
        return args.run(args)
    except RaroError as error:
        if os.environ.get("RARO_DEBUG") == "1":
            raise
        print(explained(error), file=sys.stderr)
        return error.code
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        line = f"'{str(error.filename)[:60]}...' is longer than a name or a path on this disk may be"
        print(explained(BadInput(line, "choose a shorter one: a name has mostly at most 255 bytes")), file=sys.stderr)
        return BadInput.code
    except KeyboardInterrupt:
        print("raro: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
