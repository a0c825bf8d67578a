"""The command line. Every command is a function of a `commands` module that imports what it needs: `raro --help` imports
nothing large."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import ModuleType

from . import __version__
from . import commands as here
from .commands import needs
from .errors import INTERRUPTED, BadInput, RaroError
from .printing import enduring
from .steps.harness import explained

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
        "run [CONFIG]": _here("run", "run the whole pipeline on this machine, from data to a registered model"),
        "step NAME [CONFIG]": _here("step", "run a single step of the pipeline"),
        "study [STUDY]": _here("study", "compare methods over several seeds, in one table"),
        "init": _here("init", "write a checked configuration for your own data and model"),
    },
    "Data": {
        "forget": _here("forget", "find the data sets, runs and models that hold given rows"),
    },
    "Registered models": {
        "audit WHAT": _registered("audit", "verify, show, export: where a model comes from, and that nothing was changed"),
        "promote": _registered("promote", "make a version the champion, in your name and with a reason"),
        "rollback": _registered("rollback", "make the previous champion the champion again"),
        "reproduce": _registered("reproduce", "train a version again and compare it with the original"),
        "serve": _registered("serve", "write a KServe manifest that verifies the model before serving it"),
        "chat": _registered("chat", "ask a registered model; its critic can pick the best of N answers"),
        "gc": _registered("gc", "list or delete old versions; legal holds, erasure requests"),
    },
    "On a cluster": {
        "compile": _on_a_cluster("compile", "write the same pipeline as YAML for Kubeflow"),
        "submit [CONFIG]": _on_a_cluster("submit", "run it once on a cluster"),
        "schedule WHAT": _on_a_cluster("schedule", "apply, list, delete: runs on a schedule"),
    },
    "This machine": {
        "doctor": _here("doctor", "check what works here, and what is missing"),
        "bench": _here("bench", "measure speed; the last line is one JSON object"),
    },
}
EXAMPLES = """\
  raro run                                         the miniature: minutes, no GPU, no network
  raro run --set raro.steps=100 --output runs/try  100 steps, in a folder of your choice
  raro run --output runs/try                       resumes that run where it stopped
  raro init --demonstrations answers.jsonl --base hf://Qwen/Qwen2.5-1.5B-Instruct@main"""
EXIT_CODES = """\
  0  done, or nothing new to train on
  2  bad input: the message says what, and how to fix it
  3  a gate or an audit refused (a rejected candidate)
  4  a service failed, worth a retry
  130  interrupted;  1  a bug in raro"""


# --------------------------------------------------------------------------------------------------------------------- parser


def page() -> str:
    """What `raro --help` shows."""
    lines = [f"raro {__version__}: trains a model to reason from expert answers, and registers it", ""]
    lines += ["usage: raro COMMAND [OPTIONS]      raro COMMAND --help for details"]
    for group, commands in COMMANDS.items():
        lines += ["", group, *(f"  {name:<20}{command.line}" for name, command in commands.items())]
    return "\n".join([*lines, "", "Examples", EXAMPLES, "", "Exit codes", EXIT_CODES, ""])


class _Parser(argparse.ArgumentParser):
    """Errors in our words: one line, a remedy, exit code 2."""

    def error(self, message: str):
        raise BadInput(message, f"see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """argparse's own, which names no nearest."""
        if action.choices is None or value in action.choices:
            return
        known = [str(one) for one in action.choices]
        what = "command" if action.dest == "command" else "/".join(action.option_strings) or str(action.metavar)
        near = get_close_matches(str(value), known, n=1, cutoff=0.5)
        told = f"the nearest is '{near[0]}'" if near else f"there are {', '.join(known)}"
        raise BadInput(f"there is no {what} '{str(value)[:60]}': {told}", f"see {self.prog} --help")


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
        if (refused := _refused(error)) is None:
            raise
        print(explained(refused), file=sys.stderr)
        return refused.code
    except KeyboardInterrupt:
        print("raro: interrupted", file=sys.stderr)
        return INTERRUPTED


def _refused(error: OSError) -> BadInput | None:
    """What this machine does with no such path, in a line; None where the error is of another kind."""
    if error.errno == errno.ENAMETOOLONG:
        line = f"'{str(error.filename)[:60]}...' is too long for a name or a path on this disk"
        return BadInput(line, "choose a shorter one: most disks allow names of 255 bytes")
    if error.errno in (errno.EACCES, errno.EPERM) and error.filename and os.environ.get("RARO_DEBUG") != "1":
        return BadInput(f"'{error.filename}' may not be opened: {error.strerror}", "do it as who may, or ask for that right")
    return None


if __name__ == "__main__":
    sys.exit(main())
