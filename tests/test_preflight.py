"""What registration would refuse at a run's end is refused at its start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from audited import new_key, new_policy
from servers import s3_server

from raro.config import Config, parse
from raro.errors import BadInput, ServiceFailed
from raro.registry import readiness
from raro.steps import run_step
from raro.storage import write_atomic

CONFIG = {"base": {"uri": "package://countdown-mini"}, "rollout": {"policy_tokens": 64, "critic_tokens": 64}}


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    return new_policy(tmp_path_factory.mktemp("keys")).parent


def configured(**registry: object) -> Config:
    return parse({"registry": {"model": "tiny", **registry}})


def refused(config: Config, run: Path) -> str:
    """The line and the remedy by which the step preflight ends, in one."""
    with pytest.raises(BadInput) as caught:
        readiness.check(config, run)
    assert caught.value.remedy and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("registry", "told"),
    [
        ({"policy": "KEYS/nowhere.yaml"}, "policy '.*nowhere.yaml' cannot be read"),
        ({"policy": "KEYS/pipeline.pub"}, "policy '.*pipeline.pub'.* no mapping|policy '.*pipeline.pub'.* YAML"),
        ({"signing_key": "file:/nowhere"}, "key 'file:/nowhere' cannot be read"),
        ({"signing_key": "env:NOT_SET"}, "variable 'NOT_SET' of key 'env:NOT_SET' is empty"),
        ({"signing_key": "file:KEYS/pipeline.pub"}, "is not an unencrypted private key"),
        ({"policy": "KEYS/policy.yaml"}, "the policy requires signatures, and registry.signing_key is empty"),
        ({"policy": "KEYS/policy.yaml", "signing_key": "file:KEYS/Mallory.pem"}, "has no role 'model' in policy"),
        ({"policy": "KEYS/policy.yaml", "signing_key": "file:KEYS/Ada.pem"}, "has no role 'model' in policy"),
        ({"store": "KEYS/policy.yaml"}, "registry.store '.*policy.yaml' cannot be a folder"),
        ({"store": "KEYS/policy.yaml/below"}, "cannot be a folder: '.*policy.yaml' is a file"),
        ({"store": "/proc/nowhere"}, "/proc/nowhere'"),
        ({"store": "s3://"}, "names no bucket"),
    ],
)
def test_what_registration_would_refuse_ends_a_run_at_once(keys, tmp_path, registry, told):
    import re

    config = configured(**{name: value.replace("KEYS", str(keys)) for name, value in registry.items()})
    assert re.search(told, refused(config, tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_preflight_looks_at_it_unless_nothing_is_registered(keys, tmp_path, monkeypatch):
    config = parse(CONFIG | {"resources": {"device": "cpu"}, "registry": {"policy": str(keys / "policy.yaml")}})
    with pytest.raises(BadInput, match="the policy requires signatures"):
        run_step("preflight", config, tmp_path / "run")
    monkeypatch.setenv("RARO_TRACKING", "off")  # as `raro reproduce` does, perhaps without the pipeline's key
    run_step("preflight", config, tmp_path / "again")


def test_what_is_ready_leaves_nothing_behind(keys, tmp_path):
    signed = {"policy": str(keys / "policy.yaml"), "signing_key": f"file:{keys / 'pipeline.pem'}"}
    for store in ("shelf", "not/yet/there"):
        (tmp_path / "shelf").mkdir(exist_ok=True)
        readiness.check(configured(store=str(tmp_path / store), **signed), tmp_path / "run")
    assert [path.name for path in tmp_path.rglob("*")] == ["shelf"]


def test_a_key_that_cannot_sign_now_is_worth_another_try(tmp_path):
    public = new_key(tmp_path / "key.pem").with_suffix(".pub")
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\n[ "$1" = public ] && cat {public} || {{ echo asleep >&2; exit 1; }}\n')
    hook.chmod(0o755)
    with pytest.raises(ServiceFailed, match="hook sign' failed with exit code 1"):
        readiness.check(configured(signing_key=f"exec:{hook}"), tmp_path / "run")


AS_ANOTHER = """
import os, sys
from pathlib import Path
from raro.config import parse
from raro.registry import readiness
if os.getuid() == 0:
    os.setuid(65532)
try:
    readiness.check(parse({"registry": {"store": sys.argv[1]}}), Path("/nowhere/run"))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_folder_that_may_not_be_written_to_is_no_store():
    place = Path(tempfile.mkdtemp(prefix="shelf-", dir="/tmp"))
    try:
        place.chmod(0o555)
        for store in (place, place / "below"):
            said = subprocess.run([sys.executable, "-c", AS_ANOTHER, store], capture_output=True, text=True)
            assert said.stdout.startswith(f"BadInput cannot write '{store}': Permission denied"), said
    finally:
        place.rmdir()


@pytest.mark.check
def test_a_bucket_is_written_to_and_left_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "weed").mkdir()
    run = tmp_path / "run"
    with s3_server(tmp_path / "weed") as client:
        for name in ("locked", "lockable"):
            client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        retention = {"Mode": "COMPLIANCE", "Days": 1}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
        client.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=lock)
        for bucket, days in (("models", 0), ("lockable", 0), ("lockable", 3653), ("locked", 0), ("locked", 3653)):
            readiness.check(configured(store=f"s3://{bucket}/shelf/", lock_days=days), run)
            found = client.list_object_versions(Bucket=bucket)
            assert not found.get("Versions") and not found.get("DeleteMarkers"), bucket
            assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
        assert "has no object lock" in refused(configured(store="s3://models/shelf", lock_days=9), run)
        assert "NoSuchBucket" in refused(configured(store="s3://nowhere/shelf"), run)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "guest")
        for bucket in ("models", "locked"):
            assert "AccessDenied" in refused(configured(store=f"s3://{bucket}/shelf"), run)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(ServiceFailed, match="does not answer"):
            readiness.check(configured(store="s3://models/shelf"), run)
    write_atomic(tmp_path / "shelf" / "audit" / "tiny" / "00000001.jsonl", "{}")
    assert "is the audit log of another MLflow" in refused(configured(store=str(tmp_path / "shelf")), run)
    assert os.listdir(tmp_path / "shelf") == ["audit"]
