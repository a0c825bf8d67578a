"""`raro audit export`: one archive that an auditor verifies offline, with a procedure on one page."""

from __future__ import annotations

import io
import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..errors import GateRefused
from ..registry.findings import Audit
from ..storage import MANIFEST, SIGNATURE, beside, names, writing
from . import offline, show


def export(made: Audit, target: Path, weights: bool = True) -> Path:
    """Writes the archive, whole or not at all. Raises GateRefused where there are no files of the version to put into it,
    BadInput and ServiceFailed where it cannot be written."""
    if "path" not in made.found:
        raise GateRefused(f"{made.reference} cannot be exported: {made.breaks[0]}", "raro audit verify tells more")
    model = Path(made.found["path"])
    left_out = [name for name in names(model) if not weights and name.endswith(".safetensors")]
    partial = beside(target, "partial")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
                folder = f"{made.desk.model}-{made.number}-audit"
                for name, text in _texts(made, left_out).items():
                    _add(archive, f"{folder}/{name}", text.encode())
                for name in [*names(model), MANIFEST, SIGNATURE]:
                    if name not in left_out and (model / name).is_file():
                        archive.add(model / name, f"{folder}/model/{name}", recursive=False, filter=_plain)
                for name, path in made.found.get("evidence", {}).items():
                    archive.add(path, f"{folder}/evidence/{name}", recursive=False, filter=_plain)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def _texts(made: Audit, left_out: list[str]) -> dict[str, str]:
    policy, facts = made.desk.policy, made.found.get("facts", {})
    told = {
        "model": made.desk.model,
        "version": made.number,
        "root": facts.get("root", ""),
        "signed_by": facts.get("tags", {}).get("raro.signed_by", ""),
        "evidence": facts.get("evidence", {}),
        "head": made.records[-1].head if made.records else "",
        "anchor": made.desk.anchor(),
        "required": policy.required,
        "signers": {one.key.id: {"name": one.name, "roles": one.roles} for one in policy.keys},
        "aliases": made.desk.aliases(),
        "tags": dict(made.version.tags),
        "source": made.version.source,
        "left_out": left_out,
    }
    procedure = (
        (Path(__file__).parent / "procedure.md")
        .read_text(encoding="utf-8")
        .format(
            model=made.desk.model,
            version=made.number,
            release=__version__,
            fields=", ".join(offline.SIGNED),
            kind=offline.RECORD,
            without=", without the weights" if left_out else "",
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )
    texts = {
        "README.md": procedure,
        "verify.py": Path(offline.__file__).read_text(encoding="utf-8"),
        "registry.json": json.dumps(told, indent=2, ensure_ascii=False) + "\n",
        "log.jsonl": b"".join(record.line for record in made.records).decode(),
        "audit.txt": f"{show.tree(made)}\n{show.verdict(made)}\n\n{show.story(made)}\n",
    }
    if policy.source:
        texts["policy.yaml"] = Path(policy.source).expanduser().read_text(encoding="utf-8")
    for at, trusted in enumerate(policy.keys):
        name = "".join(letter if letter.isalnum() else "-" for letter in trusted.name)
        texts[f"keys/{at + 1}-{name}.pub"] = trusted.key.pem
    return texts


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode, entry.type = 0o644, tarfile.REGTYPE
    return entry
