"""Record: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def record(
    config: str,
    run: str,
    job: str,
    ingest: dsl.Input[dsl.Artifact],
    manifest: dsl.Output[dsl.Artifact],
    decide: dsl.Input[dsl.Artifact] = None,
):
    """Records why nothing was registered: nothing new to train on, or a rejected candidate.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        ingest: The manifest of step ingest.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.
        decide: The manifest of step decide, where there was something to decide.
    """
    from raro.steps.task import perform

    perform("record", config, run, job, manifest, {"ingest": ingest, "decide": decide} if decide else {"ingest": ingest})
