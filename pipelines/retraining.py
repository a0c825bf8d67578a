"""The retraining pipeline: the same Python is executed on this machine by kfp's local runner and compiled for a cluster.

    finish (exit handler, always last)
      preflight -> ingest -> nothing-new: record
                             proceed: warmstart -> train -> evaluate -> decide -> promote, hold: register
                                                                                  reject: record

Conditions stand only on default outputs (`Output`), each If with its Else: a bare If on a named output is silently false in
the local runner. Kubeflow's cache is off: its key knows neither what lies in the run's folder nor what has changed behind a
URI; the steps know both, and skip what is done (raro/steps/harness.py).
"""

import contextlib
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

from kfp import compiler, dsl, local

from raro.components.decide.component import decide
from raro.components.evaluate.component import evaluate
from raro.components.finish.component import finish
from raro.components.ingest.component import ingest
from raro.components.preflight.component import preflight
from raro.components.record.component import record
from raro.components.register.component import register
from raro.components.train.component import train
from raro.components.warmstart.component import warmstart
from raro.config import Config, parse
from raro.errors import BadInput
from raro.pipelines.local import LOG, stop_gracefully

LARGEST = 100 * 1024  # bytes; a parameter travels as one argument of a command, and Linux allows 128 KiB


@dsl.pipeline(name="raro-retraining", description="From experts' demonstrations to a registered, audited reasoning model.")
def retraining(config: str, run: str):
    """Retrains a reasoning model on what experts wrote.

    Args:
        config: The run's configuration as canonical JSON, as preflight writes it to config.json.
        run: The run's folder, which all tasks share.
    """
    closing = finish(config=config, run=run).set_caching_options(False)
    with dsl.ExitHandler(closing, name="run"):
        checked = preflight(config=config, run=run).set_caching_options(False)
        taken = ingest(config=config, run=run, preflight=checked.outputs["manifest"]).set_caching_options(False)
        data = taken.outputs["manifest"]
        with dsl.If(taken.outputs["Output"] == "proceed", name="proceed"):
            warm = warmstart(config=config, run=run, ingest=data).set_caching_options(False)
            trained = train(config=config, run=run, ingest=data, warmstart=warm.outputs["manifest"]).set_caching_options(False)
            measured = evaluate(
                config=config, run=run, ingest=data, warmstart=warm.outputs["manifest"], train=trained.outputs["manifest"]
            ).set_caching_options(False)
            decided = decide(config=config, run=run, evaluate=measured.outputs["manifest"]).set_caching_options(False)
            made = {"ingest": data, "train": trained.outputs["manifest"], "evaluate": measured.outputs["manifest"]}
            decision = decided.outputs["manifest"]
            with dsl.If(decided.outputs["Output"] == "promote", name="promote"):
                register(config=config, run=run, **made, decide=decision).set_caching_options(False)
            with dsl.Elif(decided.outputs["Output"] == "hold", name="hold"):
                register(config=config, run=run, **made, decide=decision).set_caching_options(False)
            with dsl.Else(name="reject"):
                record(config=config, run=run, ingest=data, decide=decision).set_caching_options(False)
        with dsl.Else(name="nothing-new"):
            record(config=config, run=run, ingest=data).set_caching_options(False)


def compile_to(path: str | Path) -> Path:
    """Writes the pipeline as Kubeflow's intermediate representation (YAML)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(retraining, str(path))
    return path


def as_parameter(config: Config) -> str:
    """The configuration as the text that travels. Raises BadInput where it is too long for one argument of a command."""
    text = config.canonical().replace("{{$", "{{\\u0024")  # in a parameter too, Kubeflow would put something in its place
    size = len(json.dumps(text))
    if size > LARGEST:
        line = f"the configuration is {size // 1024} KiB as a parameter, at most {LARGEST // 1024} can travel"
        raise BadInput(line, "shorten prompts.policy or prompts.critic")
    return text


def run_local(config: Config, run: Path) -> None:
    """The whole pipeline on this machine, each task a process of this interpreter. What the runner and the tasks print goes to
    RUN/pipeline.log. Raises RuntimeError where a task failed (RUN/failure.json says why), BadInput for a configuration that
    cannot travel."""
    text = as_parameter(config)
    run = run.absolute()
    with (
        open(run / LOG, "a", buffering=1, encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of images and resources, which mean nothing here
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(run / ".pipeline"), raise_on_error=True)
        retraining(config=text, run=str(run))


if __name__ == "__main__":  # what `raro run` starts, in a process group that it can end
    stop_gracefully()
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="raro-") as scratch:  # each of kfp's tasks leaves a folder there
        os.environ["TMPDIR"] = scratch
        run_local(parse((folder / "config.json").read_text(encoding="utf-8")), folder)
