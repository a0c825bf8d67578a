"""The bill of materials, bom.cdx.json inside the model's folder: model, base, demonstrations and packages in CycloneDX 1.6.

A function of the run alone: no clock, and a serial number that derives from the contents. CycloneDX's own library writes it; it
has no type for the standard's modelCard, so the scores stand as properties. Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import Config
from ..storage import canonical, manifest
from .bases import base_uri
from .provenance import FILE as PROVENANCE
from .provenance import machine

FILE = "bom.cdx.json"
SPACE = uuid.UUID("6f8d2a5e-7b1c-5c0e-9a44-2f1d0c9b7e11")


def available() -> bool:
    """Whether CycloneDX's library is installed."""
    return importlib.util.find_spec("cyclonedx") is not None


def bom(config: Config, run: Path, folder: Path, data: Mapping[str, Any], base: str, scores: Mapping[str, float]) -> str:
    """The document as JSON. folder: the model's files. base: root digest of the base. scores: in [0, 1], by name."""
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    def licensed(licence: str) -> list[DisjunctiveLicense]:
        return [DisjunctiveLicense(name=licence)] if licence else []

    def sha256(digest: str) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]

    own = manifest(folder, ("README.md", PROVENANCE, FILE))
    kind = ComponentType.MACHINE_LEARNING_MODEL
    model = Component(
        name=config.registry.model,
        type=kind,
        bom_ref="model",
        licenses=licensed(config.base.licence),
        hashes=sha256(own["root"]),
        properties=[Property(name=f"raro:score:{name}", value=f"{value:.6g}") for name, value in sorted(scores.items())],
        components=[
            Component(name=file["path"], type=ComponentType.FILE, bom_ref=f"file:{file['path']}", hashes=sha256(file["sha256"]))
            for file in own["files"]
        ],
    )
    origin = Component(
        name=base_uri(config, run), type=kind, bom_ref="base", licenses=licensed(config.base.licence), hashes=sha256(base)
    )
    rows = [Property(name=f"raro:rows:{split}", value=str(count)) for split, count in data.get("splits", {}).items()]
    taught = Component(
        name=config.demonstrations.source,
        type=ComponentType.DATA,
        bom_ref="demonstrations",
        licenses=licensed(config.demonstrations.licence),
        hashes=sha256(data["digest"]),
        properties=rows,
    )
    installed = machine(run).get("packages") or {"raro-pipelines": __version__}
    packages = [
        Component(name=name, version=version, type=ComponentType.LIBRARY, bom_ref=f"{name}@{version}", purl=purl)
        for name, version in sorted(installed.items())
        for purl in [PackageURL("pypi", name=name, version=version)]
    ]
    made = Bom(serial_number=uuid.uuid5(SPACE, canonical([own["root"], base, data["digest"], config.digest])))
    made.metadata.timestamp = None  # the run's times stand in its provenance
    made.metadata.component = model
    made.components.update([origin, taught, *packages])
    made.register_dependency(model, [origin, taught, *packages])
    return JsonV1Dot6(made).output_as_string(indent=1) + "\n"
