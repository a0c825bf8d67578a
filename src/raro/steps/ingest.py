"""Ingest: the experts' files become train, dev and test, a quarantine and a data card; and the pipeline learns whether there is
anything new to train on.

What is read is remembered by digest: the step runs again where a source has changed, and not otherwise. Where too much is
quarantined the run stops here, and RUN/quarantine.jsonl tells which rows and why.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .. import demonstrations as data
from ..config import Config
from ..demonstrations.card import FILE, described
from ..storage import writing
from ..tracking import server
from .harness import Step


def run(config: Config, run: Path) -> dict[str, Any]:
    """Writes train.jsonl, dev.jsonl, test.jsonl, quarantine.jsonl and data.json. Raises BadInput where the data is not fit to
    train on; its outputs say `proceed`, or `nothing-new` where the champion was made from the same data, settings and base."""
    settings = config.demonstrations
    with Step("ingest", config, run, given=lambda: {"sources": data.source_digest(data.sources(settings.source))}) as step:
        if step.skipped:
            return step.outputs
        events = step.events
        found = data.sources(settings.source)
        files = described(found)
        card = data.collect(settings, found, step.folder, config.privacy.show_text, events.progress)
        kept = run / data.QUARANTINE
        if stop := card.stop(settings, kept):
            _copy(step.folder / data.QUARANTINE, kept)
            raise stop
        kept.unlink(missing_ok=True)
        content = card.write(step.folder / FILE, files)
        for split in ("dev", "test"):
            if not content["splits"][split]:
                events.note(f"the {split} split is empty", "warning")
        if card.quarantined:
            events.note(f"{card.quarantined:,} of {card.rows:,} rows are quarantined: see ingest/{data.QUARANTINE}", "warning")
        step.outputs |= {
            "verdict": "nothing-new" if _nothing_new(config, run, content["digest"]) else "proceed",
            "digest": content["digest"],
            **content["splits"],
            "rows": card.rows,
            "quarantined": card.quarantined,
        }
        return step.outputs


def _copy(source: Path, target: Path) -> None:
    """The quarantine outlives the step's own folder, whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    with writing(target):
        shutil.copyfile(source, partial)
        partial.replace(target)


def _nothing_new(config: Config, run: Path, digest: str) -> bool:
    """Whether the champion was made from the same data, configuration and base. Without MLflow there is no champion to meet."""
    if not server.installed():
        return False
    from ..registry.models import champion, unchanged

    return unchanged(champion(config, run), config, digest)
