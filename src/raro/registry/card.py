"""The model card: README.md inside the registered model, with the front matter that the Hugging Face hub and its tools read.

A function of the run alone, without a clock in it, so that registering again gives the same bytes and the same root digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .. import __version__
from ..config import Config
from ..demonstrations.sheet import marked

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
    reasons = "\n".join(f"* {' '.join(reason.split())}" for reason in decision["reasons"])
    splits = ", ".join(f"{count} {split}" for split, count in data.get("splits", {}).items())
    use = config.registry.intended_use or "Research on reasoning learned from expert demonstrations."
    limits = f"* {config.registry.limits}\n" if config.registry.limits else ""
    return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---
# {config.registry.model}

Trained by RARO Pipelines {__version__} (configuration `{config.name}`, seed {config.seed}): reasoning learned from expert
demonstrations, by playing a policy against a relativistic critic. It thinks between `<think>` and `</think>`, then answers.

## Intended use

{use}

Input: chat messages, the last one the question; the tokenizer's chat template renders them. Output: text, a thought between
`<think>` and `</think>`, then the answer.

## Measured

On {evaluation["n"]} test problems of `{evaluation["benchmark"]}`, percent, with 95 % intervals:

| | greedy | sampled |
|---|---|---|
{rows}

Decision: {decision["decision"]}.

{reasons}

## Limits

{limits}* It was measured on the problems above and on nothing else; other questions may be answered worse.
* Its critic learned from the same demonstrations: what they get wrong, it does not see.
* {_rows(data)}

## Made from

* base: `{config.base.uri}` (licence: {config.base.licence})
* demonstrations: `{config.demonstrations.source}` (licence: {config.demonstrations.licence}; {splits})
* licences in the data: {_licences(data) or config.demonstrations.licence}
* data digest: `{data["digest"]}`
* config digest: `{config.digest}`
"""


def _rows(data: Mapping[str, Any]) -> str:
    """What became of the rows that were read, in a sentence."""
    if not {"rows", "kept"} <= set(data):
        return "How many rows were read is not recorded."
    reasons = _counted(data.get("reasons", {}))
    return f"Of {data['rows']:,} rows that were read {data['kept']:,} were kept" + (
        f"; left out: {reasons}." if reasons else "."
    )


def _licences(data: Mapping[str, Any]) -> str:
    """As the rows name them, and so written by whoever wrote the rows: escaped, on one line."""
    return _counted({marked(" ".join(name.split())[:80]): count for name, count in data.get("licences", {}).items()})


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items())


def _cell(interval: tuple[float, float, float] | list[float]) -> str:
    mean, low, high = (f"{100 * value:.1f}" for value in interval)
    return f"{mean} ({low} to {high})"
