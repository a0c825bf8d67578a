"""A model's signature, model.sig inside its folder, in OpenSSF's model-signing format, made and checked by its own library.

It covers every file but itself: manifest, card, provenance and bill of materials too. `model_signing verify key` accepts it.
The library would hash every file once more; it is handed the digests of the manifest that was just compared with the files,
and the digest of the manifest itself. A key by reference (environment, KMS) signs through the library's own signer, whose key
is replaced; hence the library's exact minor version in pyproject.toml.
Source: https://github.com/sigstore/model-transparency (OpenSSF Model Signing 1.0)
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import BadInput, GateRefused
from ..storage import MANIFEST, SIGNATURE, beside, digest_file
from .keys import Key, PublicKey

LARGEST = 64 * 2**20  # bytes of a signature that is read


def sign(folder: Path, listing: Mapping[str, Any], key: Key) -> Path:
    """Writes model.sig. listing: the folder's manifest, verified, and written there already. Raises BadInput, ServiceFailed."""
    needed()
    from model_signing import signing
    from model_signing._signing import sign_ec_key

    class ByReference(sign_ec_key.Signer):
        def __init__(self) -> None:
            self._private_key = _Private(key)

    config = signing.Config().set_hashing_config(_digests(listing))
    config._signer = ByReference()
    partial = beside(folder / SIGNATURE, "tmp")
    try:
        config.sign(folder, partial)
        partial.replace(folder / SIGNATURE)
    finally:
        partial.unlink(missing_ok=True)
    return folder / SIGNATURE


def verify(folder: Path, listing: Mapping[str, Any], public: PublicKey) -> None:
    """Raises GateRefused unless model.sig is this key's, of exactly these files. listing: the folder's manifest, verified."""
    needed()
    from model_signing import verifying

    _sane(folder / SIGNATURE)
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as file:
        file.write(public.pem)
        file.flush()
        check = verifying.Config().use_elliptic_key_verifier(public_key=Path(file.name)).set_hashing_config(_digests(listing))
        try:
            check.verify(folder, folder / SIGNATURE)
        except Exception as error:  # the library raises what json, base64, pydantic and cryptography raise
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise GateRefused(f"the signature of '{folder}' is not valid: {said}", "restore the model from a copy") from None


def signer(folder: Path) -> str | None:
    """The id of the key that model.sig names; None where there is no signature. Raises GateRefused for a file that is none."""
    path = folder / SIGNATURE
    if not path.exists():
        return None
    _sane(path)
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["verificationMaterial"]["publicKey"]["hint"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise GateRefused(f"'{path}' is not a signature", "restore it from a copy") from None


def _sane(path: Path) -> None:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
        raise GateRefused(f"'{path}' is not a signature", "restore it from a copy")


class _Private:
    """Looks to the library like a private key."""

    def __init__(self, key: Key):
        self._key = key

    def sign(self, message: bytes, algorithm: object) -> bytes:
        return self._key.sign(message)

    def public_key(self) -> Any:
        return self._key.public.key


def _digests(listing: Mapping[str, Any]) -> Any:
    """A hashing configuration of the library that knows the files' digests already, and hashes the manifest itself."""
    from model_signing import hashing, manifest
    from model_signing._hashing.hashing import Digest

    class Known(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            found = {file["path"]: file["sha256"] for file in listing["files"]}
            found[MANIFEST] = digest_file(Path(model_path) / MANIFEST)
            items = [
                manifest.FileManifestItem(path=PurePosixPath(name), digest=Digest("sha256", bytes.fromhex(digest)))
                for name, digest in sorted(found.items())
            ]
            return manifest.Manifest(Path(model_path).resolve().name, items, kind)

    kind = manifest._FileSerialization("sha256", False, frozenset({SIGNATURE}))
    return Known()


def needed() -> None:
    """Raises BadInput where what makes and checks signatures is not installed."""
    for module in ("model_signing", "OpenSSL"):
        if importlib.util.find_spec(module) is None:
            line = f"signatures of models need {module}, which is not installed"
            raise BadInput(line, "pip install 'raro-pipelines[signing]'")
