"""Verifies an exported audit, offline, with Python's standard library and, for signatures, the openssl command.

    python verify.py            # in the archive's folder; exit code 0 whole, 3 broken
    python verify.py --signed   # what is not signed is broken, whatever registry.json says was required

It trusts nothing but the public keys in keys/ and what each may sign: compare their fingerprints and roles, which it prints,
with those that you were given on another way, and the log's head with the one that you keep. Signatures can be taken away, and
registry.json be written anew: a note says what is not signed. What it does is short enough to be done by hand (README.md).
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

RECORD = "application/vnd.raro.audit-record+json"
STATEMENT = "application/vnd.in-toto+json"
SIGNED = ("seq", "previous", "time", "model", "action", "version", "actor", "body")

BY_PIPELINE = ("registered", "evaluated", "held", "rejected")  # by keys of the role log; `promoted` by either
BY_PEOPLE = ("approved", "rolled back", "deleted", "erasure", "legal hold")  # by keys of the role approve, where there are any


def canonical(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encoded(kind: str, payload: bytes) -> bytes:
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])


def signed(key: Path, signature: str, message: bytes) -> bool:
    """Whether openssl says that the signature is the key's, with the hash of its curve's size (P-256: SHA-256)."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sig").write_bytes(base64.b64decode(signature))
        (Path(folder) / "message").write_bytes(message)
        said = subprocess.run(["openssl", "pkey", "-pubin", "-in", str(key), "-noout", "-text"], capture_output=True, text=True)
        bits = next((bits for bits in ("521", "384") if f"({bits} bit)" in said.stdout), "256")
        command = ["openssl", "dgst", f"-sha{bits.replace('521', '512')}", "-verify", str(key)]
        done = subprocess.run([*command, "-signature", f"{folder}/sig", f"{folder}/message"], capture_output=True)
        return done.returncode == 0


def check(root: Path, required: bool = False) -> list[str]:
    """Everything that is broken. required: whether all must be signed, where registry.json does not say so."""
    told = json.loads((root / "registry.json").read_text())
    told["required"] |= required
    keys = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted((root / "keys").glob("*.pub"))}
    can_sign = bool(keys) and shutil.which("openssl") is not None
    for key_id, path in keys.items():
        print(f"key   {path.stem}, for {', '.join(told['signers'][key_id]['roles'])}: {key_id}")
    wrong = _log(root, told, keys if can_sign else {})
    listing = json.loads((root / "model" / "manifest.json").read_text())
    if hashlib.sha256(canonical(listing["files"])).hexdigest() != listing["root"]:
        wrong.append("manifest.json does not match its root")
    if listing["root"] != told["root"]:
        wrong.append("manifest.json is of another model than the log registered")
    left_out = set(told["left_out"])
    expected = {file["path"]: file["sha256"] for file in listing["files"]}
    found = {p.relative_to(root / "model").as_posix() for p in (root / "model").rglob("*") if p.is_file() or p.is_symlink()}
    for name in sorted(found - set(expected) - {"manifest.json", "model.sig"}):
        wrong.append(f"model/{name} is not in the manifest")
    for name, digest in expected.items():
        if name in left_out and name not in found:
            continue
        if name not in found or (root / "model" / name).is_symlink() or sha256(root / "model" / name) != digest:
            wrong.append(f"model/{name} is missing or was changed")
    for name, digest in told["evidence"].items():
        if not (root / "evidence" / name).is_file() or sha256(root / "evidence" / name) != digest:
            wrong.append(f"evidence/{name} is missing or was changed")
    if told["signed_by"] and can_sign:
        wrong += _signature(root, told, expected, keys)
    elif required or told["required"] and not told["signed_by"]:
        wrong.append("the model's signature is not there, or cannot be checked")
    elif can_sign:
        print("note  the model is not signed")
    if left_out:
        print(f"note  {len(left_out)} files were left out of the archive: {', '.join(sorted(left_out))}")
    if not can_sign:
        print("note  no signature was checked: no keys in keys/, or no openssl")
    return wrong


def _log(root: Path, told: dict, keys: dict[str, Path]) -> list[str]:
    wrong, before, registered, unsigned, number, head = [], "0" * 64, None, 0, 0, "none, the log is empty"
    for number, line in enumerate((root / "log.jsonl").read_bytes().splitlines(), 1):
        record = json.loads(line)
        content = canonical({name: record[name] for name in SIGNED})
        if (record["seq"], record["previous"]) != (number, before):
            wrong.append(f"record {number} does not follow the one before")
        if record["hash"] != hashlib.sha256(content).hexdigest():
            wrong.append(f"record {number} was changed")
        for entry in record["signatures"] if keys else []:
            if entry["key"] not in keys or not signed(keys[entry["key"]], entry["sig"], encoded(RECORD, content)):
                wrong.append(f"record {number} has a signature that does not hold")
            elif why := _unfit(record, told["signers"][entry["key"]], told["signers"].values()):
                wrong.append(f"record {number} {why}")
        unsigned += not record["signatures"]
        if told["required"] and not record["signatures"]:
            wrong.append(f"record {number} is not signed")
        if (record["action"], record["version"]) == ("registered", told["version"]):
            registered = record["body"]
        before = record["hash"]
        head = f"{number}:{before}"
    print(f"head  {head}")
    if unsigned:
        print(f"note  {unsigned} of {number} records are not signed")
    if head != told["head"]:
        wrong.append("the log does not end with the head that registry.json names")
    if registered is None or registered["root"] != told["root"] or registered["evidence"] != told["evidence"]:
        wrong.append("the log did not register this version with these files and this evidence")
    return wrong


def _unfit(record: dict, signer: dict, signers: Iterable[dict]) -> str:
    """Why a key that signed a record may not; empty where it may."""
    action, actor, name, roles = record["action"], record["actor"], signer["name"], signer["roles"]
    people = any("approve" in one["roles"] for one in signers)
    alone = action in BY_PEOPLE and (people or action == "approved")
    needed = {"log"} if action in BY_PIPELINE else {"approve"} if alone else {"log", "approve"}
    if not needed & set(roles):
        return f"is signed by '{name}', who may not sign '{action}'"
    if people and actor != name and (actor != "pipeline" or "log" not in roles):
        return f"names '{actor}' and is signed by '{name}'"
    return ""


def _signature(root: Path, told: dict, expected: dict[str, str], keys: dict[str, Path]) -> list[str]:
    signed_by = told["signed_by"]
    bundle = json.loads((root / "model" / "model.sig").read_text())
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    if signed_by not in keys or not signed(keys[signed_by], envelope["signatures"][0]["sig"], encoded(STATEMENT, payload)):
        return ["model.sig does not hold"]
    if "model" not in told["signers"][signed_by]["roles"]:
        return [f"model.sig is by '{told['signers'][signed_by]['name']}', who may not sign models"]
    named = {one["name"]: one["digest"] for one in json.loads(payload)["predicate"]["resources"]}
    if named != expected | {"manifest.json": sha256(root / "model" / "manifest.json")}:
        return ["model.sig is of other files"]
    return []


if __name__ == "__main__":
    try:
        broken = check(Path(__file__).resolve().parent, "--signed" in sys.argv[1:])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        broken = [f"what is there cannot be read ({type(error).__name__}: {error})"]
    for one in broken:
        print(f"BROKEN  {one}")
    print(f"{len(broken)} breaks" if broken else "whole")
    sys.exit(3 if broken else 0)
