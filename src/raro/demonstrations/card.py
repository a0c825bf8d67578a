"""The data card: what was read, what was kept, why the rest was not, and one digest for all that was kept (data.json)."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..config import Demonstrations
from ..errors import BadInput
from ..records import Demonstration
from ..storage import canonical, digest_file, digest_text, read_json, write_json
from .files import Source
from .screens import REASONS
from .seen import Sorted
from .splits import SPLITS

FILE = "data.json"


def described(found: Sequence[Source]) -> list[dict[str, Any]]:
    """{"uri", "size", "sha256"} of each file."""
    return [{"uri": one.uri, "size": one.path.stat().st_size, "sha256": digest_file(one.path)} for one in found]


class Card:
    """Counts while the rows pass by. Its memory does not grow with them."""

    def __init__(self) -> None:
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.personal: Counter[str] = Counter()
        self.benchmarks: list[dict[str, Any]] = []
        self._lengths: dict[str, Counter[int]] = {"question": Counter(), "answer": Counter()}
        self._digests = Sorted()

    def keep(self, demonstration: Demonstration, split: str) -> None:
        """Counts a row that became a demonstration."""
        self.rows += 1
        self.splits[split] += 1
        self.licences[demonstration.licence] += 1
        self._lengths["question"][len(demonstration.question)] += 1
        self._lengths["answer"][len(demonstration.answer)] += 1
        parts = (split, demonstration.licence, demonstration.group, demonstration.question, demonstration.answer)
        self._digests.add(sha256("\0".join(parts).encode()).digest())  # normalised text has no \0

    def refuse(self, reason: str) -> None:
        """Counts a row that was quarantined."""
        self.rows += 1
        self.reasons[reason] += 1

    def leave_out(self, reason: str) -> None:
        """Counts a row that the settings do not ask for."""
        self.rows += 1
        self.left_out[reason] += 1

    @property
    def kept(self) -> int:
        return self.splits.total()

    @property
    def quarantined(self) -> int:
        return self.reasons.total()

    def digest(self) -> str:
        """sha256 over the kept rows' own digests in sorted order: the same for the same demonstrations and splits, wherever
        they lie and in whatever order they come."""
        whole = sha256()
        for one in self._digests:
            whole.update(one)
        return whole.hexdigest()

    def write(self, path: Path, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Writes data.json and returns what it says. files: of `described`."""
        content = {
            "sources": list(files),
            "rows": self.rows,
            "kept": self.kept,
            "quarantined": self.quarantined,
            "reasons": dict(sorted(self.reasons.items())),
            "left_out": dict(sorted(self.left_out.items())),
            "personal_data": dict(sorted(self.personal.items())),
            "benchmarks": self.benchmarks,
            "splits": {split: self.splits[split] for split in SPLITS},
            "digest": self.digest(),
            "licences": dict(sorted(self.licences.items())),
            "lengths": {part: _summary(lengths) for part, lengths in self._lengths.items()},
        }
        write_json(path, content)
        return content

    def stop(self, settings: Demonstrations, quarantine: Path) -> BadInput | None:
        """The reason to stop before training, if there is one. quarantine: where a person can read which rows and why."""
        share = self.quarantined / max(1, self.rows)
        most = self.reasons.most_common(1)[0] if self.reasons else ("", 0)
        seen = f"{self.quarantined:,} of {self.rows:,} rows are quarantined, most as {most[0]} ({most[1]:,})"
        if share > settings.max_quarantined_share:
            return BadInput(
                f"{seen}: {share:.1%}, more than {settings.max_quarantined_share:.1%}; see '{quarantine}'",
                f"{REASONS[most[0]]}; or raise demonstrations.max_quarantined_share",
            )
        if self.splits["train"] < settings.min_train:
            line = f"only {self.splits['train']:,} demonstrations are left to train on, {settings.min_train:,} are needed"
            remedy = "give more rows, or lower demonstrations.min_train, dev_share or test_share"
            return BadInput(f"{line}; {seen}; see '{quarantine}'" if self.reasons else line, remedy)
        return None


def read_card(folder: str | Path) -> dict[str, Any]:
    """The data card of a finished ingest folder. Raises BadInput."""
    return read_json(Path(folder) / FILE)


def source_digest(found: Sequence[Source]) -> str:
    """One digest for the files as they lie, read or not."""
    return digest_text(canonical(described(found)))


def _summary(lengths: Counter[int]) -> dict[str, float]:
    """Characters: mean, median, 95th percentile, longest."""
    count, ordered = lengths.total(), sorted(lengths)
    if not count:
        return {"mean": 0, "median": 0, "p95": 0, "longest": 0}
    upto = list(itertools.accumulate(lengths[length] for length in ordered))
    at = lambda share: ordered[bisect.bisect_right(upto, min(count - 1, int(share * count)))]  # noqa: E731
    mean = sum(length * many for length, many in lengths.items()) / count
    return {"mean": round(mean, 1), "median": at(0.5), "p95": at(0.95), "longest": ordered[-1]}
