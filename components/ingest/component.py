"""Ingest: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(
    config: str,
    run: str,
    job: str,
    preflight: dsl.Input[dsl.Artifact],
    manifest: dsl.Output[dsl.Artifact],
) -> str:
    """Reads, screens and splits the demonstrations, and says whether there is anything new to train on.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        preflight: The manifest of step preflight.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.

    Returns:
        `proceed`, or `nothing-new` where the champion was made from the same data, configuration and base.
    """
    from raro.steps.task import perform

    return perform("ingest", config, run, job, manifest, {"preflight": preflight})["verdict"]
