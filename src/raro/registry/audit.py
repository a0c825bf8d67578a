"""The audit of one registered version: everything that is said of it is read again and compared, link by link (links.py,
evidence.py).

    log -> registry -> manifest -> files -> signature -> provenance -> run -> data -> config -> evaluation -> decision

A link that is broken does not hide the next ones. Nothing is repaired. What lies elsewhere is downloaded again, past the cache.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, RaroError, ServiceFailed
from ..tracking import server
from . import evidence, links
from .desk import Desk
from .findings import Audit, Check

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LINKS = {
    "log": links.log_chain,
    "registry": links.registry,
    "manifest": links.manifest,
    "files": links.files,
    "signature": links.signature,
    "provenance": links.provenance,
    "run": evidence.run,
    "data": evidence.data,
    "config": evidence.config,
    "evaluation": evidence.evaluation,
    "decision": evidence.decision,
}


def resolve(desk: Desk, standing_at: str) -> tuple[str, ModelVersion]:
    """(version number, version) at an alias, or of that number. Raises BadInput naming what there is."""
    registered = desk.registered()
    if registered is None:
        raise BadInput(
            f"no model '{desk.model}' is registered at '{server.shown(desk.uri)}'", "check the name, --run and --tracking-uri"
        )
    aliases = {alias: str(number) for alias, number in registered.aliases.items()}
    number = standing_at if standing_at.isdigit() else aliases.get(standing_at, "")
    if not number:
        remedy = "it has no alias: no candidate was promoted or held, or it was taken away; MODEL@VERSION names a version"
        if aliases:
            remedy = "it has: " + ", ".join(f"{alias} (version {n})" for alias, n in sorted(aliases.items()))
        raise BadInput(f"'{desk.model}' has no version at '{standing_at}'", remedy)
    version = desk.version(number)
    if version is None:
        raise BadInput(f"'{desk.model}' has no version {number}", "it was deleted, or never registered")
    return str(version.version), version  # MODEL@01 is version 1, as the log calls it


def audit(desk: Desk, standing_at: str, scratch: Path, anchor: str = "") -> Audit:
    """Reads everything again. scratch: downloads go there. anchor: SEQ:HASH of the log, kept elsewhere. Raises BadInput where
    there is no such version or the anchor is none, ServiceFailed where a service does not answer."""
    if anchor and not re.fullmatch(r"[0-9]+:[0-9a-f]{64}", anchor):
        raise BadInput(f"--anchor '{anchor}' is not SEQ:HASH", "raro audit show prints the log's head in this form")
    number, version = resolve(desk, standing_at)
    checks = [Check(name) for name in LINKS]
    made = Audit(desk, f"{desk.model}@{standing_at}", number, version, checks, [], {}, scratch, anchor)
    for check in checks:
        try:
            LINKS[check.name](made, check)
        except ServiceFailed:
            raise
        except RaroError as error:
            check.breaks.append(error.line)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            check.breaks.append(f"what is there cannot be read ({type(error).__name__}: {error})")
    return made


@contextmanager
def audited(desk: Desk, standing_at: str, anchor: str = "") -> Iterator[Audit]:
    """`audit` with a scratch folder that lasts as long as the block."""
    with tempfile.TemporaryDirectory(prefix="raro-audit-") as scratch:
        yield audit(desk, standing_at, Path(scratch), anchor)
