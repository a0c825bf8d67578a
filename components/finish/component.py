"""Finish: the component, and the pipeline's exit handler."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finish(
    config: str,
    run: str,
    job: str,
    status: dsl.PipelineTaskFinalStatus,
    manifest: dsl.Output[dsl.Artifact],
):
    """Closes the run whatever happened before: report, summary, tracking, and why it failed where it did.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        status: How the tasks before ended, from Kubeflow.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.
    """
    from raro.steps.task import perform

    perform("finish", config, run, job, manifest, state=status.state)
