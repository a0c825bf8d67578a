"""Keys by reference: elliptic curve keys (P-256, P-384, P-521) that sign models, the audit log and approvals.

| reference     | the private key                                                                                          |
|---------------|----------------------------------------------------------------------------------------------------------|
| file:PATH     | PEM (PKCS 8) in a file                                                                                   |
| env:NAME      | PEM in an environment variable, as a Kubernetes secret gives it                                          |
| exec:COMMAND  | elsewhere (KMS, HSM): `COMMAND public` prints the public key as PEM; `COMMAND sign` reads the bytes to   |
|               | sign and prints the DER signature, ECDSA with the hash of the curve's size (P-256: SHA-256)              |

What a hook says on its standard error may hold a secret, and an error's line is recorded: such a line names the program and its
exit code alone, and the words go to a terminal, or nowhere.

A key's id is the sha256 of its public PEM: what OpenSSF's model signing writes into a signature, too. Signed bytes carry their
type (DSSE's pre-authentication encoding), so that a signature of one kind is never one of another.
Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import subprocess
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, ServiceFailed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
TIMEOUT = 60.0  # seconds that a KMS hook may take
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of an environment variable
BY_HAND = "run it by hand, in a terminal: there it says why"


class PublicKey:
    """What checks signatures. Raises BadInput where `pem` is not an elliptic curve key of the three curves; `named` is for that
    message."""

    def __init__(self, pem: str | bytes, named: str):
        content = pem.encode() if isinstance(pem, str) else pem
        try:
            self.key: EllipticCurvePublicKey = _library().serialization.load_pem_public_key(content)
        except (ValueError, TypeError, _library().unsupported):
            raise BadInput(f"{named} is not a public key in PEM", "openssl ec -in key.pem -pubout writes one") from None
        if getattr(getattr(self.key, "curve", None), "name", "") not in CURVES:
            raise BadInput(f"{named} is not an elliptic curve key of {', '.join(CURVES)}", KEY_REMEDY)

    @cached_property
    def pem(self) -> str:
        """The key as PEM, in one spelling."""
        form = _library().serialization
        return self.key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def id(self) -> str:
        """sha256 of the PEM, hexadecimal."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether the DER signature is this key's, of this message."""
        try:
            self.key.verify(signature, message, ecdsa(self.key))
        except _library().invalid:
            return False
        return True


class Key:
    """What signs. id and public: of its public half."""

    def __init__(self, public: PublicKey, private: Any = None, command: str = ""):
        self.public, self._private, self._command = public, private, command

    @property
    def id(self) -> str:
        return self.public.id

    def sign(self, message: bytes) -> bytes:
        """A DER signature. Raises ServiceFailed where a hook fails, BadInput where its signature is not its public key's."""
        if self._private is not None:
            return self._private.sign(message, ecdsa(self.public.key))
        signature = _asked(self._command, "sign", message)
        if not self.public.signed(signature, message):
            line = f"what '{_program(self._command)} sign' printed is not a signature by its own key"
            raise BadInput(line, "print DER, nothing else")
        return signature


KEY_REMEDY = "openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out key.pem makes one"


def signing_key(reference: str) -> Key:
    """The key a reference names. Raises BadInput, which names the reference and never what it holds; ServiceFailed where a hook
    fails."""
    scheme, colon, rest = reference.partition(":")
    fits = scheme in ("file", "exec") or scheme == "env" and NAME.fullmatch(rest)
    if not colon or not rest.strip() or not fits or not rest.isprintable():  # perhaps the key itself: it is not shown
        raise BadInput("what is given as a key is not a reference to one", "write file:PATH, env:NAME or exec:COMMAND")
    if scheme == "exec":
        return Key(PublicKey(_asked(rest, "public", b""), f"what '{_program(rest)} public' printed"), command=rest)
    if scheme == "env":
        if not (text := os.environ.get(rest)):
            raise BadInput(f"the environment variable '{rest}' of key '{reference}' is empty", "put the PEM into it")
        content = text.encode()
    else:
        path = Path(rest).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInput(f"key '{reference}' cannot be read: {error.strerror}", "check the path") from None
    try:
        private = _library().serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, _library().unsupported):
        raise BadInput(f"key '{reference}' is not an unencrypted private key in PEM", KEY_REMEDY) from None
    form = _library().serialization
    pem = private.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return Key(PublicKey(pem, f"key '{reference}'"), private)


def encoded(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed of a payload of this type."""
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])


def ecdsa(key: EllipticCurvePublicKey) -> Any:
    """The signature algorithm of a key's curve."""
    return _library().ec.ECDSA(getattr(_library().hashes, CURVES[key.curve.name])())


def _asked(command: str, what: str, message: bytes) -> bytes:
    """What the hook prints. Its standard error is this process's where that is a terminal; elsewhere a log would keep it."""
    words, name = None if os.isatty(2) else subprocess.DEVNULL, _program(command)
    try:
        done = subprocess.run(
            [*shlex.split(command), what], input=message, stdout=subprocess.PIPE, stderr=words, timeout=TIMEOUT
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ServiceFailed(f"the key hook '{name}' does not answer: {type(error).__name__}", BY_HAND) from None
    if done.returncode:
        raise ServiceFailed(f"the key hook '{name} {what}' failed with exit code {done.returncode}", BY_HAND)
    return done.stdout


def _program(command: str) -> str:
    """Of a command the program alone: what it is given may be a secret, though it should not."""
    return command.split()[0]


@functools.cache
def _library() -> SimpleNamespace:
    """The parts of cryptography that are used. Raises BadInput where it is not installed."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ModuleNotFoundError:
        raise BadInput(
            "signatures need cryptography, which is not installed", "pip install 'raro-pipelines[signing]'"
        ) from None
    return SimpleNamespace(
        invalid=InvalidSignature, unsupported=UnsupportedAlgorithm, hashes=hashes, serialization=serialization, ec=ec
    )
