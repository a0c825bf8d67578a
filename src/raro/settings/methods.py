"""What may train: the methods' names, and where each one's class stands. A method is added with its file and its line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

METHODS: Mapping[str, tuple[str, str]] = {
    "raro": ("raro", "Raro"),
    "sft": ("sft", "Sft"),
    "rationalization": ("rationalization", "Rationalization"),
    "dpo": ("dpo", "Dpo"),
    "rl_logit": ("rl_logit", "RlLogit"),
    "similarity": ("similarity", "Similarity"),
    "rlvr": ("rlvr", "Rlvr"),
}
"""Its name in a configuration: (module of raro.methods, class)."""
MethodName = Literal[tuple(METHODS)]
