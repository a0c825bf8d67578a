"""One file per method: prompts -> samples. The only floor where game, rollout and learning meet.

A method is added with its file and its line here. They are imported only when one is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .method import Method

METHODS: Mapping[str, tuple[str, str]] = {
    "raro": ("raro", "Raro"),
    "sft": ("sft", "Sft"),
    "rationalization": ("rationalization", "Rationalization"),
    "dpo": ("dpo", "Dpo"),
    "rl_logit": ("rl_logit", "RlLogit"),
    "similarity": ("similarity", "Similarity"),
    "rlvr": ("rlvr", "Rlvr"),
}
"""Its name in a configuration: (module, class)."""


def method_of(name: str) -> type[Method]:
    """The class of the method that `method` names."""
    module, kind = METHODS[name]
    return getattr(importlib.import_module(f".{module}", __name__), kind)
