"""Objects on S3 that are written once and never again: an audit log's records.

A record is created on the condition that none lies there (If-None-Match), and read in the first version that the bucket keeps:
in a bucket with versions, what was written over it or deleted it since changes nothing that is read. With object lock
(COMPLIANCE) nobody can remove that version before its day. Needs s3:ListBucketVersions and s3:GetObjectVersion.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html, .../conditional-writes.html
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5

from .errors import BadInput
from .s3 import checked, encryption
from .s3_client import parts, speaking

READERS = 8  # records are read at once; the client keeps ten connections


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it lies there. locked: the object lock's mode and last day, empty where there is none. touched: whether other
    versions or a deletion lie over it."""

    content: bytes
    locked: str
    touched: bool


def create(uri: str, content: bytes, days: int = 0) -> bool:
    """Writes an object where none lies: False where one does, or where another writer was first. days: how long object lock
    keeps it; 0: as the bucket's own rule says. Raises BadInput where the bucket has no object lock and days are asked for."""
    from botocore.exceptions import ClientError

    bucket, key = parts(uri)
    until = datetime.now(UTC) + timedelta(days=days)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until} if days else {}
    with speaking(uri) as client:
        try:
            # Object lock asks for a checksum of some kind; MD5 is the oldest, and against damage on the way it does.
            sums = checked(client) or {"ContentMD5": b64encode(md5(content, usedforsecurity=False).digest()).decode()}
            client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*", **encryption(), **sums, **lock)
        except ClientError as error:
            if error.response["ResponseMetadata"].get("HTTPStatusCode") in (409, 412):
                return False
            if days and error.response["Error"].get("Code") == "InvalidRequest":
                line = f"the bucket of '{uri}' has no object lock, and registry.lock_days asks for {days} days"
                raise BadInput(line, "make a bucket with object lock, or set registry.lock_days to 0") from None
            raise
    return True


def read(uri: str) -> dict[str, Kept]:
    """Every object below a prefix in its first version, by its name there; empty where there is none."""
    bucket, prefix = parts(uri)
    below = f"{prefix}/" if prefix else ""
    first: dict[str, str] = {}  # S3 lists the versions of a key newest first
    entries: Counter[str] = Counter()
    with speaking(uri) as client:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=below):
            found = page.get("Versions", [])
            entries.update(item["Key"] for item in [*found, *page.get("DeleteMarkers", [])])
            first |= {item["Key"]: item["VersionId"] for item in found if not item["Key"].endswith("/")}

        def one(key: str) -> Kept:
            answer = client.get_object(Bucket=bucket, Key=key, VersionId=first[key])
            until = answer.get("ObjectLockRetainUntilDate")
            locked = f"{answer['ObjectLockMode']} until {until.astimezone(UTC):%Y-%m-%d}" if until else ""
            return Kept(answer["Body"].read(), locked, entries[key] > 1)

        with ThreadPoolExecutor(READERS) as readers:
            return dict(zip((key.removeprefix(below) for key in first), readers.map(one, first), strict=True))
