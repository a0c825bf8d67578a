"""`raro init`: a configuration for one's own demonstrations and model, checked against both before it is written."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

from .benchmarks import measurable
from .config import Config, ShowText, load, overridden, parse
from .demonstrations import SPLITS, Card, Source, collect, load_split, shown, sources
from .demonstrations.files import printable
from .demonstrations.guess import described, guessed, left_unread
from .demonstrations.personal import PersonalData
from .demonstrations.shown import Shown
from .errors import BadInput
from .records import Demonstration
from .rollout.positions import positions_of
from .steps.ingest import processes_of
from .steps.preflight import check_base
from .storage import read_json, write_atomic

EXAMPLES, WIDTH = 3, 160  # rows that are shown, and characters of each of their texts
LOOKED_AT = 1000  # rows that are looked at for personal data
UNTESTED = (
    "the test split holds no problem, and `raro run` stops where it reads that: raise demonstrations.test_share, or add data"
)
TELLING = ("email", "phone", "national_id", "account", "record_number", "name", "date")
"""Kinds of personal data that are told of where nobody asked for them to be looked for; dates, where they stand near BIRTH."""
BIRTH = re.compile(r".{0,40}\b(?:born|birth|DOB|geb(?:oren|urtsdatum)?)\b.{0,40}", re.I)
COLUMNS = ("demonstrations.question", "demonstrations.answer")
CHOSEN = ("base.uri", "demonstrations.source", "demonstrations.reader", "registry.model", "privacy.show_text")
# What a person will want to look at first; everything else keeps its default.
SHOWN = (
    "base.licence", "demonstrations.licence", "demonstrations.group", "raro.steps", "raro.questions", "raro.rollouts",
    "raro.learning_rate", "rollout.slots", "rollout.policy_tokens", "rollout.critic_tokens", "evaluation.benchmark",
    "evaluation.max_items", "gate.min_gain", "gate.require_approval", "registry.model", "tracking.uri",
)  # fmt: skip


def write(demonstrations: str, base: str, output: Path, settings: Sequence[str] = ()) -> Path:
    """Writes the configuration and shows how three rows are read. settings: KEY=VALUE, which no guess changes. Raises BadInput,
    and then nothing is written."""
    if output.exists():
        raise BadInput(f"'{output}' exists already", "name another --output, or remove it")
    name = output.stem
    base = _settled(base) if os.path.exists(base) else base
    places = [f"base.uri={json.dumps(base)}", f"demonstrations.source={json.dumps(_settled(demonstrations))}"]
    chosen = overridden({"name": name, "registry": {"model": name}}, [*settings, *places])
    fixed = set(chosen["demonstrations"]) - {"source"}
    config = parse(chosen)
    folder = check_base(config, Path("runs") / name)  # beside the runs: a registered version is looked for there
    config, short = roomy(config, positions_of(read_json(folder / "config.json")), chosen.get("rollout", {}))
    files = sources(demonstrations)
    try:
        config = dataclasses.replace(config, demonstrations=guessed(config.demonstrations, files, fixed))
        card, first, notes = counted(config, files)
    except BadInput as error:
        raise shown.told(error, config) from None
    write_atomic(output, rendered(config, card))
    if load(output) != config:
        raise AssertionError(f"'{output}' does not read as it was written")
    told(config, card, files, first[:EXAMPLES])
    for line in [*notes, *filter(None, [short, unscreened(config, first)])]:
        print(f"\n{line}")
    print(f"\nwritten: {output}; next: raro run {shlex.quote(str(output))}")
    return output


def roomy(config: Config, positions: int, chosen: Mapping[str, Any]) -> tuple[Config, str]:
    """The configuration with budgets of half the positions where they would fill them and nobody chose them, and what to say of
    it."""
    budgets = {key: getattr(config.rollout, key) for key in ("policy_tokens", "critic_tokens") if key not in chosen}
    if not (full := [key for key, budget in budgets.items() if 0 < positions <= budget]):
        return config, ""
    rollout = dataclasses.replace(config.rollout, **dict.fromkeys(full, positions // 2))
    named = " and ".join(f"rollout.{key}" for key in full)
    line = f"{named}: {positions // 2:,}, half of the {positions:,} positions that the base was made for"
    return dataclasses.replace(config, rollout=rollout), line


def told(config: Config, card: Card, files: Sequence[Source], examples: Sequence[Demonstration]) -> None:
    """Prints what was found, and the examples as privacy.show_text allows."""
    settings = config.demonstrations
    unread = ", ".join(printable(name, 40) for name in left_unread(settings, files[0])[:12])
    more = f" and {len(files) - 1} more files" if len(files) > 1 else ""
    print(f"{files[0].uri}{more}, {described(settings)}" + (f"; not read: {unread}" if unread else ""))
    if card.unread:
        rest = f" and {len(card.unread) - EXAMPLES:,} more" if len(card.unread) > EXAMPLES else ""
        print(f"files not read: {', '.join(card.unread[:EXAMPLES])}{rest}; name one by itself to read it")
    print(f"{card.rows:,} rows read, {card.kept:,} kept, {card.quarantined:,} quarantined")
    for reason, count in [*card.reasons.most_common(), *card.left_out.most_common()]:
        print(f"  {reason}: {count:,}")
    seen = Shown.of(config)
    for one in examples:
        print(f"\n{one.source}")
        for part, text in (("question", one.question), ("answer", one.answer)):
            print(f"  {part:<9} {printable(' '.join(seen(text).split()), WIDTH) if seen else f'{len(text):,} characters'}")


def counted(config: Config, files: Sequence[Source]) -> tuple[Card, list[Demonstration], list[str]]:
    """All rows read and screened as ingest will, the first LOOKED_AT that were kept, and what a person should know of the test
    split. Raises BadInput where too many are unfit, too few are left, or the benchmark was made for other answers."""
    with tempfile.TemporaryDirectory(prefix="raro-") as folder:
        card = collect(config.demonstrations, files, Path(folder), ShowText.none, processes=processes_of(config))
        if stop := card.stop(config.demonstrations, Path(folder) / "quarantine.jsonl"):
            reasons = ", ".join(f"{reason} ({count:,})" for reason, count in card.reasons.most_common(3))
            line = f"{stop.line.partition('; see ')[0]}, with {described(config.demonstrations)}"
            raise BadInput(line + (f": {reasons}" if reasons else ""), stop.remedy)
        items = load_split(folder, "test")
        notes = list(measurable.check(items, config)) if items else [UNTESTED]
        with ExitStack() as stack:
            kept = [stack.enter_context(open(Path(folder) / f"{split}.jsonl", encoding="utf-8")) for split in SPLITS]
            return card, [Demonstration(**json.loads(line)) for line in islice(chain(*kept), LOOKED_AT)], notes


def unscreened(config: Config, first: Sequence[Demonstration]) -> str:
    """What is said where personal data of kinds that nothing screens for is seen in these rows; empty where there is nothing to
    say."""
    left = [kind for kind in TELLING if kind not in config.demonstrations.personal_data]
    if not left:
        return ""
    try:
        finder = PersonalData(dict.fromkeys(left, "keep"), config.demonstrations.phone_region)
    except BadInput:  # its libraries are not installed
        return ""
    seen = Counter(chain.from_iterable(_seen(finder, f"{one.question}\n{one.answer}") for one in first))
    if not seen:
        return ""
    kinds = ", ".join(f"{kind}{' (of birth)' if kind == 'date' else ''} in {count:,}" for kind, count in seen.most_common())
    return (
        f"personal data seen in the first {len(first):,} rows: {kinds}. Nothing screens for these: set "
        "demonstrations.personal_data for each, and privacy.show_text (configs/medical.yaml does, docs/data.md says what is "
        "not found)"
    )


def _seen(finder: PersonalData, text: str) -> list[str]:
    """The kinds in a text; `date` only where one stands near a birth."""
    found = list(finder.clean(text).found)
    if "date" in found and "date" not in finder.clean("\n".join(BIRTH.findall(text))).found:
        found.remove("date")
    return found


def rendered(config: Config, card: Card) -> str:
    """The file: what was chosen, and below it, as comments, what a person will want to look at first."""
    split = ", ".join(f"{card.splits[name]:,} {name}" for name in SPLITS)
    lines = [
        f"# Written by `raro init`. {card.kept:,} demonstrations: {split}.",
        "# Lines that are commented out show the defaults; src/raro/settings/ says what each means.",
        f"name: {_quoted(config.name)}",
    ]
    for section in dataclasses.fields(config):
        part = getattr(config, section.name)
        if not dataclasses.is_dataclass(part):
            continue
        rows = []
        for item in dataclasses.fields(part):
            value, default = getattr(part, item.name), getattr(type(part)(), item.name)
            row, named = f"{item.name}: {_quoted(value)}", f"{section.name}.{item.name}"
            column = named in COLUMNS and config.demonstrations.reader in ("columns", "choice")
            if value != default or named in CHOSEN or column:
                rows.append(f"  {row}")
            elif named in SHOWN:
                rows.append(f"  # {row:<28} # {item.metadata['doc']}")
        if rows:
            live = any(not row.lstrip().startswith("#") for row in rows)
            lines += ["", f"{section.name}:" if live else f"# {section.name}:", *rows]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    """As YAML reads it back; with escapes where a column's name holds what it takes for a line's end, or not at all."""
    plain = json.dumps(value, ensure_ascii=False)
    return plain if plain.isprintable() else json.dumps(value)


def _settled(uri: str) -> str:
    """A path as it will still be found from another folder."""
    return uri if ":/" in uri else os.path.abspath(uri)
