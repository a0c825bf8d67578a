"""Decide: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def decide(
    config: str,
    run: str,
    job: str,
    evaluate: dsl.Input[dsl.Artifact],
    manifest: dsl.Output[dsl.Artifact],
) -> str:
    """Decides by the configured gate what becomes of the candidate, and says why.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        evaluate: The manifest of step evaluate.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.

    Returns:
        `promote`, `hold` or `reject`.
    """
    from raro.steps.task import perform

    return perform("decide", config, run, job, manifest, {"evaluate": evaluate})["decision"]
