"""S3 and what speaks its language (MinIO, SeaweedFS, Ceph): folders up, folders down through the verified cache.

Endpoint, region, credentials, a CA of one's own, proxies and retries come from boto3's usual variables and files
(AWS_ENDPOINT_URL, AWS_PROFILE, AWS_CA_BUNDLE, HTTPS_PROXY, AWS_MAX_ATTEMPTS, a role, ...). Listings are paged, downloads go in
parts and go on where a connection breaks. An object is read as it was listed: one that changes meanwhile is an error, never a
mixture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import BadInput, GateRefused, ServiceFailed
from .storage import (
    MANIFEST,
    canonical,
    digest_text,
    first_line,
    manifest,
    publish_folder,
    read_json,
    sending_order,
    verify,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from botocore.client import BaseClient

# Parts of the error codes that no second try mends, and what does.
REFUSALS = {
    "NoSuchBucket": "check the bucket's name and AWS_ENDPOINT_URL",
    "InvalidBucketName": "check the bucket's name",
    "NoSuch": "check the prefix",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID: the store does not know it",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY: it is not the one of this AWS_ACCESS_KEY_ID",
    "ExpiredToken": "sign in again: the token has run out",
    "AccessDenied": "ask for the right to it: these credentials have none",
    "403": "ask for the right to it: these credentials have none",
    "404": "check the bucket and the prefix",
}
Progress = Callable[[int, int], None]
EXTRA = "MLFLOW_S3_UPLOAD_EXTRA_ARGS"
ENCRYPTION = {"ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext"}
ATTEMPTS = 5  # of each request, with growing waits; AWS_MAX_ATTEMPTS says otherwise


def download(uri: str, cache: Path) -> Path:
    """The local copy of an object, or of all below a prefix.

    Cache entry <cache>/s3/<digest of the listing>/: other objects make another entry. Its seal <digest>.json lies beside it:
    manifest, and for each object its ETag and version id; it is checked at each use. A manifest.json among the objects is
    checked too. Raises BadInput, GateRefused, ServiceFailed.
    """
    bucket, prefix = _parts(uri)
    with _client(uri) as client:
        objects = _list(client, bucket, prefix)
        if not objects:
            raise BadInput(f"nothing lies at '{uri}'", "check the bucket and the prefix")
        entry = cache / "s3" / digest_text(canonical([bucket, prefix, objects]))[:32]
        seal = entry.with_suffix(".json")
        if not _sealed(entry, seal):
            temporary = entry.with_name(f".{entry.name}.{os.getpid()}.partial")
            with writing(entry):
                shutil.rmtree(temporary, ignore_errors=True)
                versions = {item["name"]: _fetch(client, uri, bucket, item, temporary) for item in objects}
            own = temporary / MANIFEST
            if own.exists() and "root" in (inside := read_json(own)):
                verify(temporary, inside)
            write_json(seal, manifest(temporary) | {"objects": versions})
            publish_folder(temporary, entry)
    return entry / objects[0]["name"] if objects[0]["key"] == prefix else entry


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

    A file that an earlier try has sent whole (same size, same sha256 noted with it) is not sent again. progress: called with
    (bytes sent, bytes in all).
    """
    bucket, prefix = _parts(uri)
    own = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
    digests = {file["path"]: file["sha256"] for file in own.get("files", ())}
    sending = sending_order(folder)
    sizes = {name: (folder / name).stat().st_size for name in sending}
    sent = _Sent(sum(sizes.values()), progress)
    with _client(uri) as client:
        for name in sending:
            key, digest = f"{prefix}/{name}" if prefix else name, digests.get(name, "")
            if digest and _there(client, bucket, key, sizes[name], digest):
                sent(sizes[name])
                continue
            extra = encryption() | {"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": digest} if digest else {}}
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


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise BadInput(f"'{uri}' names no bucket", "write s3://bucket/prefix")
    return bucket, prefix.strip("/")


@contextmanager
def _client(uri: str) -> Iterator[BaseClient]:
    """A client (endpoint, region and credentials from the usual AWS variables), its errors told in our words."""
    try:
        import boto3
        from boto3.exceptions import RetriesExceededError, S3UploadFailedError
        from botocore import exceptions
        from botocore.config import Config
        from s3transfer.exceptions import S3DownloadFailedError
    except ModuleNotFoundError:
        raise BadInput(f"'{uri}' needs boto3, which is not installed", "pip install 'raro-pipelines[tracking]'") from None
    retries = {"mode": os.environ.get("AWS_RETRY_MODE", "standard")}
    retries["max_attempts"] = int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS))
    try:
        yield boto3.Session().client("s3", config=Config(retries=retries))
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise BadInput(f"no credentials for '{uri}'", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role") from error
    except S3DownloadFailedError:  # s3transfer found another ETag between two parts
        raise BadInput(f"an object of '{uri}' changed while it was read", "start again when nobody writes to it") from None
    except (exceptions.ClientError, S3UploadFailedError) as error:
        code = str(getattr(error, "response", {}).get("Error", {}).get("Code", "")) or first_line(error)
        if remedy := next((remedy for word, remedy in REFUSALS.items() if word in code), ""):
            raise BadInput(f"the store refuses '{uri}': {code}", remedy) from error
        raise ServiceFailed(f"the store of '{uri}' failed: {code}", "try again") from error
    except (exceptions.BotoCoreError, exceptions.HTTPClientError, RetriesExceededError) as error:
        line = f"the store of '{uri}' does not answer: {first_line(error)}"
        raise ServiceFailed(line, "check AWS_ENDPOINT_URL and the network") from error


def create(uri: str, content: bytes) -> bool:
    """Writes an object where none lies (If-None-Match: *): False where one does, or where another writer was first."""
    from botocore.exceptions import ClientError

    bucket, key = _parts(uri)
    with _client(uri) as client:
        try:
            checked = {"IfNoneMatch": "*", "ChecksumAlgorithm": "SHA256"}
            client.put_object(Bucket=bucket, Key=key, Body=content, **encryption(), **checked)
        except ClientError as error:
            if error.response["ResponseMetadata"].get("HTTPStatusCode") in (409, 412):
                return False
            raise
    return True


def read_all(uri: str) -> dict[str, bytes]:
    """The content of every object below a prefix, by its name there; empty where there is none."""
    bucket, prefix = _parts(uri)
    with _client(uri) as client:
        objects = _list(client, bucket, prefix)
        return {item["name"]: client.get_object(Bucket=bucket, Key=item["key"])["Body"].read() for item in objects}


def delete(uri: str) -> int:
    """Removes all objects below a prefix; how many there were."""
    bucket, prefix = _parts(uri)
    with _client(uri) as client:
        objects = _list(client, bucket, prefix)
        for item in objects:
            client.delete_object(Bucket=bucket, Key=item["key"])
    return len(objects)


def children(uri: str) -> dict[str, tuple[int, float]]:
    """{name: (bytes, when changed last, seconds since 1970)} of what lies directly below a prefix, each with all below it."""
    bucket, prefix = _parts(uri)
    found: dict[str, tuple[int, float]] = {}
    with _client(uri) as client:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            for item in page.get("Contents", ()):
                name = item["Key"].removeprefix(f"{prefix}/").split("/")[0]
                size, changed = found.get(name, (0, 0.0))
                found[name] = (size + item["Size"], max(changed, item["LastModified"].timestamp()))
    return found
