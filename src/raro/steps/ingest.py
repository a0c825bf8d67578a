"""Ingest: the experts' files become train, dev and test, a quarantine, a manifest and a data card; the data gate looks at them,
and the pipeline learns whether there is anything new to train on.

What is read is remembered by digest: the step runs again where a source or a benchmark has changed, and not otherwise. Where
too much is quarantined, too little is left, or the data has drifted, the run stops here, before any GPU is asked for, and
RUN/quarantine.jsonl tells which rows and why.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import demonstrations as data
from ..benchmarks import measurable
from ..config import Config
from ..demonstrations import canaries, drift, forgotten, sheet
from ..demonstrations.card import FILE, described
from ..demonstrations.contamination import benchmark_sources
from ..demonstrations.shown import Shown
from ..errors import GateRefused, ServiceFailed
from ..records import Demonstration
from ..storage import digest_file, read_json, write_json, writing
from ..tracking import server
from ..tracking.events import Events
from ..tracking.settled import settled
from . import incumbent
from .harness import Step
from .preflight import cores

MOST_PROCESSES = 4  # more of them wait for the one that reads: it takes a quarter of the work, with all screens (M)


def run(config: Config, run: Path) -> dict[str, Any]:
    """Writes train.jsonl, dev.jsonl, test.jsonl, quarantine.jsonl, data.json, data-card.md and data-card.html. Raises BadInput
    where the data cannot be read, or nothing measured on it, GateRefused where it is not fit to train on; its outputs say
    `proceed`, or `nothing-new` where the champion was made from the same data, settings and base, or an earlier run with them
    was held or rejected."""
    settings = config.demonstrations
    with Step("ingest", config, run, given=lambda: _given(config), stands=lambda outputs: _stands(config, outputs)) as step:
        if step.skipped:
            _ask_again(config, run, step)
            return step.outputs
        events = step.events
        found = data.sources(settings.source)
        files = described(found)
        card = data.collect(settings, found, step.folder, config.privacy.show_text, events.progress, processes_of(config))
        kept = run / data.QUARANTINE
        if stop := card.stop(settings, kept):
            _copy(step.folder / data.QUARANTINE, kept)
            raise stop
        kept.unlink(missing_ok=True)
        for line in measurable.check(data.load_split(step.folder, "test"), config):
            events.note(line, "warning")
        champion, away = _champion(config, run, events)
        content = card.content(files, settings)
        if stop := _drifted(content, config, run, champion):
            _copy(step.folder / data.QUARANTINE, kept)
            raise stop
        if n := config.privacy.canaries:
            content["canaries"] = canaries.plant(step.folder, n, config.seed, settings.licence)
            events.note(f"{n} canaries are planted in the training split")
        write_json(step.folder / FILE, content)
        sheet.write(step.folder, content, _samples(card, config), config.name)
        if not content["splits"]["dev"]:
            events.note("the dev split is empty", "warning")
        if card.unread:
            events.note(f"{len(card.unread):,} files of the source are not read: see ingest/{FILE}", "warning")
        if card.quarantined:
            events.note(f"{card.quarantined:,} of {card.rows:,} rows are quarantined: see ingest/{data.QUARANTINE}", "warning")
        nothing = _nothing_new(champion, config, content["digest"], run)
        earlier = None if nothing or away else _earlier(config, run, content["digest"])
        if earlier:
            step.outputs["settled"] = earlier
        step.outputs |= {
            "verdict": "nothing-new" if nothing or earlier else "proceed",
            "tracking_uri": config.tracking.uri,
            "digest": content["digest"],
            **content["splits"],
            "rows": card.rows,
            "quarantined": card.quarantined,
        }
        return step.outputs


def processes_of(config: Config) -> int:
    """Processes that examine rows on this machine."""
    return config.resources.ingest_processes or min(cores(), MOST_PROCESSES)


def _samples(card: data.Card, config: Config) -> list[Demonstration]:
    """What the data card may show."""
    shown = Shown.of(config)
    return [replace(one, question=shown(one.question), answer=shown(one.answer)) for one in card.samples] if shown else []


def _given(config: Config) -> dict[str, str]:
    """What is read besides the configuration, by digest."""
    settings = config.demonstrations
    given = {"sources": data.source_digest(data.sources(settings.source))}
    if settings.forget:
        given["forget"] = digest_file(forgotten.file_of(settings.forget))
    for written, _, files in benchmark_sources(settings):
        given[written] = data.source_digest(files)
    return given


def _stands(config: Config, outputs: Mapping[str, Any]) -> bool:
    """That there is nothing new was said of one MLflow's champion, and not of another's."""
    return outputs["verdict"] == "proceed" or outputs.get("tracking_uri") == config.tracking.uri


def _ask_again(config: Config, run: Path, step: Step) -> None:
    """The gate again, of data that stands, where it was another MLflow that was asked for the champion. What was trained on the
    data stands too. Raises GateRefused."""
    if step.outputs.get("tracking_uri", config.tracking.uri) != config.tracking.uri:
        champion, _ = _champion(config, run, step.events)
        if stop := _drifted(read_json(run / "ingest" / FILE), config, run, champion):
            raise stop


def _copy(source: Path, target: Path) -> None:
    """The quarantine outlives the step's own folder, whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    with writing(target):
        shutil.copyfile(source, partial)
        partial.replace(target)


def _champion(config: Config, run: Path, events: Events) -> tuple[Any, bool]:
    """(the registered champion, whether MLflow is away): None where there is none, or nothing to ask.

    Whoever goes on in an outage (tracking.on_outage) may train what was trained before, but promotes nothing unseen: the steps
    after the training ask again and do not go on without an answer. Raises GateRefused where the champion's files are not those
    that were registered; ServiceFailed where going on is not wanted, or where the outage would open a gate: data that is to be
    compared with the champion's."""
    if not server.installed():
        return None, False
    from ..registry.models import champion

    try:
        with incumbent.usable(config):  # now, rather than after the training
            return champion(config, run), False
    except ServiceFailed as error:
        if config.tracking.on_outage == "stop":
            raise
        if config.demonstrations.drift_against == "champion":
            remedy = "wait for MLflow, a retry asks again; or name a data.json, or nothing, in demonstrations.drift_against"
            raise ServiceFailed(f"{error.line}; the data is to be compared with the champion's", remedy) from error
        events.note(f"{error.line}; whether this was trained before is unknown, and the run continues", "warning")
        return None, True


def _nothing_new(champion: Any, config: Config, digest: str, run: Path) -> bool:
    if champion is None:
        return False
    from ..registry.bases import base_digest
    from ..registry.models import unchanged

    return unchanged(champion, config, digest, base_digest(config, run))


def _earlier(config: Config, run: Path, digest: str) -> str | None:
    """The earlier run that has settled this already."""
    from ..registry.bases import base_digest

    return settled(config, run, digest, lambda: base_digest(config, run))


def _drifted(content: dict[str, Any], config: Config, run: Path, champion: Any) -> GateRefused | None:
    """Compares with the earlier manifest that the settings name, notes the figures in `content`, and returns the reason to
    stop, if there is one."""
    named, before = config.demonstrations.drift_against, None
    if named == "champion" and champion is not None:
        from ..registry.data import manifest_of

        named, before = f"the champion, version {champion.version}", manifest_of(champion, config, run)
    elif named not in ("", "champion"):
        before = drift.manifest(named)
    if before is None:
        return None
    figures = drift.drift(content, before)
    content["drift"] = {"against": named, "digest": before["digest"], "figures": figures}
    return drift.refusal(figures, config.demonstrations, named)
