"""A rejected candidate in the audit log: nothing of it is registered, and what it was, how it did and why it was refused stays.

The record names no version. It is entered once for a run and its files; the same log holds the versions, so that who reads it
sees what was tried and refused between two champions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Config
from ..tracking.runs import open_run
from . import log, ruling
from .desk import desk_of, signer_of
from .log import PIPELINE
from .registration import judged, shortened


def reject(config: Config, run: Path, root: str, evaluation: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    """Enters the rejection of this run's candidate and returns the log's head. root: digest of the candidate's files.
    evaluation, decision: what evaluate and decide wrote. Raises BadInput where the policy requires a key that is not given,
    GateRefused where the decision does not follow from the evaluation, ServiceFailed where the registry fails: like a
    registration, it is never put off."""
    desk, (_, key) = desk_of(config, run), signer_of(config)
    ruling.checked(config, run, evaluation, decision)
    tracked = open_run(config, run)
    desk.begin(tracked.experiment)
    body = {"root": root, "run_id": tracked.run_id, **judged(evaluation, decision), "reasons": shortened(decision["reasons"])}

    def once(records: Sequence[log.Record]) -> log.Draft | None:
        mine = (record.body for record in records if record.action == "rejected")
        if any((one.get("root"), one.get("run_id")) == (root, tracked.run_id) for one in mine):
            return None
        return log.Draft("rejected", "", PIPELINE, body)

    desk.append(once, key)
    return desk.settle()[-1].head
