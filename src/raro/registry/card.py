"""The model card: README.md inside the registered model, with the front matter that the Hugging Face hub and its tools read.

A function of the run alone, without a clock in it, so that registering again gives the same bytes and the same root digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .. import __version__
from ..config import Config

ARMS = {"base": "base", "warmstart": "warm start", "sft": "SFT", "champion": "earlier champion", "candidate": "this model"}


def card(config: Config, data: Mapping[str, Any], evaluation: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    """The card's text. data: ingest/data.json; evaluation: evaluation.json; decision: decide/decision.json."""
    front = {
        "license": config.base.licence,
        "base_model": config.base.uri,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["raro", "reasoning"],
    }
    rows = "\n".join(
        f"| {name} | {_cell(evaluation['greedy'][arm])} | {_cell(evaluation['sampled'][arm])} |"
        for arm, name in ARMS.items()
        if arm in evaluation["sampled"]
    )
    reasons = "\n".join(f"* {reason}" for reason in decision["reasons"])
    splits = ", ".join(f"{count} {split}" for split, count in data.get("splits", {}).items())
    return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---
# {config.registry.model}

Trained by RARO Pipelines {__version__} (configuration `{config.name}`, seed {config.seed}): reasoning learned from expert
demonstrations, by playing a policy against a relativistic critic. It thinks between `<think>` and `</think>`, then answers.

## Measured

On {evaluation["n"]} test problems of `{evaluation["benchmark"]}`, percent, with 95 % intervals:

| | greedy | sampled |
|---|---|---|
{rows}

Decision: {decision["decision"]}.

{reasons}

## Made from

* base: `{config.base.uri}` (licence: {config.base.licence})
* demonstrations: `{config.demonstrations.source}` (licence: {config.demonstrations.licence}; {splits})
* data digest: `{data["digest"]}`
* config digest: `{config.digest}`
"""


def _cell(interval: tuple[float, float, float] | list[float]) -> str:
    mean, low, high = (f"{100 * value:.1f}" for value in interval)
    return f"{mean} ({low} to {high})"
