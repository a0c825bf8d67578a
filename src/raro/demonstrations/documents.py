"""Files that are one document instead of rows: SQuAD's JSON, streamed; and what bounds a stream of such a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

from ..errors import BadInput
from .files import Source, opened
from .readers import LONGEST_LINE, Row

CHUNK = 2**18  # bytes fed to a parser at once


class Bounded:
    """A file that gives out at most `most` bytes between two calls of `taken`: one endless value fills no memory."""

    def __init__(self, source: Source, file: IO[bytes], most: int):
        self._uri, self._file, self._most, self._given = source.uri, file, most, 0

    def read(self, size: int = CHUNK) -> bytes:
        data = self._file.read(size)
        self._given += len(data)
        if self._given > self._most + CHUNK:
            line = f"'{self._uri}' holds a single entry of more than {self._most:,} bytes"
            raise BadInput(line, "it is damaged, or not what its name claims: look at it")
        return data

    def taken(self) -> None:
        """An entry was read to its end."""
        self._given = 0


def read_squad(source: Source) -> Iterator[Row]:
    """SQuAD 1.1's and 2.0's document ({"data": [{"title", "paragraphs": [{"context", "qas"}]}]}) as flat rows of title, id,
    context, question and answers, as the hub's copies have them; numbered from 1. One article is held in memory at a time.

    Raises BadInput for JSON that is damaged or has another shape, an article without end.
    """
    try:
        import ijson
    except ImportError:
        raise BadInput(
            f"'{source.uri}' is one JSON document, which needs ijson", "pip install 'raro-pipelines[formats]'"
        ) from None
    number = 0
    with opened(source) as (raw, tell):
        file = Bounded(source, raw, LONGEST_LINE)
        try:
            for article in ijson.items(file, "data.item", use_float=True, buf_size=CHUNK):
                file.taken()
                for row in _rows(source, article):
                    number += 1
                    yield Row(source.uri, number, row, tell())
        except (ijson.JSONError, UnicodeDecodeError):
            where = f"after row {number}" if number else "at its beginning"
            raise BadInput(f"'{source.uri}' is damaged JSON {where}", "copy it again") from None  # the error quotes it
    if not number:
        line = f"'{source.uri}' holds no questions of the form data, paragraphs, qas"
        raise BadInput(line, "name a file in SQuAD's form, or set another demonstrations.reader")


def _rows(source: Source, article: Any) -> Iterator[dict[str, Any]]:
    shape = BadInput(
        f"'{source.uri}' is not in SQuAD's form: an article holds no list of paragraphs with qas", "see docs/data.md"
    )
    if not isinstance(article, Mapping) or not isinstance(article.get("paragraphs"), list):
        raise shape
    for paragraph in article["paragraphs"]:
        if not isinstance(paragraph, Mapping) or not isinstance(paragraph.get("qas"), list):
            raise shape
        for asked in paragraph["qas"]:
            if not isinstance(asked, Mapping) or not isinstance(asked.get("answers", []), list):
                raise shape
            answers = [one for one in asked.get("answers", []) if isinstance(one, Mapping)]
            yield {
                "title": article.get("title", ""),
                "id": asked.get("id", ""),
                "context": paragraph.get("context"),
                "question": asked.get("question"),
                "answers": {
                    "text": [one.get("text") for one in answers],
                    "answer_start": [one.get("answer_start") for one in answers],
                },
            }
