"""What no configuration may hold, since it is recorded: in the run's folder, as the pipeline's parameter, in MLflow and in the
registry. Passwords and keys stand in the environment or in files, and a setting says where; refusals never show the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import BadInput

ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
PASSWORD = re.compile(r"(passw\w*|pwd|secret|signature|token|key)\s*=", re.IGNORECASE)  # in an address's query
NAME = "[A-Za-z_][A-Za-z0-9_]*"  # of an environment variable
SECRET = r"(pass(w[a-z]*|phrase|in|out)?|pwd|pin(-value)?|secret|token|(api|access|account)[_-]?key)"
ELSEWHERE = r"(?!\s*((env|file|fd):|stdin\b))"
# A secret that a command is given: TOKEN=X, --token X, -passin pass:X, Authorization: X, X-Token: X, -u NAME:X, ://X@.
GIVEN = re.compile(
    rf"{SECRET}\s*={ELSEWHERE}|(?<!\S)-[\w-]*{SECRET}\s{ELSEWHERE}|\bpass:|\bauthorization:|-(token|key):\s"
    r"|(?<!\S)(-u|--(proxy-)?user[\s=])\s*(?!\d+:\d+(?!\S))[^\s:=/]+:(?!//)|://[^/\s]+@",
    re.IGNORECASE,
)
SLOT = re.compile(r"(pkcs11:([^\s?;=]+=[^\s?;]*;)*)token=")  # RFC 7512: there it names a slot
REFERENCES = {
    "notify.webhook": (re.compile(rf"env:{NAME}|file:.+"), "write env:NAME or file:PATH: the address is a secret"),
    "registry.signing_key": (
        re.compile(rf"env:{NAME}|file:.+|exec:.+"),
        "write file:PATH, env:NAME, or exec:COMMAND without a password, PIN or token in it: it is a secret",
    ),
    "judge.key": (re.compile(NAME), "name the environment variable that holds the key"),
}
REMEDIES = {
    "tracking.uri": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or PGPASSWORD, take it from a secret",
    "judge.endpoint": "put it into an environment variable and name that in judge.key",
}


def check(value: Any, key: str = "") -> None:
    """Raises BadInput for a password in any address of a configuration, and for a secret where its place belongs. value: plain
    data. key: where it stands."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            check(one, f"{key}.{name}" if key else name)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for i, one in enumerate(value):
            check(one, f"{key}[{i}]")
    elif isinstance(value, str) and value:
        form, remedy = REFERENCES.get(key, (None, ""))
        if form and (not form.fullmatch(value) or value.startswith("exec:") and _given(value)):
            raise BadInput(f"{key} is no reference", remedy)
        if ADDRESS.match(value) and not key.startswith("prompts."):
            _check_address(value.strip(), key)


def _given(command: str) -> bool:
    """Whether a command holds a secret, and not just where one stands."""
    return GIVEN.search(SLOT.sub(r"\1slot=", re.sub(r"[\"'\\]", "", command))) is not None


def _check_address(text: str, key: str) -> None:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is no number: half a password, perhaps
    except ValueError:
        raise BadInput(f"{key} is no address", "write SCHEME://HOST:PORT/..., without a password") from None
    if key == "judge.endpoint" and (parts.query or parts.fragment):
        raise BadInput("judge.endpoint holds a query or a fragment, and would be recorded with it", REMEDIES[key])
    named = "@" in parts.netloc and (parts.password is not None or parts.scheme in ("http", "https"))
    if named or PASSWORD.search(unquote(parts.query)):
        remedy = REMEDIES.get(key, "leave it out: credentials are taken from the environment, which a secret fills")
        raise BadInput(f"{key} holds a password, and would be recorded with the configuration", remedy)
