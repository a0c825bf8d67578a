"""`raro schedule apply`, `list` and `delete`: a plan (schedules.py) is shown, then carried out or refused as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from raro.errors import BadInput, printable

from .api import Kubeflow
from .schedules import MARK, Change, File, Place, described, mark, plan, sorted_out
from .submit import Package, package


def apply(api: Kubeflow, file: File, lock: str, dry_run: bool = False, overwrite: bool = False, again: bool = False) -> int:
    """Makes the server agree with the file; returns the exit code. again: makes unchanged schedules anew. Raises BadInput,
    before anything is changed, for a schedule that somebody changed by hand, unless `overwrite`."""
    with package(file.profile, lock) as made:
        pipeline = api.pipeline(made.name)
        version = pipeline and api.version(pipeline, made.version)
        experiment = api.experiment(file.common.experiment, create=False)
        place = Place(version=version or f"{made.version} (new)", experiment=experiment or f"{file.common.experiment} (new)")
        changes = plan(file, api.schedules(), place, again)
        print("\n".join(described(changes, file)) or "no schedules")
        if dry_run:
            print("nothing was changed (--dry-run)")
            return 0
        if not overwrite and (hand := [change for change in changes if change.by_hand]):
            line = f"schedule '{file.common.owner}-{hand[0].name}' was changed by hand on the server; nothing was changed now"
            raise BadInput(line, "take the change over into the file, or apply with --overwrite")
        if any(change.kind in ("create", "replace", "finish", "switch") for change in changes):
            changes = _carry_out(api, file, made, again)
    for change in changes:
        if change.kind == "remove":
            _remove(api, change.jobs)
    return 0


def _carry_out(api: Kubeflow, file: File, made: Package, again: bool) -> list[Change]:
    """All changes but removals. The plan is made again with the ids that are known now."""
    pipeline, version = api.upload(made.name, made.version, made.path)
    place = Place(version=version, experiment=api.experiment(file.common.experiment))
    changes = plan(file, api.schedules(), place, again)
    for change in changes:
        if change.kind in ("create", "replace"):
            kept = _create(api, file, change, pipeline)
            if change.jobs:
                _swap(api, kept, change.jobs, change.content["enabled"])
        elif change.kind in ("finish", "switch"):
            _swap(api, change.jobs[0], change.jobs[1:], change.content["enabled"])
    return changes


def _create(api: Kubeflow, file: File, change: Change, pipeline: str) -> str:
    content, owner = change.content, file.common.owner
    at_once = content["enabled"] and not change.jobs
    return api.create_schedule(
        display_name=f"{owner}-{change.name}",
        description=f"{mark(owner, change.name, content)}\nWritten by `raro schedule apply`: change the file, not this.",
        experiment_id=content["experiment"],
        pipeline_version_reference=api.reference(pipeline, content["version"]),
        runtime_config=api.runtime(**content["parameters"]),
        service_account=content.get("service_account"),
        trigger=api.cron(content["cron"]),
        max_concurrency=content["max_concurrency"],
        no_catchup=content["no_catchup"],
        mode="ENABLE" if at_once else "DISABLE",
        namespace=api.namespace,
    )


def _swap(api: Kubeflow, kept: str, others: Sequence[str], enabled: bool) -> None:
    """`kept` in the place of `others`: the old are silent before the new begins."""
    for old in others:
        api.switch_schedule(old, on=False)
    api.switch_schedule(kept, on=enabled)
    for old in others:
        api.delete_schedule(old)


def _remove(api: Kubeflow, jobs: Sequence[str]) -> None:
    for job in jobs:
        api.switch_schedule(job, on=False)
        api.delete_schedule(job)


def listed(api: Kubeflow) -> int:
    """Prints all schedules of the namespace, ours with their owner."""
    for job in sorted(api.schedules(), key=lambda job: job.display_name):
        found = MARK.search(job.description or "")
        cron = (job.trigger and job.trigger.cron_schedule and job.trigger.cron_schedule.cron) or "-"
        name, owner = printable(job.display_name), f"owner {found[1]}" if found else "not ours"
        print(f"{name:<32} {printable(cron):<18} {str(job.status).lower():<9} {owner}")
    return 0


def delete(api: Kubeflow, owner: str, names: Sequence[str]) -> int:
    """Removes schedules of this owner by their names in the file; what somebody copied by hand stays. Raises BadInput, and
    removes none, where one is not there."""
    standing, _ = sorted_out(owner, api.schedules())
    if unknown := [name for name in names if name not in standing]:
        known = ", ".join(sorted(standing)) or "none"
        raise BadInput(f"no schedule '{unknown[0]}' of owner '{owner}' stands on the server", f"there are: {known}")
    for name in dict.fromkeys(names):
        _remove(api, [job.recurring_run_id for _, job in standing[name]])
        print(f"- {owner}-{name}: removed")
    return 0
