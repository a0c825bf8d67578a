"""Files that are one document instead of rows: a Stack Exchange dump's Posts.xml and SQuAD's JSON, both streamed.

Posts.xml gives its rows in no useful order: a question names its accepted answer, an answer its question. The posts are put
into a temporary database on disk (SQLite deletes it by itself), and come out of it question by question; memory stays flat
whatever the dump's size. XML is read by expat itself, and refused at a document type: without one there are no entities and no
external files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import IO, Any
from xml.parsers import expat

from ..config import Demonstrations
from ..errors import BadInput
from .files import Source, opened
from .readers import LONGEST_LINE, Row

POSTS = "stackexchange"  # the reader that understands a dump's posts
CHUNK = 2**18  # bytes fed to a parser at once
AT_ONCE = 64  # questions or answers handed to the store at once
LONGEST_POST = 2 * 2**20  # bytes; the sites themselves take 30,000 characters


class _Bounded:
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


# ----------------------------------------------------------------------------------------------------------------- Posts.xml

_TABLES = """
create table question (id integer primary key, accepted integer, title text, body text, licence text, owner text);
create table answer (id integer primary key, question integer, score integer, body text, licence text, owner text);
create table repeated (id integer);
create trigger question_again before insert on question when exists (select 1 from question where id = new.id)
begin insert into repeated values (new.id); end;
create trigger answer_again before insert on answer when exists (select 1 from answer where id = new.id)
begin insert into repeated values (new.id); end;
"""
_BEST = """
select question.id, title, question.body, question.licence, question.owner,
       answer.id, answer.body, answer.licence, answer.owner
from question left join answer on answer.id = coalesce(
    (select id from answer where id = question.accepted and question = question.id),
    (select id from answer where question = question.id and score >= ? order by score desc, id limit 1))
order by question.id
"""
QUESTION, ANSWER = "1", "2"  # PostTypeId; the other types are wikis and notices


def read_posts(source: Source, settings: Demonstrations) -> Iterator[Row]:
    """Each question with its accepted answer, or else its best with enough score; numbered by the question's own Id.

    values: title, asked and said, the bodies as HTML. licence: the ContentLicense of both posts. attribution: address and
    author of both. Raises BadInput for a document type, XML that is damaged or no list of posts, an attribute without end.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as store:  # "": a private file, spilled to disk, gone when closed
        store.executescript(_TABLES)
        store.execute("begin")
        posts = _load(source, store)
        if not posts:
            raise BadInput(f"'{source.uri}' holds no question and no answer", "name the dump's Posts.xml")
        store.execute("create index by_question on answer (question, score desc)")
        size = source.path.stat().st_size
        for (identity,) in store.execute("select id from repeated order by id"):
            yield Row(source.uri, identity, None, 0, "duplicate_id", "an earlier post has the same Id: that one is taken")
        for number, found in enumerate(store.execute(_BEST, (settings.min_score,)), 1):
            done = size * number // posts
            identity, title, asked, licence, owner, answer, said, its_licence, its_owner = found
            if answer is None:
                yield Row(source.uri, identity, {}, done, "unanswered", "no accepted answer, and none with enough score")
                continue
            values = {"title": title, "asked": asked, "said": said}
            licences = " AND ".join(dict.fromkeys(one.replace(" ", "-") for one in (licence, its_licence) if one))
            authors = f"{_post(settings, identity)} by {owner}; {_post(settings, answer)} by {its_owner}"
            yield Row(source.uri, identity, values, done, licence=licences, attribution=authors, reader=POSTS)


def _post(settings: Demonstrations, identity: int) -> str:
    return f"https://{settings.site}/posts/{identity}" if settings.site else f"post {identity}"


def _load(source: Source, store: sqlite3.Connection) -> int:
    """Puts the posts into the store; returns how many questions they hold."""
    parser = expat.ParserCreate()
    with opened(source) as (raw, _):
        file = _Bounded(source, raw, LONGEST_POST)
        posts = _Posts(source, store, file)
        parser.StartElementHandler = posts.start
        parser.StartDoctypeDeclHandler = posts.doctype
        try:
            while data := file.read():
                parser.Parse(data, False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            where = f"line {error.lineno}: {expat.ErrorString(error.code)}"
            raise BadInput(f"'{source.uri}' is damaged XML, {where}", "copy it again") from None
    posts.flush()
    return posts.count


class _Posts:
    """What expat calls: posts go into the store, many at once. A post with numbers that are none is passed over and counted as
    none: the dump's own program writes them. A document type ends the reading before anything it declares is looked at."""

    def __init__(self, source: Source, store: sqlite3.Connection, file: _Bounded):
        self.source, self.store, self.file, self.count, self._root = source, store, file, 0, ""
        self._waiting: dict[str, list[tuple[Any, ...]]] = {QUESTION: [], ANSWER: []}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.file.taken()
        if not self._root:
            self._root = name
            if name != "posts":
                raise BadInput(f"'{self.source.uri}' is a list of {name[:40]}, not of posts", "name the dump's Posts.xml")
            return
        get = attributes.get
        kind, identity = get("PostTypeId"), _whole(get("Id"))
        if kind not in (QUESTION, ANSWER) or identity is None:
            return
        owner = get("OwnerDisplayName") or f"user {get('OwnerUserId', 'unknown')}"
        body, licence = get("Body", ""), get("ContentLicense", "")
        waiting = self._waiting[kind]
        if kind == QUESTION:
            self.count += 1
            waiting.append((identity, _whole(get("AcceptedAnswerId")), get("Title", ""), body, licence, owner))
        else:
            waiting.append((identity, _whole(get("ParentId")), _whole(get("Score")) or 0, body, licence, owner))
        if len(waiting) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        for kind, table in ((QUESTION, "question"), (ANSWER, "answer")):
            self.store.executemany(f"insert or ignore into {table} values (?, ?, ?, ?, ?, ?)", self._waiting[kind])
            self._waiting[kind].clear()

    def doctype(self, *_: Any) -> None:
        line = f"'{self.source.uri}' declares a document type, which can hide entities and other files: it is not read"
        raise BadInput(line, "a dump's Posts.xml has none: fetch it again from the site itself")


def _whole(text: str | None) -> int | None:
    digits = (text or "").removeprefix("-")
    return int(text) if digits.isdecimal() and len(digits) < 19 else None


# --------------------------------------------------------------------------------------------------------------------- SQuAD


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
        file = _Bounded(source, raw, LONGEST_LINE)
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
