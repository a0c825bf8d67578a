"""What registration will need, looked at before anything is paid for: the policy, the key, the store, the audit log.

The store is written to and read as a registration does, and nothing stays: a folder by a file that is linked and removed, S3 by
an object that is created on a condition, read in its first version and deleted. Where a bucket locks what is put into it, an
upload is begun and given up instead, which makes no object.
"""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import BadInput
from ..storage import writing
from . import signature
from .desk import check_log, signer_of
from .keys import encoded
from .places import Folder

if TYPE_CHECKING:
    from botocore.client import BaseClient

TYPE = "application/vnd.raro.preflight"
CONTENT = b"preflight\n"


def check(config: Config, run: Path) -> None:
    """Raises BadInput or GateRefused for what registration would refuse, ServiceFailed for what may pass."""
    policy, key = signer_of(config)
    if key:
        signature.needed()
        key.sign(encoded(TYPE, CONTENT))
    store = config.registry.store
    if store.startswith("s3://"):
        _check_bucket(store, config.registry.lock_days)
    elif store:
        for name in ("audit", "models"):
            _check_folder(Path(store.removeprefix("file://")), name)
    check_log(config, run, policy)


def _check_folder(store: Path, name: str) -> None:
    place = next(folder for folder in [store / name, *(store / name).absolute().parents] if folder.exists())
    named, remedy = f"registry.store '{store}'", "name a folder that may be written to, on a file system with hard links"
    if not place.is_dir():
        raise BadInput(f"{named} cannot be a folder: '{place}' is a file", remedy)
    try:
        with writing(store), tempfile.TemporaryDirectory(prefix=".preflight-", dir=place) as scratch:
            Folder(Path(scratch)).create(1, CONTENT)
    except OSError as error:
        raise BadInput(f"{named} cannot keep an audit log: {error.strerror}", remedy) from None


def _check_bucket(store: str, lock_days: int) -> None:
    from .. import s3, s3_records
    from ..s3_client import parts, speaking

    bucket, prefix = parts(store)
    key = f"{prefix}/models/.preflight-{uuid.uuid4().hex}".lstrip("/")  # where raro gc looks for what was left
    place = f"s3://{bucket}/{key}"
    with speaking(store) as client:
        lock = _lock(client, bucket)
        if lock_days and lock == "none":
            line = f"the bucket of '{store}' has no object lock, and registry.lock_days asks for {lock_days} days"
            raise BadInput(line, "make a bucket with object lock, or set registry.lock_days to 0")
        if lock == "kept":
            begun = client.create_multipart_upload(Bucket=bucket, Key=key, **s3.encryption())
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=begun["UploadId"])
            return
    try:
        created = [s3_records.create(f"{place}/1", CONTENT) for _ in range(2)]
        if created != [True, False] or s3_records.read(place)["1"].content != CONTENT:
            line = f"the store of '{store}' overwrites what is there, though asked not to (If-None-Match)"
            raise BadInput(line, "the audit log needs one that does not: docs/audit.md")
    finally:
        with contextlib.suppress(BadInput):  # who may not delete leaves a few bytes
            s3.delete(place)


def _lock(client: BaseClient, bucket: str) -> str:
    """What the bucket's object lock does to an object that asks for none: "none", there is no lock; "free", nothing; "kept", it
    is locked, or may be: nobody says."""
    from botocore.exceptions import ClientError

    try:
        found = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    except ClientError as error:
        code = error.response["Error"].get("Code", "")
        if code == "NoSuchBucket":
            raise
        return "none" if code == "ObjectLockConfigurationNotFoundError" else "kept"
    return "kept" if found.get("Rule", {}).get("DefaultRetention") else "free"
