"""Train: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    config: str,
    run: str,
    job: str,
    ingest: dsl.Input[dsl.Artifact],
    warmstart: dsl.Input[dsl.Artifact],
    manifest: dsl.Output[dsl.Artifact],
):
    """Plays the game: policy against relativistic critic, one model in both roles.

    A task that is started again goes on from its last checkpoint in the run's folder.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        ingest: The manifest of step ingest.
        warmstart: The manifest of step warmstart.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.
    """
    from raro.steps.task import perform

    perform("train", config, run, job, manifest, {"ingest": ingest, "warmstart": warmstart})
