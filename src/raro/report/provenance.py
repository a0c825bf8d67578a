"""What a run was made from: its settings beside the class defaults, and the digests of all it read and wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ..config import Config
from .reading import Record, flatten


def settings(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting with the class default and its meaning; those that differ first."""
    defaults = dict(flatten(dataclasses.asdict(Config())))
    docs = dict(_docs(Config(), ""))
    rows = [
        {
            "key": key,
            "value": shown(value),
            "default": shown(defaults[key]) if key in defaults else "unknown key",
            "doc": docs.get(key, ""),
            "differs": _alike(value) != _alike(defaults.get(key)),
        }
        for key, value in flatten(config)
    ]
    return sorted(rows, key=lambda row: not row["differs"])


def _alike(value: Any) -> Any:
    """A tuple as the list that JSON makes of it."""
    return [_alike(one) for one in value] if isinstance(value, (list, tuple)) else value


def _docs(section: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for one in dataclasses.fields(section):
        value = getattr(section, one.name)
        if dataclasses.is_dataclass(value):
            yield from _docs(value, f"{prefix}{one.name}.")
        else:
            yield f"{prefix}{one.name}", one.metadata.get("doc", "")


def digests(record: Record) -> list[tuple[str, str]]:
    """(what, sha256) of config, data and every step's folder."""
    found = [("configuration", record.config_digest), ("demonstrations", record.data.get("digest", ""))]
    found += [(f"{name}/ folder", manifest.get("root", "")) for name, manifest in record.manifests.items() if name != "finish"]
    found.append(("registered model", record.registration.get("root", "")))
    return [(what, digest) for what, digest in found if digest]


def shown(value: Any) -> str:
    """A setting's or a fact's value for people."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value or "(empty)"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
