"""A Stack Exchange dump's Posts.xml, streamed: each question with its accepted answer, or else its best.

Its rows come in no useful order: a question names its accepted answer, an answer its question. The posts are put into a
temporary database on disk (SQLite deletes it by itself), so that memory stays flat whatever the dump's size. A question and its
accepted answer come out as soon as both were read, while the rest is still to be read; the others at the end. XML is read by
expat itself, and refused at a document type: without one there are no entities and no external files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from xml.parsers import expat

from ..config import Demonstrations
from ..errors import BadInput
from .documents import Bounded
from .files import Source, opened
from .readers import Row

POSTS = "stackexchange"  # the reader that understands them
AT_ONCE = 64  # questions or answers handed to the store at once
LONGEST_POST = 2 * 2**20  # bytes; the sites themselves take 30,000 characters
QUESTION, ANSWER = "1", "2"  # PostTypeId; the other types are wikis and notices

_TABLES = """
create table question (id integer primary key, accepted integer, title text, body text, licence text, owner text, told integer);
create table answer (id integer primary key, question integer, score integer, body text, licence text, owner text);
create table repeated (id integer);
"""
_FOUND = """
select question.id, title, question.body, question.licence, question.owner,
       answer.id, answer.body, answer.licence, answer.owner
"""
_ACCEPTED = f"""{_FOUND}
from answer join question on question.id = answer.question and question.accepted = answer.id
where answer.id in (PLACES) and not told order by question.id
"""
_BEST = f"""{_FOUND}
from question left join answer on answer.id = coalesce(
    (select id from answer where id = question.accepted and question = question.id),
    (select id from answer where question = question.id and score >= ? order by score desc, id limit 1))
where not told order by question.id
"""

Found = tuple[Any, ...]  # the columns of _FOUND


def read_posts(source: Source, settings: Demonstrations) -> Iterator[Row]:
    """Each question with its accepted answer, or else its best with enough score; numbered by the question's own Id.

    values: title, asked and said, the bodies as HTML. licence: the ContentLicense of both posts. attribution: address and
    author of both. Raises BadInput for a document type, XML that is damaged or no list of posts, an attribute without end.
    """
    size = source.path.stat().st_size
    with closing(sqlite3.connect("", isolation_level=None)) as store:  # "": a private file, spilled to disk, gone when closed
        store.executescript(_TABLES)
        store.execute("begin")
        posts = _Posts(source, store)
        for found, done in posts.accepted():
            yield _row(source, settings, found, done)
        if not posts.count:
            raise BadInput(f"'{source.uri}' holds no question and no answer", "name the dump's Posts.xml")
        for (identity,) in store.execute("select id from repeated order by id"):
            yield Row(source.uri, identity, None, size, "duplicate_id", "an earlier post has the same Id: that one is taken")
        store.execute("create index by_question on answer (question, score desc)")
        for found in store.execute(_BEST, (settings.min_score,)):
            yield _row(source, settings, found, size)


def _row(source: Source, settings: Demonstrations, found: Found, done: int) -> Row:
    identity, title, asked, licence, owner, answer, said, its_licence, its_owner = found
    if answer is None:
        return Row(source.uri, identity, {}, done, "unanswered", "no accepted answer, and none with enough score")
    values = {"title": title, "asked": asked, "said": said}
    licences = " AND ".join(dict.fromkeys(one.replace(" ", "-") for one in (licence, its_licence) if one))
    authors = f"{_address(settings, identity)} by {owner}; {_address(settings, answer)} by {its_owner}"
    return Row(source.uri, identity, values, done, licence=licences, attribution=authors, reader=POSTS)


def _address(settings: Demonstrations, identity: int) -> str:
    return f"https://{settings.site}/posts/{identity}" if settings.site else f"post {identity}"


class _Posts:
    """What expat calls: posts go into the store, many at once. A post with numbers that are none is passed over and counted as
    none: the dump's own program writes them. A document type ends the reading before anything it declares is looked at.
    count: questions."""

    def __init__(self, source: Source, store: sqlite3.Connection):
        self.source, self.store, self.count, self._root = source, store, 0, ""
        self._questions: list[tuple[Any, ...]] = []
        self._answers: list[tuple[Any, ...]] = []
        self._found: list[Found] = []
        self._file: Bounded

    def accepted(self) -> Iterator[tuple[Found, int]]:
        """Reads the file; gives the questions whose accepted answer was met, each with the bytes read so far."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = self._doctype
        with opened(self.source) as (raw, tell):
            self._file = Bounded(self.source, raw, LONGEST_POST)
            try:
                while data := self._file.read():
                    parser.Parse(data, False)
                    if self._found:
                        done = tell()
                        yield from ((found, done) for found in self._found)
                        self._found.clear()
                parser.Parse(b"", True)
            except expat.ExpatError as error:
                where = f"line {error.lineno}: {expat.ErrorString(error.code)}"
                raise BadInput(f"'{self.source.uri}' is damaged XML, {where}", "copy it again") from None
            self._flush()
            yield from ((found, tell()) for found in self._found)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._file.taken()
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
        if kind == QUESTION:
            self.count += 1
            self._questions.append((identity, _whole(get("AcceptedAnswerId")), get("Title", ""), body, licence, owner, 0))
        else:
            self._answers.append((identity, _whole(get("ParentId")), _whole(get("Score")) or 0, body, licence, owner))
        if len(self._questions) + len(self._answers) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Writes what waits, and finds what it completes."""
        self._write("question", self._questions)
        if answers := self._write("answer", self._answers):
            places = ", ".join("?" * len(answers))
            found = self.store.execute(_ACCEPTED.replace("PLACES", places), answers).fetchall()
            self.store.executemany("update question set told = 1 where id = ?", [one[:1] for one in found])
            self._found += found

    def _write(self, table: str, waiting: list[tuple[Any, ...]]) -> list[int]:
        """Writes the posts to the table, of those with one Id the first; returns the Ids that are new."""
        ids = [post[0] for post in waiting]
        places = ", ".join("?" * len(ids))
        seen = {found for (found,) in self.store.execute(f"select id from {table} where id in ({places})", ids)}
        new = []
        for post in waiting:
            if post[0] in seen:
                self.store.execute("insert into repeated values (?)", post[:1])
            else:
                seen.add(post[0])
                new.append(post)
        if new:
            self.store.executemany(f"insert into {table} values ({', '.join('?' * len(new[0]))})", new)
        waiting.clear()
        return [post[0] for post in new]

    def _doctype(self, *_: Any) -> None:
        line = f"'{self.source.uri}' declares a document type, which can hide entities and other files: it is not read"
        raise BadInput(line, "a dump's Posts.xml has none: fetch it again from the site itself")


def _whole(text: str | None) -> int | None:
    digits = (text or "").removeprefix("-")
    return int(text) if digits.isdecimal() and len(digits) < 19 else None
