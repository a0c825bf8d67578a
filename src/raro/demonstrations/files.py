"""Where the experts' files lie, and whether each is what its name claims: its first bytes are looked at before any row."""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from .. import errors
from ..errors import BadInput
from ..storage import fetch

# The formats by suffix, as a file's name claims them; any but Parquet may have .gz or .zst behind.
CLAIMS = {
    ".jsonl": "JSONL",
    ".ndjson": "JSONL",
    ".json": "JSONL",
    ".csv": "CSV",
    ".tsv": "CSV",
    ".parquet": "Parquet",
    ".xml": "XML",
}
SQUAD = "SQuAD JSON"

_WILD = re.compile(r"[*?\[]")
# What lies beside data and is none: nobody misses its rows.
_BESIDE = re.compile(
    r"(readme|licen[cs]e|notice|changelog|citation|manifest|checksums?|\w+sums?)(\.\w+)?|.*\.(md|rst|md5|sha\d+|sig|asc|cff)"
)
_SIGNATURES = [
    (b"PAR1", "Parquet"),
    (b"ARROW1", "an Arrow file"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a zip archive (an Excel workbook is one)"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office file of the old kind (.xls, .doc)"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
]
_REMEDIES = {
    "Parquet": "name it .parquet",
    "gzip": "name it with .gz at its end",
    "zstd": "name it with .zst at its end",
    "7z": "name it .7z where it is a site's dump, or unpack it: 7z x FILE",
    "a workbook (Excel, LibreOffice)": "save the sheet as CSV (UTF-8)",
    "an Office file of the old kind (.xls, .doc)": "save the sheet as CSV (UTF-8)",
    "a zip archive (an Excel workbook is one)": "unpack it, or save the sheet as CSV",
    "a Git LFS pointer": "run `git lfs pull` where it came from",
    "UTF-16 text": "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW",
    "an HTML page": "the download failed: fetch the data itself",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One file. uri: its name in messages and in the card, as the user would say it. path: where it lies here. later: others
    come before it, whose columns it must share."""

    uri: str
    path: Path
    later: bool = False


class Found(list[Source]):
    """The files of a source, in order. unread: names of those that lie among them and are passed over."""

    unread: Sequence[str] = ()


# ---------------------------------------------------------------------------------------------------------------- finding


def sources(uri: str) -> Found:
    """The files that a path, folder, glob or URI means, in order of their names. Raises BadInput where there is none."""
    if not uri.strip():
        raise BadInput("demonstrations.source is empty", "name a file, folder, glob or URI")
    if "://" not in uri and max(len(part.encode("utf-8", "replace")) for part in uri.split("/")) > 255:
        raise BadInput(f"demonstrations.source '{uri[:60]}...' is too long to be a path", "name a file, folder, glob or URI")
    if _WILD.search(uri) and ("://" in uri or not Path(uri).exists()):
        parts = uri.split("/")
        wild = next(i for i, part in enumerate(parts) if _WILD.search(part))
        base, pattern = "/".join(parts[:wild]), "/".join(parts[wild:])
        root = fetch(base or ("/" if uri.startswith("/") else "."))
        try:
            paths = [path for path in root.glob(pattern) if path.is_file()]
        except (ValueError, NotImplementedError) as error:
            raise BadInput(f"'{uri}' is not a valid pattern: {error}", "write ** as a path part of its own") from None
        prefix = f"{base}/" if wild else ""
        if not paths:
            raise BadInput(f"no file matches '{uri}'", "check the pattern")
    else:
        root = fetch(uri)
        if not root.is_dir():
            if not root.is_file():
                raise BadInput(f"'{uri}' is neither a file nor a folder", "name a file of JSONL, CSV, Parquet or XML")
            if _is_archive(root):
                return Found([_archived(printable(uri), root)])
            if not claim(root):
                raise _unknown(Source(printable(uri), root))
            return Found([Source(printable(uri), root)])
        paths, prefix = [path for path in root.rglob("*") if path.is_file()], uri.rstrip("/") + "/"
        if not paths:
            raise BadInput(f"the folder '{uri}' is empty", "put JSONL, CSV or Parquet files there")
    found = [(path.relative_to(root), path) for path in sorted(paths)]
    visible = [
        (name, path) for name, path in found if not any(part.startswith((".", "_")) for part in name.parts if part != "..")
    ]
    known = [path for _, path in visible if claim(path) or _is_archive(path)]
    # A folder of data often has a .json or two that describe it.
    known = [path for path in known if path.suffix.lower() != ".json"] or known
    if not known:
        there = ", ".join(printable(name.as_posix(), 60) for name, _ in found[:3])
        likely = next((path for _, path in visible if not _BESIDE.fullmatch(path.name.lower())), found[0][1])
        raise BadInput(f"'{uri}' holds no file of {', '.join(CLAIMS)}, but {there}", _unknown(Source(uri, likely)).remedy)
    named = [(printable(prefix + name.as_posix()), path) for name, path in visible]
    wanted = set(known)
    files = Found(_archived(uri, path) if _is_archive(path) else Source(uri, path) for uri, path in named if path in wanted)
    files[1:] = [replace(one, later=True) for one in files[1:]]
    files.unread = [uri for uri, path in named if path not in wanted and not _BESIDE.fullmatch(path.name.lower())]
    return files


def _unknown(source: Source) -> BadInput:
    """The error for a file whose name says no format: by its first bytes where they say one, for a new name alone helps few."""
    with told(source), open(source.path, "rb") as file:
        kind = _kind(file.read(8192))
    if kind.startswith("a zip") and source.path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb", ".ods"):
        kind = "a workbook (Excel, LibreOffice)"
    if kind in _REMEDIES and not _packing(source.path):
        return BadInput(f"the format of '{source.uri}' is not read: it is {kind}", _REMEDIES[kind])
    remedy = f"name it with one of {', '.join(CLAIMS)}, or any with .gz or .zst"
    return BadInput(f"the format of '{source.uri}' is not known", remedy)


def _kind(head: bytes) -> str:
    """What a file's first bytes say that it is; nothing for text and for what is not listed."""
    if re.match(rb"\s*<(!doctype html|html)", head, re.IGNORECASE):
        return "an HTML page"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), "")


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".7z"


def _archived(uri: str, path: Path) -> Source:
    """The Posts.xml of a site's dump as it is downloaded."""
    from .archives import MEMBER, unpacked

    with told(Source(uri, path)):
        return Source(f"{uri}/{MEMBER}", unpacked(uri, path))


def printable(name: str, longest: int = 4096) -> str:
    """A name as it may stand in a line or a UTF-8 file: escapes for what cannot be printed, cut where it is too long."""
    return errors.printable(name[:longest]) + "..." * (len(name) > longest)


def claim(path: Path) -> str:
    """JSONL, CSV, Parquet or XML, by the file's name; nothing where it names no format."""
    format = CLAIMS.get(Path(path.name.lower().removesuffix(_packing(path))).suffix, "")
    return "" if format == "Parquet" and _packing(path) else format


def format_of(path: Path, reader: str) -> str:
    """A file's format for a reader: its name's claim; but the reader squad takes .json for one document, not for lines."""
    document = reader == "squad" and Path(path.name.lower().removesuffix(_packing(path))).suffix == ".json"
    return SQUAD if document else claim(path)


def _packing(path: Path) -> str:
    """`.gz`, `.zst` or nothing: how the file's name says that it is compressed."""
    return next((suffix for suffix in (".gz", ".zst") if path.name.lower().endswith(suffix)), "")


@contextmanager
def told(source: Source) -> Iterator[None]:
    """Around code that reads the file: what the operating system, gzip or zstd says about it, in our words."""
    suffix = _packing(source.path)
    kind = {".gz": "gzip", ".zst": "zstd"}.get(suffix, "")
    try:
        yield
    except gzip.BadGzipFile:
        line = f"'{source.uri}' is named {suffix}, but is not {kind}"
        raise BadInput(line, f"take {suffix} off its name, or compress it") from None
    except (EOFError, zlib.error, _zstd_error()):
        raise BadInput(
            f"'{source.uri}' is truncated or damaged: its {kind} stream has no proper end", "copy it again"
        ) from None
    except FileNotFoundError:
        raise BadInput(f"'{source.uri}' disappeared while it was read", "start again when nobody moves it") from None
    except PermissionError:
        raise BadInput(f"'{source.uri}' may not be read", "check its permissions") from None


def check(source: Source, claimed: str) -> None:
    """Raises BadInput where the file's first bytes are not those of the format that is claimed for it."""
    empty = not source.path.stat().st_size
    with opened(source) as (file, _):
        head = b"" if empty else file.read(8192)
    if not head.strip() and len(head) < 8192:
        raise BadInput(f"'{source.uri}' is empty", "give a file with rows")
    kind = _kind(head)
    if claimed == "Parquet":
        if kind != "Parquet":
            actual = kind or ("binary data" if b"\0" in head else "plain text")
            raise BadInput(f"'{source.uri}' is not Parquet, but {actual}", _REMEDIES.get(kind, "name it by its real format"))
        return
    if kind or b"\0" in head:
        remedy = _REMEDIES.get(kind, "give UTF-8 text, or name the file by its real format")
        raise BadInput(f"'{source.uri}' is not {claimed}, but {kind or 'binary data'}", remedy)
    if b"\r" in head and b"\n" not in head:
        line = f"'{source.uri}' ends its lines as old Macintosh files do, without a line feed"
        raise BadInput(line, "convert it: tr '\\r' '\\n' < FILE > NEW")
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")[0].strip()
    if claimed == "JSONL" and re.match(rb"\[\s*(\{|$)", first):
        line = f"'{source.uri}' is one JSON array, not one JSON object per line"
        raise BadInput(line, "convert it: jq -c '.[]' FILE > NEW.jsonl")
    if claimed == "JSONL" and first == b"{":
        line = f"'{source.uri}' is JSON spread over several lines, not one JSON object per line"
        raise BadInput(line, "convert it: jq -c . FILE > NEW.jsonl")


@contextmanager
def opened(source: Source) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """The file's bytes, decompressed where its name says so, and how many bytes of the file itself were read so far."""
    packing = _packing(source.path)
    with open(source.path, "rb") as raw:
        magic = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}.get(packing, b"")
        if raw.peek(4)[: len(magic)] not in (magic, b""):
            raise gzip.BadGzipFile
        if packing == ".zst":
            yield _zstd(source).ZstdFile(raw), raw.tell
        else:
            yield (gzip.GzipFile(fileobj=raw) if packing else raw), raw.tell


def _zstd(source: Source) -> Any:
    try:
        from backports import zstd
    except ImportError:
        raise BadInput(f"'{source.uri}' is zstd, which needs backports.zstd", "pip install 'raro-pipelines[formats]'") from None
    return zstd


def _zstd_error() -> type[Exception]:
    """What a damaged zstd stream raises; without the library none can be read, and gzip's own stands in its place."""
    module = sys.modules.get("backports.zstd")
    return module.ZstdError if module else zlib.error
