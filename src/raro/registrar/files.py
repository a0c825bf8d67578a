"""A model's files by their root digest alone: what an init container does before it lets a server start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import BadInput, GateRefused
from ..registry import folder as folders
from ..registry import signature
from ..registry.policy import policy_of
from ..storage import MANIFEST, SIGNATURE, publish_folder, put_folder, verify, writing
from ..storage import fetch as fetched

SCRATCH = ".raro-fetch"
"""In the folder itself, where files lie until they are whole; nothing else begins there."""


def check(folder: Path, root: str, policy: str | None = None) -> str:
    """A line saying that the folder holds exactly the files of this root. With a policy the signature is checked too. Raises
    GateRefused naming the first difference."""
    trusted = policy_of(None, policy)
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"'{folder}' holds no {MANIFEST}", "name a registered model's folder")
    listing = folders.listing(folder)
    if listing["root"] != root:
        raise GateRefused(f"'{folder}' is another model: its root is {listing['root'][:16]}, not {root[:16]}", "fetch it again")
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
        raise GateRefused(f"'{folder}' is signed by {key_id[:12]}, whom the policy does not let sign models", "see the policy")
    signature.verify(folder, listing, trusted.of(key_id).key)
    return f"'{folder}' is {root[:16]}, signed by {name}"


def fetch(uri: str, target: Path, root: str, policy: str | None = None) -> str:
    """Downloads, checks, and only then lets the files appear in `target`, the manifest last. Nothing is written elsewhere: what
    lies above a volume is an image's own. A folder that holds these files is left as it is, and a fetch that was cut off goes
    on, as an init container does that runs again. Raises as `check`, and BadInput where something else lies in `target`."""
    scratch = target / SCRATCH
    whole, made = scratch / "model", not target.exists()
    with writing(target):
        there = set() if made else {entry.name for entry in target.iterdir()} - {SCRATCH}
    if MANIFEST not in there or folders.listing(target)["root"] != root:
        ready = (whole / MANIFEST).is_file() and folders.listing(whole)["root"] == root
        if foreign := sorted(there - (_entries(whole) if ready else set())):
            raise BadInput(f"'{target}' is not empty: it holds '{foreign[0]}'", "name an empty folder")
        if not ready:
            try:
                _prepare(uri, scratch, whole, root, policy)
            except BaseException:
                shutil.rmtree(target if made else scratch, ignore_errors=True)
                raise
        with writing(target):
            for entry in sorted(whole.iterdir(), key=lambda one: (one.name == MANIFEST, one.name)):
                os.replace(entry, target / entry.name)
    shutil.rmtree(scratch, ignore_errors=True)
    return check(target, root, policy)


def _prepare(uri: str, scratch: Path, whole: Path, root: str, policy: str | None) -> None:
    """Makes `whole`, which lies in `scratch`, appear as a checked copy."""
    with writing(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(whole, ignore_errors=True)
    path = fetched(uri, scratch)
    check(path, root, policy)
    if path.is_relative_to(scratch):
        publish_folder(path, whole)
    else:
        put_folder(path, str(whole))


def _entries(folder: Path) -> set[str]:
    """What the files of a folder's manifest, itself and the signature are called at the top."""
    return {MANIFEST, SIGNATURE} | {file["path"].split("/")[0] for file in folders.listing(folder)["files"]}
