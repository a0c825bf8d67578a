"""A model's files by their root digest alone: what an init container does before it lets a server start."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import BadInput, GateRefused
from ..registry import folder as folders
from ..registry import signature
from ..registry.policy import policy_of
from ..storage import MANIFEST, put_folder, read_json, verify
from ..storage import fetch as fetched


def check(folder: Path, root: str, policy: str = "") -> str:
    """A line saying that the folder holds exactly the files of this root. With a policy the signature is checked too. Raises
    GateRefused naming the first difference."""
    trusted = policy_of(None, policy)
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"'{folder}' holds no {MANIFEST}", "name a registered model's folder")
    listing = read_json(folder / MANIFEST)
    if listing.get("root") != root:
        raise GateRefused(
            f"'{folder}' is another model: its root is {str(listing.get('root'))[:16]}, not {root[:16]}", "fetch it again"
        )
    folders.inspect(folder)
    verify(folder, listing)
    key_id = signature.signer(folder)
    if key_id is None:
        if trusted.required:
            raise GateRefused(f"'{folder}' is not signed, and the policy requires it", "sign it: registry.signing_key")
        return f"'{folder}' is {root[:16]}, unsigned"
    if not trusted.keys:
        return f"'{folder}' is {root[:16]}, its signature not checked: no policy"
    if (name := trusted.holder(key_id, "model")) is None:
        raise GateRefused(f"'{folder}' is signed by {key_id[:12]}, who may not sign models by the policy", "see the policy")
    signature.verify(folder, listing, trusted.of(key_id).key)
    return f"'{folder}' is {root[:16]}, signed by {name}"


def fetch(uri: str, target: Path, root: str, policy: str = "") -> str:
    """Downloads, checks, and only then lets the files appear in `target`, which must be empty or absent. Raises as `check`."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"'{target}' is not empty", "name an empty folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
        path = fetched(uri, Path(scratch))
        check(path, root, policy)
        if target.exists():  # a mounted volume is a folder that cannot be replaced
            for entry in sorted(path.iterdir()):
                _into(entry, target / entry.name)
        else:
            put_folder(path, str(target))
    return check(target, root, policy)


def _into(entry: Path, target: Path) -> None:
    import shutil

    shutil.copytree(entry, target) if entry.is_dir() else shutil.copy2(entry, target)
