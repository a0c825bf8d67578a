"""Warm start: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def warmstart(
    config: str,
    run: str,
    job: str,
    ingest: dsl.Input[dsl.Artifact],
    manifest: dsl.Output[dsl.Artifact],
):
    """Teaches the base the format both roles speak, by supervised steps on the demonstrations.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        ingest: The manifest of step ingest.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.
    """
    from raro.steps.task import perform

    perform("warmstart", config, run, job, manifest, {"ingest": ingest})
