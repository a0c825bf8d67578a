"""Preflight: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preflight(
    config: str,
    run: str,
    job: str,
    manifest: dsl.Output[dsl.Artifact],
):
    """Checks everything that is cheap to check, before any accelerator is asked for.

    Base, demonstrations, tracking server, place and device; and what machine the run is made on.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.
    """
    from raro.steps.task import perform

    perform("preflight", config, run, job, manifest)
