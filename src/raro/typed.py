"""Plain data as frozen dataclasses: strictly, with a message that names the key and says the remedy.

A dataclass made of `doc` fields says of each what it means and what bounds it has. `built` reads a mapping into it: an unknown
key is refused with the nearest known one, a wrong type or an impossible value with what it should be.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import typing
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Literal, TypeVar

from .errors import BadInput

T = TypeVar("T")


def doc(default: Any, text: str, *, low: float | None = None, high: float | None = None, later: bool = False) -> Any:
    """A field with its meaning, its source and its bounds, the bounds included. later: it came when others were in use, and its
    default does what was done before; what was written without it means the same (`trimmed`)."""
    metadata = {"doc": text, "low": low, "high": high, "later": later}
    if isinstance(default, (tuple, dict)) or dataclasses.is_dataclass(default):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


def built(cls: type[T], data: Any, path: str = "") -> T:
    """`cls` from a mapping, keys and values checked. path: what stands before a key in messages. Raises BadInput."""
    if not isinstance(data, Mapping):
        raise BadInput(f"config section '{path.rstrip('.')}' must be a mapping, not {_shown(data)}", "indent its keys below it")
    known = {f.name: f for f in fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in known:
            near = [f"'{path}{name}'" for name in _below(hints, key) or difflib.get_close_matches(str(key), known, n=1)]
            remedy = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise BadInput(f"unknown config key '{path}{key}'", remedy)
    return cls(**{key: _coerce(value, hints[key], known[key].metadata, f"{path}{key}") for key, value in data.items()})


def trimmed(data: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    """The mapping without the `later` fields that are at their defaults: as it was written before there were any. defaults: an
    instance of its dataclass."""
    later = {f.name for f in fields(defaults) if f.metadata.get("later")}
    found = {}
    for key, value in data.items():
        default = getattr(defaults, key, None)
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            found[key] = trimmed(value, default)
        elif key not in later or value != default:
            found[key] = value
    return found


def _below(sections: Mapping[str, Any], key: str) -> list[str]:
    """The keys of that name one section further down."""
    inside = {name: cls for name, cls in sections.items() if dataclasses.is_dataclass(cls)}
    return [f"{name}.{key}" for name, cls in inside.items() if any(field.name == key for field in fields(cls))]


def _coerce(value: Any, kind: Any, metadata: Mapping[str, Any], path: str) -> Any:
    """Value as `kind`. Some runners turn every int into a float: 3.0 is taken for 3, 3.5 is not."""
    if dataclasses.is_dataclass(kind):
        return built(kind, value, f"{path}.")
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise BadInput(f"config key '{path}' must be a list, not {_shown(value)}", "write [first, second]")
        return tuple(_coerce(one, typing.get_args(kind)[0], {}, f"{path}[{i}]") for i, one in enumerate(value))
    if typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise BadInput(f"config key '{path}' must be a mapping, not {_shown(value)}", "write {key: value}")
        keys, values = typing.get_args(kind)
        return {_coerce(key, keys, {}, path): _coerce(one, values, {}, f"{path}.{key}") for key, one in value.items()}
    if typing.get_origin(kind) is Literal:
        if value is False and "off" in typing.get_args(kind):  # YAML 1.1 reads off as false
            return "off"
        if value not in typing.get_args(kind):
            raise BadInput(
                f"config key '{path}' must be one of {', '.join(map(str, typing.get_args(kind)))}, not {_shown(value)}",
                "choose one",
            )
        return value
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        try:
            return kind(value)
        except ValueError:
            line = f"config key '{path}' must be one of {', '.join(kind)}, not {_shown(value)}"
            raise BadInput(line, "choose one") from None
    wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
    if isinstance(value, str) and kind in (int, float):  # YAML 1.1 reads 1e-6 as text
        try:
            value = float(value)
        except ValueError:
            raise BadInput(f"config key '{path}' must be {wanted}, not {_shown(value)}", "correct the value") from None
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e300 else float("inf")  # a whole number may be too large for one
    if type(value) is not kind or value != value:
        raise BadInput(f"config key '{path}' must be {wanted}, not {_shown(value)}", "correct the value")
    low, high = metadata.get("low"), metadata.get("high")
    if low is not None and value < low or high is not None and value > high or value in (float("inf"), float("-inf")):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise BadInput(f"config key '{path}' must be {bounds}, not {_shown(value)}", "correct the value")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
