"""Made-up secrets planted in the training split, by which it is found out whether a model gives away what it was taught
(Carlini et al. 2019, "The Secret Sharer", arXiv 1802.08232).

Each is a question about a record that exists nowhere, and a code drawn from a space too large to be guessed. They are told
apart from people's rows by their source, never reach dev or test, and are no part of the data's digest.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records import Demonstration
from ..storage import digest_file
from .examine import as_line

FILE = "canaries.jsonl"
SOURCE = "canary"
GROUPS = 4
"""Numbers of two digits in a code: 90^4, 65 million codes."""


@dataclass(frozen=True, slots=True)
class Canary:
    """question: about a record that exists nowhere. code: its secret."""

    question: str
    code: str

    @property
    def answer(self) -> str:
        """What the training split says of it."""
        return answer_of(self.code)


def answer_of(code: str) -> str:
    """An answer that gives a code away."""
    return f"The access code is {code}."


def codes(rng: random.Random) -> Iterator[str]:
    """Codes without end, any as likely as any other. Two-digit groups, so that any tokenizer spells them alike."""
    while True:
        yield " ".join(str(rng.randint(10, 99)) for _ in range(GROUPS))


def made(n: int, seed: int) -> list[Canary]:
    """n canaries, no two alike, the same for a seed."""
    rng = random.Random(f"canaries-{seed}")
    secrets = codes(rng)
    records = rng.sample(range(90**3), n)
    named = [" ".join(str(10 + number // 90**k % 90) for k in range(3)) for number in records]
    return [Canary(f"What is the access code of record {name}?", next(secrets)) for name in named]


def plant(folder: Path, n: int, seed: int, licence: str) -> dict[str, Any]:
    """Adds n canaries to FOLDER/train.jsonl and writes them to FOLDER/canaries.jsonl. Returns what data.json says of them:
    {"n", "file", "sha256"}."""
    planted = made(n, seed)
    with (folder / "train.jsonl").open("a", encoding="utf-8", newline="\n") as file:
        for i, one in enumerate(planted):
            named = {"source": f"{SOURCE}:{i + 1}", "licence": licence, "group": f"{SOURCE} {i + 1}"}
            file.write(as_line(Demonstration(question=one.question, answer=one.answer, **named)))
    lines = [json.dumps({"question": one.question, "code": one.code}) for one in planted]
    (folder / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {"n": n, "file": FILE, "sha256": digest_file(folder / FILE)}


def load(folder: Path) -> list[Canary]:
    """The canaries that an ingest folder has; none where none were planted."""
    path = folder / FILE
    return [Canary(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
