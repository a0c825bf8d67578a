"""Whether a judge may be asked at all: questions and answers must not leave the house unless its settings say so."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ...config import Judge
from ...errors import BadInput
from ...storage import fetch

INSIDE = (".svc", ".cluster.local", ".local", ".localhost", ".internal", ".home.arpa")
"""Ends of names that no public name has: Kubernetes' services, RFC 6762, RFC 6761, ICANN's `internal`, RFC 8375."""


def check(settings: Judge) -> None:
    """Everything that can be known of a judge without asking it. Raises BadInput."""
    if settings.kind == "none":
        return
    if not settings.model:
        remedy = "name the model as the endpoint knows it" if settings.kind == "endpoint" else "name its folder or URI"
        raise BadInput(f"judge.kind is {settings.kind}, and judge.model is empty", remedy)
    if settings.kind == "model":
        if not fetch(settings.model).is_dir():
            raise BadInput(f"judge.model '{settings.model}' is a file", "name a folder in Hugging Face layout")
        return
    _check_endpoint(settings)
    key_of(settings)
    context_of(settings)
    if find_spec("openai") is None:
        raise BadInput("judge.kind is endpoint, which needs openai", "pip install 'raro-pipelines[judge]'")


def _check_endpoint(settings: Judge) -> None:
    try:
        parts = urlsplit(settings.endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host:
        raise BadInput(f"judge.endpoint '{settings.endpoint}' is not an address", "write http://HOST:PORT/v1")
    if parts.username or parts.password or parts.query:
        raise BadInput("judge.endpoint holds a secret or a query", "put the key into a variable and name it in judge.key")
    if inside(host):
        return
    if not settings.allow_external:
        line = f"judge.endpoint '{host}' is not on a private network: questions and answers would be sent there"
        raise BadInput(line, "name an endpoint on a private address, or set judge.allow_external: true")
    if parts.scheme != "https":
        raise BadInput(f"judge.endpoint '{host}' is not on a private network, and not encrypted", "write https://")


def inside(host: str) -> bool:
    """Whether a host is this machine, on a private network or in the cluster: by its address, by a name that is never public,
    or by a name all of whose addresses are private."""
    host = host.rstrip(".").lower()
    if (address := _address(host)) is not None:
        return _private(address)
    if "." not in host or host.endswith(INSIDE):
        return True
    try:
        found = {_address(str(info[4][0]).split("%")[0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(one is not None and _private(one) for one in found)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is, in any of the spellings that resolvers take (134744072 is 8.8.8.8)."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    address = getattr(address, "ipv4_mapped", None) or address
    return not address.is_global and not address.is_multicast


def key_of(settings: Judge) -> str:
    """The endpoint's key, from the variable that judge.key names; empty where it names none. Raises BadInput."""
    if not settings.key:
        return ""
    if not (key := os.environ.get(settings.key, "").strip()):
        raise BadInput(
            f"judge.key names the variable '{settings.key}', which is not set", "export it, or leave judge.key empty"
        )
    if not key.isascii() or not key.isprintable():
        raise BadInput(f"the variable '{settings.key}' does not hold a usable key", "check its value")
    return key


def context_of(settings: Judge) -> ssl.SSLContext:
    """What the endpoint's certificate is checked by. Raises BadInput."""
    if not settings.ca:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError):
        state = "holds no certificate" if Path(settings.ca).is_file() else "does not exist"
        raise BadInput(f"judge.ca '{settings.ca}' {state}", "name a PEM file with the authority's certificate") from None
