"""The retraining pipeline: the same Python is executed on this machine by kfp's local runner and compiled for a cluster.

    finish (exit handler, always last)
      data       preflight -> ingest -> nothing-new: record
                                        proceed:
      training   warmstart -> train
      judgement  evaluate -> decide -> promote, hold: register
                                       reject: record

Each stage is a pipeline of its own inside the run's: a box that opens in Kubeflow's graph. Each If has its Else: a bare If on a
named output is silently false in the local runner. Kubeflow's cache is off: its key knows neither what lies in the run's folder
nor what has changed behind a URI; the steps know both, and skip what is done (raro/steps/harness.py).

A task learns the pipeline run's id as a parameter of its own: Kubeflow replaces a placeholder only where it is the whole of a
value, never inside a longer text.
"""

import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kfp import compiler, dsl, local
from kfp.compiler.compiler_utils import KubernetesManifestOptions
from kfp.dsl import PipelineTask
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.graph_component import GraphComponent

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
from raro.pipelines.cluster import settle
from raro.pipelines.images import unresolved
from raro.pipelines.local import LOG, abandoned, stop_gracefully
from raro.pipelines.profile import Profile
from raro.steps import lifeline
from raro.storage import digest_file

NAME = "raro-retraining"
DESCRIPTION = "From experts' demonstrations to a registered, audited reasoning model."

LARGEST = 100 * 1024  # bytes; a parameter travels as one argument of a command, and Linux allows 128 KiB


class Taken(NamedTuple):
    """What stage data leaves. decision: `proceed` or `nothing-new`."""

    decision: str
    ingest: dsl.Artifact


class Trained(NamedTuple):
    """What stage training leaves."""

    warmstart: dsl.Artifact
    train: dsl.Artifact


class Judged(NamedTuple):
    """What stage judgement leaves. decision: `promote`, `hold` or `reject`."""

    decision: str
    evaluate: dsl.Artifact
    decide: dsl.Artifact


def pipeline(settle: Callable[[PipelineTask, str], None], options: dsl.PipelineConfig | None = None) -> GraphComponent:
    """The pipeline. settle: called with each task and its step's name, to say what a cluster shall give it."""

    def task(component: BaseComponent, **inputs: Any) -> PipelineTask:
        made = component(**inputs, job=dsl.PIPELINE_JOB_ID_PLACEHOLDER).set_caching_options(False)
        settle(made, component.name)
        return made

    def stage(made: GraphComponent, **inputs: Any) -> dict[str, Any]:
        """What it leaves, by name."""
        return dict(made(**inputs).set_caching_options(False).outputs)

    @dsl.pipeline(name="data")
    def data(config: str, run: str) -> Taken:
        """Looks at everything before a GPU is asked for, and takes what the experts wrote."""
        checked = task(preflight, config=config, run=run)
        taken = task(ingest, config=config, run=run, preflight=checked.outputs["manifest"])
        return Taken(decision=taken.outputs["Output"], ingest=taken.outputs["manifest"])

    @dsl.pipeline(name="training")
    def training(config: str, run: str, ingest: dsl.Input[dsl.Artifact]) -> Trained:
        """The warm start, and the game."""
        warm = task(warmstart, config=config, run=run, ingest=ingest).outputs["manifest"]
        trained = task(train, config=config, run=run, ingest=ingest, warmstart=warm).outputs["manifest"]
        return Trained(warmstart=warm, train=trained)

    @dsl.pipeline(name="judgement")
    def judgement(
        config: str,
        run: str,
        ingest: dsl.Input[dsl.Artifact],
        warmstart: dsl.Input[dsl.Artifact],
        train: dsl.Input[dsl.Artifact],
    ) -> Judged:
        """What the candidate can do, and what becomes of it."""
        measured = task(evaluate, config=config, run=run, ingest=ingest, warmstart=warmstart, train=train).outputs["manifest"]
        decided = task(decide, config=config, run=run, evaluate=measured)
        return Judged(decision=decided.outputs["Output"], evaluate=measured, decide=decided.outputs["manifest"])

    @dsl.pipeline(name=NAME, description=DESCRIPTION, pipeline_config=options)
    def retraining(config: str, run: str):
        """Retrains a reasoning model on what experts wrote.

        Args:
            config: The run's configuration as canonical JSON, as preflight writes it to config.json.
            run: The run's folder, which all tasks share; with a slash at its end the folder of all runs.
        """
        given = {"config": config, "run": run}
        with dsl.ExitHandler(task(finish, **given), name="run"):
            taken = stage(data, **given)
            given_on = {**given, "ingest": taken["ingest"]}
            with dsl.If(taken["decision"] == "proceed", name="proceed"):
                learnt = stage(training, **given_on)
                judged = stage(judgement, **given_on, **learnt)
                made = {**given_on, "train": learnt["train"], "evaluate": judged["evaluate"], "decide": judged["decide"]}
                with dsl.If(judged["decision"] == "promote", name="promote"):
                    task(register, **made)
                with dsl.Elif(judged["decision"] == "hold", name="hold"):
                    task(register, **made)
                with dsl.Else(name="reject"):
                    task(record, **given_on, decide=judged["decide"])
            with dsl.Else(name="nothing-new"):
                task(record, **given_on)

    return retraining


retraining = pipeline(lambda task, step: None)  # on this machine nothing is to be said


def compile_to(
    path: str | Path, profile: Profile, reference: Callable[[str], str] = unresolved, namespace: str | None = None
) -> Path:
    """Writes the pipeline for a cluster as Kubeflow's intermediate representation (YAML). reference: an image's, by its name.
    namespace: writes it there as the custom resources Pipeline and PipelineVersion, for GitOps."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    outcomes = ("finished", "success", "failure")  # all three: Kubeflow's own defaults would fill in what is missing
    kept = {f"ttl_seconds_after_{outcome}": profile.keep for outcome in outcomes}
    options = dsl.PipelineConfig(active_deadline_seconds=profile.deadline, **kept)
    placed = pipeline(lambda task, step: settle(task, step, profile, reference), options)
    compiler.Compiler().compile(placed, str(path))
    if namespace:
        resources = KubernetesManifestOptions(
            pipeline_name=NAME, pipeline_version_name=version_of(path), namespace=namespace, include_pipeline_manifest=True
        )
        compiler.Compiler().compile(placed, str(path), kubernetes_manifest_format=True, kubernetes_manifest_options=resources)
    return path


def version_of(path: Path) -> str:
    """A name for the compiled pipeline that changes with any byte of it: what is there already is not uploaded again."""
    return f"{NAME}-{digest_file(path)[:12]}"


def as_parameter(config: Config) -> str:
    """The configuration as the text that travels. Raises BadInput where it is too long for one argument of a command."""
    # In a parameter, too, Kubeflow puts something in the place of {{$...}}, and Argo in that of {{workflow.name}} or {{=...}}.
    text = config.canonical().replace("{{", "{\\u007b")
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
    config = parse((folder / "config.json").read_text(encoding="utf-8"))
    lifeline.watch(lambda: abandoned(config, folder))
    # Each of kfp's tasks leaves a folder in `scratch`.
    with tempfile.TemporaryDirectory(prefix="raro-") as scratch, lifeline.held() as line:
        os.environ |= {"TMPDIR": scratch, **line}
        run_local(config, folder)
