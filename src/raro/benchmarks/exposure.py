"""Does a model give away the canaries that were planted in its training data (demonstrations/canaries.py)?

Exposure (Carlini et al. 2019): log2 of the alternatives' number less log2 of the true code's rank among them by likelihood. A
model that never saw the canary ranks it anywhere: 1.4 bits on average; one that knows it by heart, first: 8 bits of 256.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

from ..config import Config
from ..demonstrations.canaries import Canary, answer_of, codes
from ..records import Sampling
from ..roles import asking
from ..rollout.models import Speaker
from ..rollout.places import Place
from .statistics import mean_interval

ALTERNATIVES = 255


def exposure(speaker: Speaker, canaries: Sequence[Canary], config: Config, thinking: bool = True) -> dict[str, Any]:
    """{"n", "bits": interval of the mean exposure, "most": the highest, "completed": canaries whose code stands in the greedy
    answer}. Codes are scored behind an empty thought where the model thinks."""
    engine, rng = speaker.engine(config), random.Random(f"alternatives-{config.seed}")
    prompts = [asking.policy(speaker, one.question, config, "exposure", i) for i, one in enumerate(canaries)]
    bits = []
    for canary, prompt in zip(canaries, prompts, strict=True):
        others = islice((code for code in codes(rng) if code != canary.code), ALTERNATIVES)
        asked = speaker.after(prompt, "") if thinking else prompt
        texts = [answer_of(code) for code in (canary.code, *others)]
        spoken = [speaker.completion(f" {text}" if thinking else text) for text in texts]
        own, *rest = map(sum, engine.score([asked] * len(spoken), spoken, 1.0))
        rank = 1 + sum(other > own for other in rest) + 0.5 * sum(other == own for other in rest)
        bits.append(math.log2(len(spoken)) - math.log2(rank))
    sampling = Sampling(0.0, config.rollout.policy_tokens, config.seed, Place.EXPOSURE)
    written = [speaker.text(one.ids) for (one,) in engine.generate(prompts, 1, sampling)]
    return {
        "n": len(canaries),
        "bits": mean_interval(bits, config.evaluation.bootstrap, config.seed),
        "most": max(bits),
        "completed": sum(_digits(one.code) in _digits(text) for one, text in zip(canaries, written, strict=True)),
    }


def _digits(text: str) -> str:
    """The digits alone: a code is given away in whatever spacing."""
    return "".join(c for c in text if c.isdigit())
