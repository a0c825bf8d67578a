"""A site's dump as it is downloaded: the Posts.xml in a .7z, unpacked in a stream by py7zr into the cache.

Only this one member is written, to a place that we name: no path in an archive is ever followed, links and other members are
not touched. Nothing is unpacked that the disk has no room for or that asks for more memory than MEMORY.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, Any

from ..errors import BadInput, ServiceFailed
from ..shared import filling, own_folder
from ..storage import cache_folder, digest_file

MEMBER = "Posts.xml"
METHODS = {"LZMA", "LZMA2", "BZip2", "DEFLATE", "COPY", "BCJ", "DELTA"}  # those whose memory is known beforehand
MEMORY = 2**30  # bytes of a dictionary
SPARE = 2**30  # bytes of the disk that stay free


def unpacked(uri: str, path: Path) -> Path:
    """The local Posts.xml of a .7z: unpacked once, kept under the archive's digest. Raises BadInput for what is no such archive
    (damaged, encrypted, without a Posts.xml or with two), ServiceFailed where the disk is too small."""
    try:
        import py7zr
        from py7zr.exceptions import ArchiveError, PasswordRequired
    except ImportError:
        raise BadInput(f"'{uri}' is 7z, which needs py7zr", "pip install 'raro-pipelines[archives]', or unpack it") from None
    cache = own_folder(cache_folder())
    target = cache / "7z" / digest_file(path) / MEMBER
    damaged = BadInput(f"'{uri}' is truncated or damaged: not a whole 7z archive", "fetch it again")
    try:
        with py7zr.SevenZipFile(path) as archive:
            name, size = _member(uri, archive)
            if target.is_file() and target.stat().st_size == size:
                return target
            with filling(target) as partial:
                if target.is_file() and target.stat().st_size == size:  # another process has unpacked it meanwhile
                    return target
                if shutil.disk_usage(target.parent).free < size + SPARE:
                    line = f"'{uri}' holds a {MEMBER} of {size:,} bytes, for which '{cache}' has no room"
                    raise ServiceFailed(line, "free some disk space, or name another place with RARO_CACHE")
                _write(archive, name, size, partial)
                os.replace(partial, target)
    except (PasswordRequired, NotImplementedError):
        raise BadInput(f"'{uri}' is encrypted or packed in an unknown way", "unpack it, then name its Posts.xml") from None
    except (ArchiveError, EOFError, ValueError, TypeError, IndexError, KeyError, MemoryError, *_lzma_errors()):
        raise damaged from None
    return target


def _lzma_errors() -> tuple[type[Exception], ...]:
    import lzma
    import struct
    import zlib

    return lzma.LZMAError, zlib.error, struct.error


def _member(uri: str, archive: Any) -> tuple[str, int]:
    """(name, size) of the one Posts.xml. Raises BadInput."""
    if archive.needs_password():
        raise BadInput(f"'{uri}' is encrypted", f"unpack it, then name its {MEMBER}")
    found = [one for one in archive.files if one.filename.replace("\\", "/").rpartition("/")[2] == MEMBER]
    if len(found) != 1 or found[0].is_directory or found[0].is_symlink or found[0].is_junction:
        what = "several entries named" if len(found) > 1 else "no file named"
        raise BadInput(f"'{uri}' holds {what} {MEMBER}", "name a site's dump, such as math.stackexchange.com.7z")
    if ".." in found[0].filename.replace("\\", "/").split("/") or found[0].filename.startswith("/"):
        raise BadInput(f"'{uri}' holds a {MEMBER} that points out of its folder", "do not use it: that was done on purpose")
    if strange := sorted({name.rstrip("*") for name in archive.archiveinfo().method_names} - METHODS):
        raise BadInput(f"'{uri}' is packed by {strange[0]}, which is not read", f"unpack it, then name its {MEMBER}")
    if (most := _dictionary(archive)) > MEMORY:
        raise BadInput(
            f"'{uri}' asks for {most / 2**20:,.0f} MiB of memory for unpacking", f"unpack it, then name its {MEMBER}"
        )
    return found[0].filename, found[0].uncompressed


def _dictionary(archive: Any) -> int:
    """Bytes of the largest dictionary that any part asks for (LZMA: told by 4 bytes after the first; LZMA2: by one byte)."""
    sizes = [0]
    for folder in archive.header.main_streams.unpackinfo.folders:
        for coder in folder.coders:
            told = coder.get("properties") or b""
            if coder["method"] == b"\x03\x01\x01" and len(told) == 5:
                sizes.append(int.from_bytes(told[1:], "little"))
            elif coder["method"] == b"\x21" and told:
                sizes.append((2 | told[0] & 1) << (told[0] // 2 + 11))
    return max(sizes)


def _write(archive: Any, name: str, size: int, partial: Path) -> None:
    """The member's bytes to `partial`, never more than its declared size."""
    from py7zr.io import Py7zIO, WriterFactory

    class Pen(Py7zIO):
        def __init__(self, file: IO[bytes]):
            self.file = file

        def write(self, data: bytes | bytearray) -> int:
            if self.file.tell() + len(data) > size:
                raise ValueError("longer than it says")
            return self.file.write(data)

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return self.file.tell()

        def flush(self) -> None:
            self.file.flush()

        def size(self) -> int:
            return self.file.tell()

    class Place(WriterFactory):
        def create(self, filename: str) -> Py7zIO:
            return Pen(file)

    with open(partial, "wb") as file:
        archive.extract(targets=[name], factory=Place())
        if file.tell() != size:
            raise ValueError("shorter than it says")
