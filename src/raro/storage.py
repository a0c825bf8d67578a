"""One layer for everything that lies somewhere: folders, `package://NAME`, `s3://bucket/prefix`, `hf://repo@revision`.

What is written becomes visible whole or not at all: a temporary neighbour, fsync, then a rename. What is read from elsewhere
passes through a cache that is verified at each use. A manifest lists a folder's files with size and sha256; its root is one
digest for all of them, so that a model or a step's output has a name that changes with any byte of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import BadInput, GateRefused, ServiceFailed, shown

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"  # over the manifest and all else, so it stands in no manifest
# Of a model on the hub only safetensors are fetched: the others are copies of the weights, and some run code when opened.
_NOT_FETCHED = ["*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.tflite"]


# ---------------------------------------------------------------------------------------------------------------- digests


def canonical(data: Any) -> str:
    """One line of JSON, the same for equal data: sorted keys, no blanks."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_text(text: str) -> str:
    """sha256 of the text's UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: str | Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(folder: str | Path, exclude: Sequence[str] = (), digest: Callable[[Path], str] = digest_file) -> dict[str, Any]:
    """{"files": [{"path", "size", "sha256"}], "root"} of all files below `folder`, sorted by path.

    root: sha256 of the files' canonical JSON. The folder's own top `manifest.json` and `model.sig` and the relative paths in
    `exclude` are left out. digest: a file's sha256, where it is known already.
    """
    folder = Path(folder)
    paths = [(name, folder / name) for name in names(folder, exclude)]
    files = [{"path": name, "size": path.stat().st_size, "sha256": digest(path)} for name, path in paths]
    return {"files": files, "root": digest_text(canonical(files))}


def verify(folder: str | Path, expected: Mapping[str, Any], read: Mapping[str, Any] | None = None) -> None:
    """Raises GateRefused naming the first file that is missing, too many, or not the one the manifest means. read: the folder's
    own manifest, where it was made just now: nothing is hashed again."""
    folder = Path(folder)
    known = {file["path"]: file["sha256"] for file in read["files"]} if read else {}
    remedy = "restore the folder, or make it again"
    files = expected["files"]
    if digest_text(canonical(files)) != expected["root"]:
        raise GateRefused(f"the manifest of '{folder}' does not match its own root digest", remedy)
    present = set(names(folder))
    for file in files:
        path = folder / file["path"]
        if file["path"] not in present:
            raise GateRefused(f"'{path}' is missing, but its manifest names it", remedy)
        if path.stat().st_size != file["size"]:
            raise GateRefused(f"'{path}' has {path.stat().st_size} bytes, its manifest says {file['size']}", remedy)
        if (known.get(file["path"]) or digest_file(path)) != file["sha256"]:
            raise GateRefused(f"'{path}' was changed: its sha256 is not the manifest's", remedy)
    if extra := sorted(present - {file["path"] for file in files}):
        raise GateRefused(f"'{folder / extra[0]}' is not in the manifest", remedy)


def names(folder: Path, exclude: Sequence[str] = ()) -> list[str]:
    """The relative paths of all files below, sorted, but for the top manifest.json and model.sig and those in `exclude`."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name not in (MANIFEST, SIGNATURE) and name not in exclude)


def sending_order(folder: Path) -> list[str]:
    """The same, and at the end its model.sig and manifest.json, where it has them: what is there last vouches for the rest."""
    return [*names(folder), *(name for name in (SIGNATURE, MANIFEST) if (folder / name).exists())]


# ---------------------------------------------------------------------------------------------------------------- writing


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Around code that writes to `path`: a full disk becomes ServiceFailed, a forbidden place BadInput, naming the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            line = f"no space left on the disk to write '{path}'"
            raise ServiceFailed(line, "free some disk space and start again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BadInput(f"cannot write '{path}': {error.strerror}", "choose a place you may write to") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise BadInput(f"cannot write '{path}': a file stands where a folder should", "choose another place") from error
        if error.errno in (errno.EISDIR, errno.ENAMETOOLONG) or error.errno == errno.ENOENT and not Path(path).parent.is_dir():
            raise BadInput(f"cannot write '{path}': {error.strerror.lower()}", "choose another place") from error
        raise


def beside(path: Path, ending: str) -> Path:
    """A temporary neighbour's name that nobody else takes: on a volume that containers share, process numbers repeat."""
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}.{ending}")


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """Writes the whole file or nothing, parents included; a reader never sees half of it. Raises ServiceFailed, BadInput."""
    path = Path(path)
    temporary = beside(path, "tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def write_json(path: str | Path, data: Any) -> Path:
    """Atomic, indented JSON for people to read."""
    return write_atomic(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """What a JSON file of ours holds. Raises BadInput where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"'{path}' does not exist", "run the step that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise BadInput(f"'{path}' is not valid JSON", "remove it and run the step that writes it again") from None


def publish_folder(temporary: str | Path, final: str | Path, flush: bool = True) -> Path:
    """Turns a finished temporary folder into `final` by renaming, everything flushed to the disk before (flush: False for a
    copy that is checked whenever it is used). An older `final` is replaced; of two processes that publish it at once, the later
    one's stays. Both must lie on one file system."""
    temporary, final, replaced = Path(temporary), Path(final), []
    with writing(final):
        for path in [*temporary.rglob("*"), temporary] if flush else ():
            to_disk(path)
        while not _moved(temporary, final):
            replaced.append(beside(final, "old"))
            with contextlib.suppress(FileNotFoundError):  # another process replaces it, too
                os.rename(final, replaced[-1])
        to_disk(final.parent)
        for old in replaced:
            shutil.rmtree(old, ignore_errors=True)
    return final


def _moved(folder: Path, target: Path) -> bool:
    """Renames it, unless something stands there."""
    try:
        os.rename(folder, target)
    except OSError as error:
        stood = error.errno in (errno.ENOTEMPTY, errno.EEXIST)  # it may be gone by now
        if stood or (error.errno == errno.ENOTDIR and target.exists()):
            return False
        raise
    return True


def to_disk(path: Path) -> None:
    """Waits until what a file or folder holds is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_folder(folder: str | Path, uri: str, progress: Callable[[int, int], None] | None = None) -> str:
    """Copies a folder to another folder or to `s3://bucket/prefix`, and returns the address. progress: called with (bytes sent,
    bytes in all) on the way to S3.

    Nothing is copied where the same files already lie. On S3 manifest.json goes last: a prefix without it is unfinished.
    """
    folder = Path(folder)
    if uri.startswith("s3://"):
        from . import s3

        s3.upload(folder, uri, progress)
        return uri
    target = Path(uri.removeprefix("file://"))
    if _copied(folder, target):
        if (own := folder / SIGNATURE).exists():  # in no manifest, and an earlier try may have left another key's
            write_atomic(target / SIGNATURE, own.read_bytes())
        return uri
    temporary = beside(target, "partial")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(folder, temporary)
            if not _copied(folder, target):  # by another process meanwhile
                publish_folder(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return uri


def _copied(folder: Path, target: Path) -> bool:
    """Whether the same files lie at `target`, with a manifest where `folder` has one; no, while another process replaces it."""
    sealed = (target / MANIFEST).exists() or not (folder / MANIFEST).exists()
    with contextlib.suppress(FileNotFoundError):
        return target.is_dir() and sealed and manifest(target) == manifest(folder)
    return False


# ---------------------------------------------------------------------------------------------------------------- reading


def cache_folder() -> Path:
    """Where copies of what lies elsewhere are kept: $RARO_CACHE, else ~/.cache/raro."""
    return Path(os.environ.get("RARO_CACHE") or Path.home() / ".cache" / "raro")


def fetch(uri: str | Path, cache: str | Path | None = None) -> Path:
    """The local path of a file or folder, fetched first where it lies elsewhere.

    A path or file:// is returned as it is; package://NAME is a packaged model, package://NAME.SUFFIX a packaged data file; s3://
    goes through the verified cache (`cache`, else $RARO_CACHE, else ~/.cache/raro); hf://repo@revision (and
    hf://datasets/repo@revision) through Hugging Face's own. Raises BadInput where nothing lies there, ServiceFailed where the
    service does not answer.
    """
    uri = str(uri)
    scheme, found, rest = uri.partition("://")
    if not found or scheme == "file":
        path = Path(rest if found else uri).expanduser()
        if not path.exists():
            raise BadInput(f"'{uri}' does not exist", "check the path")
        return path
    from . import s3

    readers = {"package": _package, "s3": s3.download, "hf": _hugging_face}
    if scheme not in readers:
        remedy = "give a path, package://NAME, s3://bucket/prefix or hf://repo@revision"
        raise BadInput(f"'{uri}' has an unknown scheme", remedy)
    return readers[scheme](uri, Path(cache or cache_folder()))


def _package(uri: str, cache: Path) -> Path:
    name = uri.removeprefix("package://")
    shelf = Path(str(resources.files("raro.data" if Path(name).suffix else "raro.models")))
    path = shelf / name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not path.exists():
        kept = sorted(p.name for p in shelf.iterdir() if not p.name.startswith(("_", ".")) and p.suffix not in (".py", ".md"))
        raise BadInput(f"'{uri}' is not in the package", f"there are: {', '.join(kept) or 'none'}")
    return path


def _hugging_face(uri: str, cache: Path) -> Path:
    repo, _, revision = uri.removeprefix("hf://").partition("@")
    if not revision:
        raise BadInput(f"'{uri}' names no revision", "write hf://repo@revision, preferably a commit: branches move")
    from huggingface_hub import errors, snapshot_download

    kind, ignored = ("dataset", None) if repo.startswith("datasets/") else ("model", _NOT_FETCHED)
    try:
        folder = snapshot_download(repo.removeprefix("datasets/"), repo_type=kind, revision=revision, ignore_patterns=ignored)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise BadInput(f"'{uri}' cannot be read: {first_line(error)}", "check the name, the revision and HF_TOKEN") from error
    except (OSError, *errors.HfHubHTTPError.__bases__) as error:  # and what its HTTP library raises
        if getattr(error, "errno", None) is not None:  # of this machine's own: a full disk
            raise
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            line = f"'{uri}' is not in the local cache and HF_HUB_OFFLINE is set"
            raise BadInput(line, "fetch it where there is a network, or give a folder") from error
        line = f"the hub does not answer for '{uri}': {first_line(error)}"
        raise ServiceFailed(line, "check the network and HF_TOKEN, or give a folder") from error
    return Path(folder)


def first_line(error: BaseException) -> str:
    """What a library's error says first, at most 200 characters of it, without a password in an address that it quotes."""
    return shown(str(error).strip().split("\n")[0])[:200]
