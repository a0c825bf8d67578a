"""Evaluate: the component."""

from kfp import dsl

from raro.components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    config: str,
    run: str,
    job: str,
    ingest: dsl.Input[dsl.Artifact],
    warmstart: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Artifact],
    manifest: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    solved: dsl.Output[dsl.ClassificationMetrics],
):
    """Measures base, warm start, candidate and champion on the test split, greedy and sampled, with intervals.

    Args:
        config: The run's configuration as canonical JSON.
        run: The run's folder, or with a slash at its end the folder of all runs.
        job: The pipeline run's id, which names its folder among all runs.
        ingest: The manifest of step ingest.
        warmstart: The manifest of step warmstart.
        train: The manifest of step train.
        manifest: What the step wrote: its files with their digests, its inputs, its outputs.
        report: The run's page so far, before the decision.
        metrics: Each arm's scores with the ends of their intervals, as shares.
        solved: Greedy answers right and wrong, of the champion (else the warm start) by row, of the candidate by column.
    """
    from raro.steps.shown import evaluation
    from raro.steps.task import perform

    perform("evaluate", config, run, job, manifest, {"ingest": ingest, "warmstart": warmstart, "train": train})
    evaluation(run, job, report, metrics, solved)
