"""The manifest of the data (data.json): what was read, what was kept, why the rest was not, one digest for all kept."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import importlib.metadata
import itertools
import platform
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..config import Demonstrations
from ..errors import GateRefused
from ..records import Demonstration
from ..s3 import origin
from ..storage import canonical, digest_file, digest_text
from .files import Source, told
from .screens import REASONS
from .seen import Sorted
from .splits import SPLITS

FILE = "data.json"
WORDS = 256  # buckets of the vocabulary, a byte each: enough to see it change, too few to read a word from them
REMEMBERED = 2**15  # words: most are among the frequent ones; some megabytes
COUNTED = 2**16  # words that are counted at once
LOOKED_AT = 400  # characters of each text whose words are counted
SAMPLES = 10
LIBRARIES = (
    "raro-pipelines", "pyarrow", "selectolax", "ijson", "backports-zstd", "datasketch", "py3langid",
    "phonenumbers", "python-stdnum",
)  # fmt: skip


def described(found: Sequence[Source]) -> list[dict[str, Any]]:
    """{"uri", "size", "sha256"} of each file; of one from S3 its etag too, and its version where the bucket keeps versions.
    Raises BadInput for one that may not be read."""
    files = []
    for one in found:
        with told(one):
            size, digest = one.path.stat().st_size, digest_file(one.path)
        files.append({"uri": one.uri, "size": size, "sha256": digest, **origin(one.path)})
    return files


def buckets(one: Demonstration) -> bytes:
    """The bucket of each word at the beginning of question and answer."""
    return bytes(map(_bucket, f"{one.question[:LOOKED_AT]}\n{one.answer[:LOOKED_AT]}".casefold().split()))


class _Buckets(dict[str, int]):
    """The bucket of each word; of so many words as it has room for it remembers it."""

    def __missing__(self, word: str) -> int:
        bucket = zlib.crc32(word.encode()) % WORDS
        if len(self) < REMEMBERED:
            self[word] = bucket
        return bucket


_bucket = _Buckets().__getitem__


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
        self.unread: list[str] = []  # files that lie among the sources
        self._vocabulary: Counter[int] = Counter()
        self._words = bytearray()  # not yet counted
        self.kept_of: Counter[str] = Counter()
        self._samples: list[tuple[int, Demonstration]] = []
        self._lengths: dict[str, Counter[int]] = {"question": Counter(), "answer": Counter()}
        self._digests = Sorted()

    def keep(self, demonstration: Demonstration, split: str, words: bytes) -> None:
        """Counts a row that became a demonstration. words: the buckets of its words."""
        self.rows += 1
        self.splits[split] += 1
        self.licences[demonstration.licence] += 1
        self._lengths["question"][len(demonstration.question)] += 1
        self._lengths["answer"][len(demonstration.answer)] += 1
        parts = (split, demonstration.licence, demonstration.group, demonstration.question, demonstration.answer)
        digest = sha256("\0".join(parts).encode()).digest()  # normalised text has no \0
        self._digests.add(digest)
        self.kept_of[demonstration.source.rpartition("#")[0]] += 1
        self._words += words
        if len(self._words) >= COUNTED:
            self._count()
        if split == "train":
            self._sample(int.from_bytes(digest, "big"), demonstration)

    def _sample(self, number: int, demonstration: Demonstration) -> None:
        """Keeps the rows with the highest digests: the same ten for the same rows, whatever their order."""
        entry = (-number, demonstration)
        if len(self._samples) < SAMPLES:
            bisect.insort(self._samples, entry, key=lambda one: one[0])
        elif entry[0] < self._samples[-1][0]:
            bisect.insort(self._samples, entry, key=lambda one: one[0])
            self._samples.pop()

    def _count(self) -> None:
        self._vocabulary.update(self._words)
        self._words.clear()

    @property
    def vocabulary(self) -> list[int]:
        """How often the words of each bucket were seen."""
        self._count()
        return [self._vocabulary[bucket] for bucket in range(WORDS)]

    @property
    def samples(self) -> list[Demonstration]:
        """Ten demonstrations of the train split, picked by their digests."""
        return [one for _, one in self._samples]

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

    def content(self, files: Sequence[Mapping[str, Any]], settings: Demonstrations) -> dict[str, Any]:
        """What data.json says. files: of `described`. settings: what the rows were read and screened with; they and the
        libraries' versions are what a second reading needs to come to the same digest."""
        return {
            "sources": list(files),
            "unread": self.unread,
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
            "kept_of": dict(sorted(self.kept_of.items())),
            "vocabulary": self.vocabulary,
            "settings": dataclasses.asdict(settings),
            "versions": versions(),
        }

    def stop(self, settings: Demonstrations, quarantine: Path) -> GateRefused | None:
        """The data gate: the reason to stop before training, if there is one. quarantine: where a person can read which rows
        and why."""
        share = self.quarantined / max(1, self.rows)
        most = self.reasons.most_common(1)[0] if self.reasons else ("", 0)
        seen = f"{self.quarantined:,} of {self.rows:,} rows are quarantined, most as {most[0]} ({most[1]:,})"
        if share > settings.max_quarantined_share:
            return GateRefused(
                f"{seen}: {share:.1%}, more than {settings.max_quarantined_share:.1%}; see '{quarantine}'",
                f"{REASONS[most[0]]}; or raise demonstrations.max_quarantined_share",
            )
        if self.splits["train"] < settings.min_train:
            line = f"only {self.splits['train']:,} demonstrations are left to train on, {settings.min_train:,} are needed"
            remedy = "give more rows, or lower demonstrations.min_train, dev_share or test_share"
            return GateRefused(f"{line}; {seen}; see '{quarantine}'" if self.reasons else line, remedy)
        return None


def source_digest(found: Sequence[Source]) -> str:
    """One digest for the files as they lie, read or not; a new version of the same bytes is no new file."""
    kept = [{key: one[key] for key in ("uri", "size", "sha256")} for one in described(found)]
    return digest_text(canonical(kept))


def versions() -> dict[str, str]:
    """Versions of whatever has a say in what a row becomes; an optional library that is not installed is left away."""
    found = {"python": platform.python_version(), "unicode": unicodedata.unidata_version}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _summary(lengths: Counter[int]) -> dict[str, float]:
    """Characters: mean, median, 95th percentile, longest."""
    count, ordered = lengths.total(), sorted(lengths)
    if not count:
        return {"mean": 0, "median": 0, "p95": 0, "longest": 0}
    upto = list(itertools.accumulate(lengths[length] for length in ordered))
    at = lambda share: ordered[bisect.bisect_right(upto, min(count - 1, int(share * count)))]  # noqa: E731
    mean = sum(length * many for length, many in lengths.items()) / count
    return {"mean": round(mean, 1), "median": at(0.5), "p95": at(0.95), "longest": ordered[-1]}
