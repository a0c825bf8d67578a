"""Register: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    config: str,
    run: str,
    job: str,
    ingest: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Artifact],
    evaluate: dsl.Input[dsl.Artifact],
    decide: dsl.Input[dsl.Artifact],
    manifest: dsl.Output[dsl.Artifact],
):
    """Registers the candidate in MLflow with its manifest, under the alias its decision earns.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        ingest: The manifest of step ingest.
        train: The manifest of step train.
        evaluate: The manifest of step evaluate.
        decide: The manifest of step decide.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.
    """
    from raro.steps.task import perform

    perform("register", config, run, job, manifest, {"ingest": ingest, "train": train, "evaluate": evaluate, "decide": decide})
