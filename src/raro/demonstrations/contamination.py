"""Decontamination: no demonstration may repeat a question of a benchmark that the model will be measured on.

Two looks, each reported for each benchmark: a run of 13 words in common (Brown and others, "Language Models are Few-Shot
Learners", 2020, app. C), and likeness of the whole question by MinHash, which also finds reworded ones. A benchmark's question
shorter than 13 words is compared as a whole. Benchmarks are small: their index lies in memory, about 1 KB per question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ..config import Demonstrations
from ..errors import BadInput
from ..records import Demonstration
from ..storage import digest_file
from .files import Source, format_of, sources
from .likeness import Likeness, alike, bands, signature, stored, words
from .readers import READERS, Refusal, read_rows

Place = tuple[int, int]  # number of the benchmark, number of the row in it


def benchmark_sources(settings: Demonstrations) -> Iterator[tuple[str, str, list[Source]]]:
    """(as written, column, files) of each benchmark. Raises BadInput."""
    for written in settings.benchmarks:
        uri, mark, column = written.rpartition("#")
        if not mark or not uri or not column:
            line = f"demonstrations.benchmarks: '{written}' names no column"
            raise BadInput(line, "write FILE#COLUMN, for example test.jsonl#problem")
        yield written, column, sources(uri)


class Benchmarks:
    """The questions of all benchmarks, and how many demonstrations repeated one."""

    def __init__(self, settings: Demonstrations):
        self.settings = settings
        self.report: list[dict[str, Any]] = []
        self._runs: dict[int, Place] = {}
        self._whole: dict[tuple[str, ...], Place] = {}
        self._bands: dict[int, list[int]] = defaultdict(list)
        self._known: list[tuple[Place, Any]] = []
        for number, (written, column, files) in enumerate(benchmark_sources(settings)):
            rows = 0
            for source in files:
                for question in _questions(source, column):
                    rows += 1
                    self._learn((number, rows), question)
            digests = [{"uri": one.uri, "sha256": digest_file(one.path)} for one in files]
            self.report.append({"benchmark": written, "files": digests, "rows": rows, "same_words": 0, "alike": 0})

    def _learn(self, place: Place, question: str) -> None:
        found = words(question)
        self._whole.setdefault(_whole(found), place)
        for run in self._cut(found):
            self._runs.setdefault(run, place)
        numbers = signature(question)
        for key in bands(numbers):
            self._bands[key].append(len(self._known))
        self._known.append((place, numbers))

    def refuse(self, demonstration: Demonstration, like: Likeness) -> Refusal | None:
        """A refusal that names the benchmark and its row, where the demonstration's question repeats one."""
        found = words(demonstration.question)
        place = self._whole.get(_whole(found)) or next(filter(None, map(self._runs.get, self._cut(found))), None)
        if place:
            return self._refused(place, "same_words", "the same words in a row")
        numbers = stored(like.question)
        for key in like.bands:
            for number in self._bands.get(key, ()):
                place, theirs = self._known[number]
                if (share := alike(numbers, theirs)) >= self.settings.benchmark_similarity:
                    return self._refused(place, "alike", f"{share:.0%} alike")
        return None

    def _cut(self, found: list[str]) -> Iterator[int]:
        size = self.settings.benchmark_words
        found = [word for word in found if word.isalnum()]  # a comma more makes no other question
        return (hash(tuple(found[i : i + size])) for i in range(len(found) - size + 1))

    def _refused(self, place: Place, how: str, detail: str) -> Refusal:
        report = self.report[place[0]]
        report[how] += 1
        return Refusal("contaminated", f"row {place[1]} of the benchmark '{report['benchmark']}': {detail}")


def _whole(found: list[str]) -> tuple[str, ...]:
    """A question as one key: all its words and signs but the marks at its end."""
    end = len(found)
    while end and found[end - 1] in ".?!:;":
        end -= 1
    return tuple(found[:end])


def _questions(source: Source, column: str) -> Iterator[str]:
    """The text of a benchmark's column. Raises BadInput where a row has none: one half read protects nothing."""
    kind = format_of(source.path, "columns")
    if kind not in READERS:
        raise BadInput(f"the benchmark '{source.uri}' is {kind}", f"give one of {', '.join(READERS)}")
    for row in read_rows(source, kind, [column]):
        if row.values is None or not isinstance(row.values.get(column), str):
            line = f"row {row.number} of the benchmark '{source.uri}' has no text in '{column}'"
            raise BadInput(line, "fix it, or name another column")
        yield row.values[column]
