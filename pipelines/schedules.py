"""Schedules as a file: what is wanted (pipelines/schedule.yaml), what stands on the server, and how one becomes the other.

Kubeflow cannot change a recurring run. So a changed one is replaced: the new one is made disabled, the old one disabled, the
new one enabled, the old one deleted. Two are never enabled at once, and a swap that was cut off anywhere leaves both, which the
next `apply` recognises and finishes.

Ours are known by a line in their description, `raro schedule OWNER/NAME DIGEST`, whose digest is of what was written. Where the
server holds something else, somebody changed it by hand: it is shown, and nothing is changed until --overwrite says so. Each
schedule runs once at a time and does not catch up on what it missed. Kubeflow keeps the pipeline in a schedule as it translated
it when the schedule was made, its own images included: --again makes anew what has not changed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from raro.config import Config, load
from raro.errors import BadInput
from raro.settings.reading import read_yaml
from raro.steps.claim import differences
from raro.storage import canonical, digest_text
from raro.typed import built, doc

from . import profile as profiles
from .cron import Cron, parse
from .submit import parameters

FILE = Path("pipelines/schedule.yaml")
MARK = re.compile(r"^raro schedule ([\w.-]+)/([\w.-]+) ([0-9a-f]{16})$", re.MULTILINE)
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One schedule as it is written."""

    name: str = doc("", "lower case, digits, dashes; on the server OWNER-NAME")
    cron: str = doc("", "six fields, seconds first")
    config: str = doc("countdown-mini", "a packaged name, or a YAML file beside where the command runs")
    set: tuple[str, ...] = doc((), "KEY=VALUE, as with --set")
    enabled: bool = doc(True, "whether it starts runs")


@dataclass(frozen=True, kw_only=True)
class Common:
    """What all schedules of a file share."""

    owner: str = doc("raro", "who these schedules belong to")
    experiment: str = doc("raro", "Kubeflow's experiment")
    service_account: str = doc("", "the pods' service account; empty: Kubeflow's default")
    profile: str = doc("gpu", "the cluster's profile")
    timezone: str = doc("UTC", "the cluster's CRON_SCHEDULE_TIMEZONE")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One schedule, checked. parameters: of the pipeline."""

    entry: Entry
    cron: Cron
    config: Config
    parameters: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class File:
    """A whole schedule.yaml, checked."""

    common: Common
    profile: profiles.Profile
    wanted: Sequence[Wanted]
    zone: ZoneInfo

    def next_times(self, cron: Cron, count: int = 3) -> list[str]:
        """When it comes next, by the cluster's clock."""
        return [f"{time:%a %d %b %Y %H:%M:%S}" for time in islice(cron.after(datetime.now(self.zone)), count)]


def read(path: str | Path) -> File:
    """Raises BadInput for the first thing that is wrong: nothing is sent of a file that is not right as a whole."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"the schedules '{path}' do not exist", "name the file with --file")
    body = read_yaml(path, f"'{path}'")
    try:
        entries = body.pop("schedules")
    except (AttributeError, KeyError, TypeError):
        raise BadInput(f"'{path}' is not YAML with a list `schedules`", "see pipelines/schedule.yaml") from None
    if not isinstance(entries, list):
        raise BadInput(f"`schedules` in '{path}' is not a list", "begin each schedule with a dash")
    common = built(Common, body)
    if not NAME.fullmatch(common.owner):
        raise BadInput(f"owner '{common.owner}' cannot be a name", "use lower case, digits and dashes")
    try:
        zone = ZoneInfo(common.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: it names a folder of zones
        raise BadInput(f"timezone '{common.timezone}' is not known", "write for example Europe/Berlin") from None
    profile = profiles.read(common.profile)
    wanted = [_wanted(built(Entry, entry), profile) for entry in entries]
    names = [one.entry.name for one in wanted]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"two schedules in '{path}' are named '{twice[0]}'", "name them apart")
    return File(common=common, profile=profile, wanted=wanted, zone=zone)


def _wanted(entry: Entry, profile: profiles.Profile) -> Wanted:
    if not NAME.fullmatch(entry.name):
        raise BadInput(f"'{entry.name}' cannot name a schedule", "use lower case, digits and dashes")
    try:
        config = load(entry.config, entry.set)
        return Wanted(entry=entry, cron=parse(entry.cron), config=config, parameters=parameters(config, profile))
    except BadInput as error:
        raise BadInput(f"schedule '{entry.name}': {error.line}", error.remedy) from None


# -------------------------------------------------------------------------------------------------- what stands, what is wanted


@dataclass(frozen=True, kw_only=True)
class Place:
    """Ids on the server of what all schedules of a file share: the pipeline's version and the experiment."""

    version: str
    experiment: str


def fields(wanted: Wanted, common: Common, place: Place) -> dict[str, Any]:
    """What a schedule is, for comparison. Which service account Kubeflow's default is, the server alone knows."""
    account = {"service_account": common.service_account} if common.service_account else {}
    return {
        "cron": wanted.cron.text,
        "version": place.version,
        "experiment": place.experiment,
        "parameters": dict(wanted.parameters),
        **account,
        "max_concurrency": "1",
        "no_catchup": True,
        "enabled": wanted.entry.enabled,
    }


def observed(job: Any) -> dict[str, Any]:
    """The same of what stands on the server (V2beta1RecurringRun)."""
    reference, schedule = job.pipeline_version_reference, job.trigger and job.trigger.cron_schedule
    return {
        "cron": (schedule and schedule.cron) or "",
        "version": (reference and reference.pipeline_version_id) or "",
        "experiment": job.experiment_id or "",
        "parameters": dict((job.runtime_config and job.runtime_config.parameters) or {}),
        "service_account": job.service_account or "",
        "max_concurrency": str(job.max_concurrency or ""),
        "no_catchup": bool(job.no_catchup),
        "enabled": job.status == "ENABLED",
    }


def mark(owner: str, name: str, content: Mapping[str, Any]) -> str:
    """The line in the description that says whose a schedule is and what was written."""
    return f"raro schedule {owner}/{name} {digest_text(canonical(content))[:16]}"


def different(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old, now new` lines; the configuration is compared key by key."""

    def opened(content: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(content["parameters"])
        with contextlib.suppress(TypeError, ValueError):  # somebody's own parameter, by hand
            given["config"] = json.loads(given.get("config", "{}"))
        return {**content, "parameters": given}

    return differences(opened(old), opened(new))


@dataclass(frozen=True, kw_only=True)
class Change:
    """One schedule's way. jobs: ids on the server that it concerns, the one to keep first. by_hand: the server holds something
    else than what was written there."""

    name: str
    kind: Literal["unchanged", "create", "replace", "switch", "finish", "remove"]
    lines: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    content: dict[str, Any] = field(default_factory=dict)
    by_hand: bool = False


def sorted_out(owner: str, jobs: Iterable[Any]) -> tuple[dict[str, list[tuple[str, Any]]], dict[str, Any]]:
    """(an owner's by their names in the file, each with the digest of what was written; all others by their own names)."""
    mine, others = {}, {}
    for job in jobs:
        found = MARK.search(job.description or "")
        if found and found[1] == owner and job.display_name == f"{owner}-{found[2]}":  # a copy by hand has another name
            mine.setdefault(found[2], []).append((found[3], job))
        else:
            others[job.display_name] = job
    return mine, others


def plan(file: File, jobs: Iterable[Any], place: Place, again: bool = False) -> list[Change]:
    """What has to be done; again: what is as it should be is made anew. Raises BadInput where a schedule that is not ours bears
    a name that one of ours needs."""
    owner, changes = file.common.owner, []
    mine, foreign = sorted_out(owner, jobs)
    for wanted in file.wanted:
        name = wanted.entry.name
        if (other := foreign.get(f"{owner}-{name}")) is not None:
            line = f"a schedule named '{owner}-{name}' stands on the server and is not ours ({other.recurring_run_id})"
            raise BadInput(line, "rename yours or its owner's, or delete it in Kubeflow")
        changes.append(_change(name, fields(wanted, file.common, place), mine.pop(name, []), again))
    for name, standing in mine.items():
        by_hand = len(standing) == 1 and _standing(*standing[0])[1]
        changes.append(Change(name=name, kind="remove", jobs=[job.recurring_run_id for _, job in standing], by_hand=by_hand))
    return changes


def _change(name: str, content: dict[str, Any], standing: Sequence[tuple[str, Any]], again: bool) -> Change:
    if not standing:
        return Change(name=name, kind="create", content=content)
    ids = [job.recurring_run_id for _, job in standing]
    if len(standing) > 1:  # a swap was cut off
        lines = [f"{len(ids)} of it stand there: an earlier swap was cut off"]
        settled = [job for digest, job in standing if _agrees(_standing(digest, job)[0], content)]
        if again or not settled:
            return Change(name=name, kind="replace", lines=lines, jobs=ids, content=content)
        kept = max(settled, key=lambda job: job.created_at).recurring_run_id  # of two alike the one made --again
        jobs = [kept, *(one for one in ids if one != kept)]
        return Change(name=name, kind="finish", lines=lines, jobs=jobs, content=content)
    now, by_hand = _standing(*standing[0])
    if by_hand and "service_account" not in content:
        now.pop("service_account", None)
    lines = different(now, content)
    if not lines and not again:
        return Change(name=name, kind="unchanged")
    kind = "switch" if by_hand and not again and _agrees(now, content) else "replace"
    lines = lines or ["made anew"]
    return Change(name=name, kind=kind, lines=lines, jobs=ids, content=content, by_hand=by_hand)


def _agrees(now: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
    """Whether two differ at most in whether they are enabled."""
    return {**now, "enabled": content["enabled"]} == content


def _standing(digest: str, job: Any) -> tuple[dict[str, Any], bool]:
    """(what stands there, without a service account where none was written; whether it is something else than was written)."""
    whole = observed(job)
    for found in (whole, {key: value for key, value in whole.items() if key != "service_account"}):
        written = [on for on in (True, False) if digest_text(canonical({**found, "enabled": on}))[:16] == digest]
        if written:
            return found, written != [found["enabled"]]
    return whole, True


def described(changes: Sequence[Change], file: File) -> Iterator[str]:
    """The plan in lines for a person: each schedule in words, with its next times, and what changes."""
    signs = {"unchanged": "=", "create": "+", "remove": "-"}
    wanted = {one.entry.name: one for one in file.wanted}
    for change in changes:
        hand = ", changed by hand on the server" if change.by_hand else ""
        yield f"{signs.get(change.kind, '~')} {file.common.owner}-{change.name}: {change.kind}{hand}"
        if one := wanted.get(change.name):
            yield f"    {one.cron.words()} ({file.common.timezone})" + ("" if one.entry.enabled else "; disabled")
            yield f"    next: {'; '.join(file.next_times(one.cron))}"
        for line in change.lines:
            yield f"    {line[:200]}"
