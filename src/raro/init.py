"""`raro init`: a configuration for one's own demonstrations and model, checked against both before it is written."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .config import Config, ShowText, load, parse
from .demonstrations import SPLITS, Card, Reading, Source, collect, sources
from .demonstrations.readers import missing
from .errors import BadInput
from .steps.preflight import check_base
from .storage import write_atomic

# Names that columns of questions and answers usually have; the first pair that is there is taken.
COLUMNS = (
    ("question", "answer"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("input", "output"),
    ("problem", "solution"),
    ("problem", "answer"),
    ("prompt", "answer"),
    ("question", "response"),
)
CHOSEN = ("base.uri", "demonstrations.source", "demonstrations.question", "demonstrations.answer", "registry.model")
# What a person will want to look at first; everything else keeps its default.
SHOWN = (
    "base.licence", "demonstrations.licence", "demonstrations.group", "raro.steps", "raro.questions", "raro.rollouts",
    "raro.learning_rate", "rollout.slots", "rollout.policy_tokens", "rollout.critic_tokens", "evaluation.benchmark",
    "evaluation.max_items", "gate.min_gain", "gate.require_approval", "registry.model", "tracking.uri", "privacy.show_text",
)  # fmt: skip


def write(demonstrations: str, base: str, output: Path, question: str | None = None, answer: str | None = None) -> Path:
    """Writes the configuration and tells what was found. Raises BadInput, and then nothing is written."""
    if output.exists():
        raise BadInput(f"'{output}' exists already", "name another --output, or remove it")
    check_base(base)
    files = sources(demonstrations)
    question, answer = columns(files, question, answer)
    name = output.stem
    chosen = {
        "name": name,
        "base": {"uri": _settled(base)},
        "demonstrations": {"source": _settled(demonstrations), "question": question, "answer": answer},
        "registry": {"model": name},
    }
    config = parse(chosen)
    card = counted(config, files)
    text = rendered(config, card)
    write_atomic(output, text)
    if load(output) != config:
        raise AssertionError(f"'{output}' does not read as it was written")
    print(f"{output}: {card.rows:,} rows read, {card.kept:,} kept, {card.quarantined:,} quarantined")
    for reason, count in card.reasons.most_common():
        print(f"  {reason}: {count:,}")
    print(f"next: raro run {output}")
    return output


def columns(files: Sequence[Source], question: str | None, answer: str | None) -> tuple[str, str]:
    """The two columns: those named, else the usual pair that the first file has. Raises BadInput saying what it has."""
    pairs = [(question or q, answer or a) for q, a in COLUMNS]
    for pair in dict.fromkeys(pairs):
        try:
            asked = parse({"demonstrations": {"question": pair[0], "answer": pair[1]}}).demonstrations
            first = next((row.values for row in Reading(asked).rows(files[0]) if row.values), {})
        except BadInput as error:
            if "column" not in error.line:
                raise
            refusal = error
            continue
        if (refusal := missing(files[0].uri, pair, first)) is None:
            return pair
    raise BadInput(
        refusal.line,
        refusal.remedy.replace("set demonstrations.question, .answer, ...", "name them with --question and --answer"),
    )


def counted(config: Config, files: Sequence[Source]) -> Card:
    """All rows read and screened as ingest will. Raises BadInput where too many are unfit or too few are left."""
    with tempfile.TemporaryDirectory(prefix="raro-") as folder:
        card = collect(config.demonstrations, files, Path(folder), ShowText.none)
        if stop := card.stop(config.demonstrations, Path(folder) / "quarantine.jsonl"):
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in card.reasons.most_common(3))
            raise BadInput(stop.line.partition("; see ")[0] + (f": {reasons}" if reasons else ""), stop.remedy)
    return card


def rendered(config: Config, card: Card) -> str:
    """The file: what was chosen, and below it, as comments, what a person will want to look at first."""
    split = ", ".join(f"{card.splits[name]:,} {name}" for name in SPLITS)
    lines = [
        f"# Written by `raro init`. {card.kept:,} demonstrations: {split}.",
        "# Lines that are commented out show the defaults; docs/configuration.md has them all.",
        f"name: {json.dumps(config.name)}",
    ]
    for section in dataclasses.fields(config):
        part = getattr(config, section.name)
        if not dataclasses.is_dataclass(part):
            continue
        rows = []
        for item in dataclasses.fields(part):
            value, default = getattr(part, item.name), getattr(type(part)(), item.name)
            row = f"{item.name}: {json.dumps(value, ensure_ascii=False)}"
            if value != default or f"{section.name}.{item.name}" in CHOSEN:
                rows.append(f"  {row}")
            elif f"{section.name}.{item.name}" in SHOWN:
                rows.append(f"  # {row:<28} # {item.metadata['doc']}")
        if rows:
            live = any(not row.lstrip().startswith("#") for row in rows)
            lines += ["", f"{section.name}:" if live else f"# {section.name}:", *rows]
    return "\n".join(lines) + "\n"


def _settled(uri: str) -> str:
    """A path as it will still be found from another folder."""
    return uri if "://" in uri else os.path.abspath(uri)
