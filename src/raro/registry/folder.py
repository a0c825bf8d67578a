"""What a model's folder may hold: plain files of its own, none of which runs code when it is opened."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from ..errors import BadInput, GateRefused
from ..storage import MANIFEST, read_json

PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npz"}
CODE = {".py", ".pyc", ".so"}
REMEDY = "remove it; weights are safetensors, and the model's code is the library's"


def inspect(folder: Path) -> None:
    """Raises GateRefused naming the first thing that is not a regular file, that is or holds a pickle, or that is code."""
    for path in sorted(folder.rglob("*")):
        named = f"'{path.relative_to(folder)}' in '{folder}'"
        if path.is_symlink():
            raise GateRefused(f"{named} is a symbolic link: what it points to can be changed", "put a file there")
        if path.is_dir():
            continue
        if not path.is_file():
            raise GateRefused(f"{named} is not a regular file", "remove it")
        if path.suffix.lower() in CODE:
            raise GateRefused(f"{named} is code, and models bring none", REMEDY)
        if path.suffix.lower() in PICKLED or _is_pickle(path):
            raise GateRefused(f"{named} is a pickle, which can run code when it is opened", REMEDY)


def listing(folder: Path) -> dict[str, Any]:
    """The folder's manifest. Raises BadInput where there is none, or it is JSON of another shape."""
    found = read_json(folder / MANIFEST)
    files = found.get("files") if isinstance(found, dict) else None
    kinds = {"path": str, "size": int, "sha256": str}
    if (
        not isinstance(files, list)
        or not isinstance(found.get("root"), str)
        or any(not isinstance(one, dict) or any(not isinstance(one.get(k), t) for k, t in kinds.items()) for one in files)
    ):
        raise BadInput(f"'{folder / MANIFEST}' is not the manifest of a model", "name a registered model's folder")
    return found


def _is_pickle(path: Path) -> bool:
    """By content: a pickle of protocol 2 or later, or an archive as torch.save writes it."""
    with open(path, "rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and path.suffix != ".safetensors":
        return True
    if start == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
        except zipfile.BadZipFile:
            return False
    return False
