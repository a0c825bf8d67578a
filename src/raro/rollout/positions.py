"""For how many tokens a model was made, prompt and completion together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def positions_of(told: Mapping[str, Any]) -> int:
    """The positions of a model's configuration, as config.json or transformers' `to_dict` tells it; 0 where it does not say.
    A model of several parts (Gemma 3 with images) says it of the part that writes."""
    part = told.get("text_config") or told
    found = part.get("max_position_embeddings", part.get("n_positions"))
    return found if isinstance(found, int) else 0
