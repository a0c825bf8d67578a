"""One file per method: prompts -> samples. The only floor where game, rollout and learning meet.

A method is added with its file and its line in settings/methods.py. They are imported only when one is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..settings.methods import METHODS

if TYPE_CHECKING:
    from .method import Method

__all__ = ["METHODS", "method_of"]


def method_of(name: str) -> type[Method]:
    """The class of the method that `method` names."""
    module, kind = METHODS[name]
    return getattr(importlib.import_module(f".{module}", __name__), kind)
