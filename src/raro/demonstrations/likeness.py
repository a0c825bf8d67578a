"""Texts that are almost alike: MinHash signatures of word triples (datasketch), for near-duplicates and for benchmarks.

Source: Broder, "On the resemblance and containment of documents", 1997; bands as in Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", ch. 3. A signature has 128 numbers, cut into 16 bands of 8: texts with Jaccard .8 share a band with
probability .95, with .9 nearly always, with .5 in 6 of 100 cases, and whoever shares one is then compared in full.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from ..errors import BadInput
from ..records import Demonstration
from .readers import Refusal
from .seen import store

NUMBERS, BANDS = 128, 16
# A sign is a word too (x + 2 is not x - 2), and so is each character of scripts that write no blanks.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=1)
def _empty() -> Any:
    """A signature of nothing. Making its permutations takes longer than a text's whole signature: they are made once."""
    try:
        from datasketch import MinHash
    except ImportError:
        line = "demonstrations.near_duplicates and .benchmarks need datasketch"
        raise BadInput(line, "pip install 'raro-pipelines[screens]'") from None
    return MinHash(num_perm=NUMBERS, seed=1, scheme="affine32", hashfunc=crc32)


def signature(text: str) -> Any:
    """128 unsigned numbers, the same on every machine; their share of equals estimates the Jaccard index of word triples."""
    found = words(text)
    triples = set(map(" ".join, zip(found, found[1:], found[2:], strict=False))) or {" ".join(found)}
    made = _empty().copy()
    made.update_batch(map(str.encode, triples))
    return made.hashvalues.astype(np.uint32)


def alike(one: Any, other: Any) -> float:
    """The estimated Jaccard index of two texts, by their signatures."""
    return float(np.mean(one == other))


def bands(numbers: Any) -> list[int]:
    """One 63-bit key per band: equal keys make two texts worth comparing."""
    whole, width = numbers.tobytes(), numbers.nbytes // BANDS
    cut = (blake2b(bytes([i]) + whole[i * width : (i + 1) * width], digest_size=8).digest() for i in range(BANDS))
    return [int.from_bytes(key, "big") >> 1 for key in cut]


class Likeness(NamedTuple):
    """What a demonstration is compared by. question, answer: signatures, 512 bytes each; answer empty where only questions are
    compared. bands: of the question."""

    question: bytes
    answer: bytes
    bands: list[int]


def likeness(one: Demonstration, with_answer: bool) -> Likeness:
    """The signatures of a demonstration's texts."""
    numbers = signature(one.question)
    return Likeness(numbers.tobytes(), signature(one.answer).tobytes() if with_answer else b"", bands(numbers))


def stored(signed: bytes) -> Any:
    """A signature from its bytes."""
    return np.frombuffer(signed, np.uint32)


class NearDuplicates:
    """Remembers the signatures of all rows on disk: about 1.5 KB each.

    A row whose question and answer are alike to an earlier row's is refused. So is a row whose question is alike to one in
    another split: who learnt the one has half seen the other.
    """

    def __init__(self, threshold: float):
        self.threshold = threshold
        self._database = store()
        self._database.execute("create table row (id integer primary key, split text, question blob, answer blob)")
        self._database.execute("create table band (key integer, row integer, primary key (key, row)) without rowid")
        self._count = 0

    def refuse(self, like: Likeness, split: str) -> Refusal | None:
        """A refusal where the row is too much like an earlier one; otherwise it is remembered."""
        question, answer, keys = stored(like.question), stored(like.answer), like.bands
        places = ", ".join("?" * len(keys))
        near = f"select distinct row from band where key in ({places})"
        for its_split, its_question, its_answer in self._database.execute(
            f"select split, question, answer from row where id in ({near})", keys
        ):
            share = alike(question, stored(its_question))
            if share < self.threshold:
                continue
            if its_split != split:
                line = f"its question is {share:.0%} similar to that of an earlier row in another split"
                return Refusal("split_leak", line)
            if (both := alike(answer, stored(its_answer))) >= self.threshold:
                return Refusal("near_duplicate", f"question and answer are {min(share, both):.0%} alike to an earlier row's")
        self._count += 1
        row = (self._count, split, like.question, like.answer)
        self._database.execute("insert into row values (?, ?, ?, ?)", row)
        self._database.executemany("insert into band values (?, ?)", [(key, self._count) for key in keys])
        return None
