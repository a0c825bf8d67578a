"""What people write, read so that a slip of theirs is told in a line: YAML, and the address of a server."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import urlsplit

import yaml

from ..errors import BadInput

# What PyYAML raises besides: for a date that is none, a number too long, a tag that does not fit, nesting too deep.
_FAULTS = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


def read_yaml(path: Traversable, what: str, remedy: str = "mend it, or name another file") -> Any:
    """What a YAML file holds, as plain data. what: the file, as the line begins. Raises BadInput where it cannot be read, or is
    no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{what} cannot be read: {error.strerror}", remedy) from None
    except UnicodeDecodeError:
        raise BadInput(f"{what} is not UTF-8 text", remedy) from None
    return parsed_yaml(text, what, remedy)


def parsed_yaml(text: str, what: str, remedy: str) -> Any:
    """The same of a text. The line shows nothing of it."""
    try:
        return yaml.safe_load(text)
    except _FAULTS as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise BadInput(f"{what} is not valid YAML{where}", remedy) from None


def host_of(address: str) -> str:
    """The host of an http:// or https:// address; empty where it is no such address."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.scheme in ("http", "https") else ""
