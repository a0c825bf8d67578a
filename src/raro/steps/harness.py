"""What every step has in common: its folder appears whole or not at all, it is not run twice, and failing it says why.

A step is written as

    def run(config: Config, run: Path) -> dict:
        with Step("train", config, run) as step:
            if step.skipped:
                return step.outputs
            data = step.input("ingest") / "train.jsonl"
            (step.folder / "train.json").write_text(...)
            step.outputs["selected_step"] = 120
            return step.outputs

On disk, RUN/STEP/manifest.json is written last. It lists the folder's files with their digests, the roots of the inputs that
were read, and the outputs; it is the artifact that travels between the pipeline's tasks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..config import Config
from ..errors import INTERRUPTED, BadInput, GateRefused, RaroError, ServiceFailed, printable
from ..storage import MANIFEST, first_line, manifest, publish_folder, read_json, verify, write_json, writing
from ..tracking.events import Events
from ..tracking.runs import sync
from .alone import at_work
from .claim import CONFIG, claim
from .held import held
from .stopping import interruptible

FAILURE = "failure.json"
Given = Callable[[], Mapping[str, str]]
Stands = Callable[[Mapping[str, Any]], bool]


class Step:
    """One step of one run, as a context manager.

    given: called for what the step reads besides its inputs, {name: digest}: a change makes it run again. stands: whether what
    finished before with these outputs still counts. always: never skip.

    Attributes: folder (write here), events, outputs (small plain values, for the manifest), skipped (True: it finished before
    under an equal configuration and its inputs still stand; the outputs are read, nothing is left to do). What the body raises
    is raised, after RUN/failure.json is written.
    """

    def __init__(
        self,
        name: str,
        config: Config,
        run: str | Path,
        *,
        given: Given | None = None,
        stands: Stands = lambda outputs: True,
        always: bool = False,
    ):
        self.name, self.config, self.run = name, config, Path(run)
        self.given, self.stands, self.always = given, stands, always
        self.folder = self.run / f".{name}.partial"
        self.outputs: dict[str, Any] = {}
        self.skipped = False
        self._inputs: dict[str, str] = {}

    def input(self, name: str) -> Path:
        """The folder of a finished step, every file checked against its manifest. Raises BadInput, GateRefused."""
        self.root(name)
        return self.run / name

    def root(self, name: str) -> str:
        """The digest of a finished step's folder."""
        if name not in self._inputs:
            found = finished(self.run, name, self.config.identity)
            if found is None:
                line = f"step '{self.name}' needs '{name}', which has not finished in '{self.run}'"
                raise BadInput(line, f"run `raro step {name} --output {self.run}` first")
            verify(self.run / name, found)
            self._inputs[name] = found["root"]
        return self._inputs[name]

    def has(self, name: str) -> bool:
        """Whether a step has finished, for inputs that one branch of the pipeline has and another has not."""
        return finished(self.run, name, self.config.identity) is not None

    def __enter__(self) -> Step:
        with contextlib.ExitStack() as holding:
            holding.callback(interruptible())
            if not (self.run / CONFIG).exists():  # a folder that is nobody's run is refused before a lock lies in it
                claim(self.config, self.run, self.name)
            holding.enter_context(at_work(self.run, self.name))
            claim(self.config, self.run, self.name)
            # Of an earlier try or launch; finish tells the others'.
            if self.name != "finish" or failure_of(self.run, self.name):
                (self.run / FAILURE).unlink(missing_ok=True)
            self.events = Events(self.run, self.name)
            self._held = holding.pop_all()
        self._started = time.monotonic()
        try:
            self._open()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _open(self) -> None:
        self._given = dict(self.given()) if self.given else {}
        if not self.always and (before := self._done_before()):
            self.skipped, self.outputs = True, before["outputs"]
            self.events.skipped()
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        with writing(self.folder):
            self.folder.mkdir(parents=True)
        self.events.start(held=held(self.config, self.run, self.name))

    def _done_before(self) -> dict[str, Any] | None:
        found = finished(self.run, self.name, self.config.identity)
        if found is None or found["given"] != self._given or not self.stands(found["outputs"]):
            return None
        try:
            verify(self.run / self.name, found)
        except GateRefused as damage:
            self.events.note(f"{damage.line}: done again", "warning")
            return None
        return found

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        told = error
        try:
            if error is None:
                if not self.skipped:
                    self._publish()
                sync(self.config, self.run)
        except BaseException as own:
            told = own
        with self._held:
            if told is not None and (told := self._failed(told)) is not error:
                raise told from error

    def _publish(self) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        body = {
            "step": self.name,
            "status": "done",
            "config_digest": self.config.digest,
            "identity": self.config.identity,
            "inputs": self._inputs,
            "given": self._given,
            "outputs": self.outputs,
            "seconds": seconds,
            **manifest(self.folder),
        }
        write_json(self.folder / MANIFEST, body)
        publish_folder(self.folder, self.run / self.name)
        self.events.done(self.outputs, seconds)

    def _failed(self, error: BaseException) -> BaseException:
        """Records the failure; returns the error to raise, which may be a clearer one."""
        error = _clearer(error, self.config, self.run)
        shutil.rmtree(self.folder, ignore_errors=True)
        record_failure(self.name, self.config, self.run, error)
        return error


# ------------------------------------------------------------------------------------------------------- a run and its parts


def finished(run: Path, name: str, identity: str) -> dict[str, Any] | None:
    """The manifest of a step that finished under a configuration of this identity, its own inputs standing as it read them;
    else None."""
    path = run / name / MANIFEST
    if not path.exists():
        return None
    found = read_json(path)
    if found["status"] != "done" or found["identity"] != identity:
        return None
    for other, root in found["inputs"].items():
        below = finished(run, other, identity)
        if below is None or below["root"] != root:
            return None
    return found


def last_checkpoint(run: Path) -> str | None:
    """The newest whole checkpoint of the run, relative to it; None where there is none."""
    whole = [state.parent for state in (run / "checkpoints").rglob("step-*/state.json")]
    return str(max(whole, key=lambda folder: folder.stat().st_mtime).relative_to(run)) if whole else None


# -------------------------------------------------------------------------------------------------------------------- failure


def failure_of(run: Path, stage: str) -> dict[str, Any] | None:
    """What failure.json says, where it is of this stage."""
    path = run / FAILURE
    found = read_json(path) if path.exists() else None
    return found if found and found["stage"] == stage else None


def stop_if_permanent(name: str, config: Config, run: Path) -> None:
    """For a scheduler that starts a step again by itself: raises the step's earlier failure once more where trying again cannot
    help; Kubeflow cannot tell bad input from a lost node. A person who starts again has perhaps mended the data: what the exit
    handler has marked as told is behind a scheduler's last try."""
    failure = failure_of(run, name)
    if failure and failure["permanent"] and not failure.get("told") and failure["config_digest"] == config.digest:
        raise error_of(failure)


def failure_record(stage: str, config: Config, run: Path, error: BaseException) -> dict[str, Any]:
    """What failure.json holds."""
    found = {"stage": stage, "config_digest": config.digest, **described(error, config)}
    return found | {"last_checkpoint": last_checkpoint(run)}


def record_failure(stage: str, config: Config, run: Path, error: BaseException) -> None:
    """Writes RUN/failure.json and the event. The exit handler runs after failures, and the first one is kept."""
    failure = failure_record(stage, config, run, error)
    with contextlib.suppress(ServiceFailed):  # a disk too full for these lines: the exit code still tells
        if not (stage == "finish" and (run / FAILURE).exists()):
            write_json(run / FAILURE, failure)
        Events(run, stage).failed(failure)


def described(error: BaseException, config: Config) -> dict[str, Any]:
    """What failure.json says of an error: {"code", "class", "line", "remedy", "permanent", "time" (seconds since 1970)}. A
    library's words may quote the text that it choked on."""
    kind, code, permanent = type(error).__name__, 1, False
    line = printable(f"{kind}: {first_line(error) or 'no message'}")
    if not config.shows_all:
        line = f"{kind}; its words are in the task's log"
    remedy = "a bug in raro or in a library: the traceback is in the log"
    if isinstance(error, RaroError):
        code, line, remedy, permanent = error.code, error.line, error.remedy, error.permanent
    elif isinstance(error, KeyboardInterrupt):
        code, line, remedy = INTERRUPTED, "interrupted", "start again with the same --output: it resumes"
    elif isinstance(error, MemoryError) or "OutOfMemory" in kind:
        remedy = "lower rollout.slots or resources.batch_tokens and start again with the same --output: it resumes"
    return {"code": code, "class": kind, "line": line, "remedy": remedy, "permanent": permanent, "time": time.time()}


def error_of(description: Mapping[str, Any]) -> RaroError:
    """The error that `described` was given, or what stands for a fault of ours."""
    kinds = {kind.code: kind for kind in (BadInput, GateRefused, ServiceFailed)}
    error = kinds.get(description["code"], RaroError)(description["line"], description["remedy"])
    error.permanent = description["permanent"]
    return error


def explained(error: RaroError) -> str:
    """What a person sees of an error: one line, and the remedy below it."""
    return f"raro: {error.line}" + (f"\n  remedy: {error.remedy}" if error.remedy else "")


def _clearer(error: BaseException, config: Config, run: Path) -> BaseException:
    """A full disk, in whatever words a library tells of it, in ours; names of columns as they may be shown."""
    if isinstance(error, BadInput):
        from ..demonstrations.shown import told

        return told(error, config)
    if not isinstance(error, RaroError) and os.strerror(errno.ENOSPC).lower() in str(error).lower():
        remedy = "free some disk space and start again: it resumes"
        return ServiceFailed(f"no space left on the disk of '{run}'", remedy)
    return error
