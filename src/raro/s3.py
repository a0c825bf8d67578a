"""S3 and what speaks its language (MinIO, SeaweedFS, Ceph): folders up, folders down through the verified cache.

Where it lies and how it is reached: s3_client.py. Listings are paged, downloads go in parts and go on where a connection
breaks. An object is read as it was listed: one that changes meanwhile is an error, never a mixture.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .errors import BadInput, GateRefused
from .s3_client import parts, speaking
from .shared import filling, own_folder
from .storage import (
    MANIFEST,
    canonical,
    digest_file,
    digest_text,
    manifest,
    publish_folder,
    read_json,
    sending_order,
    verify,
    write_json,
)

if TYPE_CHECKING:
    from botocore.client import BaseClient

Progress = Callable[[int, int], None]
EXTRA = "MLFLOW_S3_UPLOAD_EXTRA_ARGS"
LONG_AGO = datetime.fromtimestamp(0, UTC)
ENCRYPTION = {"ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext"}


def download(uri: str, cache: Path) -> Path:
    """The local copy of an object, or of all below a prefix.

    Cache entry <cache>/s3/<digest of the listing>/: other objects make another entry. Its seal <digest>.json lies beside it:
    manifest, and for each object its ETag and version id; it is checked at each use. A manifest.json among the objects is
    checked too. Raises BadInput, GateRefused, ServiceFailed.
    """
    bucket, prefix = parts(uri)
    with speaking(uri) as client:
        objects = _list(client, bucket, prefix)
        if not objects:
            raise BadInput(f"there is nothing at '{uri}'", "check the bucket and the prefix")
        _check_places(uri, objects)
        entry = cache / "s3" / digest_text(canonical([bucket, prefix, objects]))[:32]
        seal = entry.with_suffix(".json")
        if not _sealed(entry, seal):
            own_folder(cache)
            with filling(entry) as temporary:
                if not _sealed(entry, seal):  # another process has fetched it meanwhile
                    _fill(client, uri, objects, temporary, entry, seal)
    return entry / objects[0]["name"] if objects[0]["key"] == prefix else entry


def _check_places(uri: str, objects: list[dict[str, Any]]) -> None:
    """Raises BadInput for two objects of which a folder can hold one: a//b beside a/b, or a/b beside a."""
    keys = {PurePosixPath(item["name"]): item["key"] for item in objects}
    for item in objects:
        place = PurePosixPath(item["name"])
        for one in (place, *place.parents):
            if keys.get(one, item["key"]) != item["key"]:
                line = f"'{uri}' holds the objects '{keys[one]}' and '{item['key']}', of which a folder can hold one"
                raise BadInput(line, "rename or remove one of them")


def _fill(client: BaseClient, uri: str, objects: list[dict[str, Any]], temporary: Path, entry: Path, seal: Path) -> None:
    """Fetches the objects into the temporary folder, seals it and makes it the cache's entry."""
    versions, digests = {}, {}
    with ThreadPoolExecutor(1) as hashing:  # one file is hashed while the next one comes
        for item in objects:
            versions[item["name"]] = _fetch(client, uri, parts(uri)[0], item, temporary)
            digests[temporary / item["name"]] = hashing.submit(digest_file, temporary / item["name"])
    found, own = manifest(temporary, digest=lambda path: digests[path].result()), temporary / MANIFEST
    if own.exists() and isinstance(inside := read_json(own), dict) and {"root", "files"} <= set(inside):
        verify(temporary, inside, read=found)
    write_json(seal, found | {"objects": versions})
    publish_folder(temporary, entry, flush=False)  # what a power cut leaves of it is seen at the next use


def origin(path: Path) -> dict[str, str]:
    """{"etag", "version"} of the object that a cached file is a copy of; the version is left away where the bucket keeps none.
    Empty for a file that did not come from S3."""
    for entry in path.parents:
        if entry.parent.name == "s3" and (seal := entry.with_suffix(".json")).is_file():
            return read_json(seal).get("objects", {}).get(path.relative_to(entry).as_posix(), {})
    return {}


def _fetch(client: BaseClient, uri: str, bucket: str, item: dict[str, Any], folder: Path) -> dict[str, str]:
    """Downloads one object into the folder and returns what `origin` says of it."""
    if ".." in Path(item["name"]).parts or item["name"].startswith("/"):
        raise BadInput(f"'{uri}' holds an object named '{item['key']}'", "remove it: it points out of its folder")
    target = folder / item["name"]
    target.parent.mkdir(parents=True, exist_ok=True)
    before = _head(client, uri, bucket, item)
    version = before.get("VersionId", "")
    pinned = {"VersionId": version} if version not in ("", "null") else {}
    client.download_file(bucket, item["key"], str(target), ExtraArgs=pinned)
    if not pinned:  # nothing holds the object still: look whether it stood still
        _head(client, uri, bucket, item)
    if target.stat().st_size != item["size"]:
        raise _changed(uri, item)
    return {"etag": item["etag"].strip('"'), **({"version": version} if pinned else {})}


def _head(client: BaseClient, uri: str, bucket: str, item: dict[str, Any]) -> dict[str, Any]:
    head = client.head_object(Bucket=bucket, Key=item["key"])
    if head["ETag"] != item["etag"]:
        raise _changed(uri, item)
    return head


def _changed(uri: str, item: dict[str, Any]) -> BadInput:
    return BadInput(f"'{item['key']}' of '{uri}' changed while it was read", "start again when nobody writes to it")


def _list(client: BaseClient, bucket: str, prefix: str) -> list[dict[str, Any]]:
    """The object `prefix` itself, or else all below `prefix/`: {"key", "name" (below the prefix), "size", "etag"} each."""
    below = f"{prefix}/" if prefix else ""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [
        {"key": item["Key"], "name": item["Key"].removeprefix(below), "size": item["Size"], "etag": item["ETag"]}
        for page in pages
        for item in page.get("Contents", ())
        if not item["Key"].endswith("/")
    ]
    for item in found:
        if item["key"] == prefix:
            return [{**item, "name": Path(prefix).name}]
    return [item for item in found if item["key"].startswith(below)]


def _sealed(entry: Path, seal: Path) -> bool:
    if not entry.is_dir() or not seal.is_file():
        return False
    try:
        verify(entry, read_json(seal))
    except (GateRefused, BadInput):
        return False  # damaged or half-written: fetched again
    return True


def upload(folder: Path, uri: str, progress: Progress | None = None) -> None:
    """Copies a folder's files below the prefix, in parts, each part with its sha256; its model.sig and manifest.json go last.

    A file that an earlier try has sent whole (same size, same sha256 noted with it) is not sent again, but for the smallest,
    which goes first: it is young then, and `raro gc` takes nothing of this prefix away meanwhile. progress: called with
    (bytes sent, bytes in all).
    """
    bucket, prefix = parts(uri)
    own = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
    digests = {file["path"]: file["sha256"] for file in own.get("files", ())}
    sizes = {name: (folder / name).stat().st_size for name in sending_order(folder)}
    first = min(digests.keys() & sizes.keys(), key=lambda name: (sizes[name], name), default=None)
    sending = sorted(sizes, key=lambda name: name != first)
    sent = _Sent(sum(sizes.values()), progress)
    with speaking(uri) as client:
        for name in sending:
            key, digest = f"{prefix}/{name}" if prefix else name, digests.get(name, "")
            if digest and name != first and _there(client, bucket, key, sizes[name], digest):
                sent(sizes[name])
                continue
            extra = encryption() | checked(client) | {"Metadata": {"sha256": digest} if digest else {}}
            client.upload_file(str(folder / name), bucket, key, ExtraArgs=extra, Callback=sent)


def encryption() -> dict[str, str]:
    """What every upload asks of the store's encryption (SSE-KMS): from the variable that MLflow's own uploads follow, too, so
    that one setting is for both. Raises BadInput."""
    text = os.environ.get(EXTRA)
    if not text:
        return {}
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict) and set(found) <= ENCRYPTION and all(isinstance(value, str) for value in found.values()):
            return found
    line = f"{EXTRA} is not a JSON object with some of {', '.join(sorted(ENCRYPTION))}"
    raise BadInput(line, """write {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "..."}""")


def checked(client: BaseClient) -> dict[str, str]:
    """The checksum of an upload: sha256, but for a store that takes none (AWS_REQUEST_CHECKSUM_CALCULATION=when_required)."""
    return {} if client.meta.config.request_checksum_calculation == "when_required" else {"ChecksumAlgorithm": "SHA256"}


class _Sent:
    """Adds up what the transfer's threads report."""

    def __init__(self, total: int, progress: Progress | None):
        self.total, self.progress, self.sent, self.lock = total, progress, 0, threading.Lock()

    def __call__(self, count: int) -> None:
        with self.lock:
            self.sent += count
            if self.progress:
                self.progress(min(self.sent, self.total), self.total)


def _there(client: BaseClient, bucket: str, key: str, size: int, digest: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"].get("HTTPStatusCode") == 404:
            return False
        raise
    return head["ContentLength"] == size and head.get("Metadata", {}).get("sha256") == digest


def delete(uri: str) -> None:
    """Removes the object and all below it as a prefix, with every version that the bucket keeps of each."""
    bucket, prefix = parts(uri)
    with speaking(uri) as client:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                if f"{item['Key']}/".startswith(f"{prefix}/"):
                    client.delete_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])


def unfinished(uri: str) -> dict[tuple[str, str], float]:
    """{(key, upload id): when something was added last, seconds since 1970} of uploads in parts below a prefix that have not
    ended: they take room and are seen in no listing."""
    bucket, prefix = parts(uri)
    with speaking(uri) as client:
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        found = [(item["Key"], item["UploadId"], item["Initiated"]) for page in pages for item in page.get("Uploads", ())]
        return {(key, upload): max(begun, _added(client, bucket, key, upload)).timestamp() for key, upload, begun in found}


def _added(client: BaseClient, bucket: str, key: str, upload: str) -> datetime:
    """When an unfinished upload's newest part came; long ago where it has none, or has ended meanwhile."""
    pages = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload)
    with contextlib.suppress(client.exceptions.NoSuchUpload):
        return max((part["LastModified"] for page in pages for part in page.get("Parts", ())), default=LONG_AGO)
    return LONG_AGO


def clock(uri: str) -> float:
    """The store's own time, seconds since 1970; this machine's where it does not tell it."""
    bucket, prefix = parts(uri)
    with speaking(uri) as client:
        answer = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/", MaxKeys=1)
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(told).timestamp() if told else time.time()


def abandon(uri: str, key: str, upload_id: str) -> None:
    """Ends an unfinished upload in the bucket of `uri`: its parts go."""
    with speaking(uri) as client:
        client.abort_multipart_upload(Bucket=parts(uri)[0], Key=key, UploadId=upload_id)


def children(uri: str) -> dict[str, tuple[int, float]]:
    """{name: (bytes, when changed last, seconds since 1970)} of what lies directly below a prefix, each with all below it. The
    empty object `prefix/`, by which a store's console shows a folder, is the prefix itself."""
    bucket, prefix = parts(uri)
    found: dict[str, tuple[int, float]] = {}
    with speaking(uri) as client:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            for item in page.get("Contents", ()):
                if name := item["Key"].removeprefix(f"{prefix}/").split("/")[0]:
                    size, changed = found.get(name, (0, 0.0))
                    found[name] = (size + item["Size"], max(changed, item["LastModified"].timestamp()))
    return found
