"""Storage on real files, real processes, and (where `weed` is installed) a real S3 server on loopback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Quiet, s3_server, served

from raro import s3 as store
from raro import storage
from raro.errors import BadInput, GateRefused, ServiceFailed


@pytest.fixture
def folder(tmp_path):
    """A small model folder."""
    path = tmp_path / "model"
    (path / "sub").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(bytes(range(256)))
    (path / "sub" / "vocab.txt").write_text("a\nb\n")
    return path


def test_a_manifest_lists_every_file_once_and_not_itself(folder):
    listed = storage.manifest(folder)
    assert [file["path"] for file in listed["files"]] == ["config.json", "model.safetensors", "sub/vocab.txt"]
    storage.write_json(folder / storage.MANIFEST, listed)
    assert storage.manifest(folder) == listed
    storage.verify(folder, listed)
    assert [f["path"] for f in storage.manifest(folder, exclude=["sub/vocab.txt"])["files"]] == [
        "config.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json' is missing"),
        (lambda f: (f / "config.json").write_text("{ }"), "has 3 bytes"),
        (lambda f: (f / "sub" / "vocab.txt").write_text("a\nc\n"), "vocab.txt' was changed"),
        (lambda f: (f / "extra.bin").write_text("x"), "extra.bin' is not in the manifest"),
    ],
)
def test_verify_names_the_file_at_fault(folder, damage, says):
    listed = storage.manifest(folder)
    damage(folder)
    with pytest.raises(GateRefused, match=says):
        storage.verify(folder, listed)


def test_a_forged_manifest_is_refused(folder):
    listed = storage.manifest(folder)
    (folder / "config.json").write_text("[]")
    listed["files"][0]["sha256"] = storage.digest_file(folder / "config.json")
    with pytest.raises(GateRefused, match="does not match its own root"):
        storage.verify(folder, listed)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=1, max_size=64), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_any_changed_byte_changes_the_root(tmp_path_factory, content, position, flip):
    path = tmp_path_factory.mktemp("one") / "weights"
    path.write_bytes(content)
    before = storage.manifest(path.parent)["root"]
    changed = bytearray(content)
    changed[position % len(content)] ^= flip
    path.write_bytes(bytes(changed))
    assert storage.manifest(path.parent)["root"] != before


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "state.json"
    storage.write_json(path, list(range(2000)))
    stop = threading.Event()

    def write():
        size = 0
        while not stop.is_set():
            size = (size + 500) % 3000
            storage.write_json(path, list(range(size)))

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(300):
        data = storage.read_json(path)
        assert data == list(range(len(data)))
    stop.set()
    writer.join()
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "state"
    storage.write_atomic(path, "old")
    code = f"""
import os
from raro import storage
os.fsync = lambda handle: os._exit(9)  # the power goes while the new file is on its way to the disk
storage.write_atomic({str(path)!r}, "new")
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert path.read_text() == "old"


def test_a_full_disk_names_the_path_and_is_worth_a_retry(tmp_path):
    with (
        pytest.raises(ServiceFailed, match="no space left on the disk to write 'x'"),
        storage.writing("x"),
        open("/dev/full", "w") as full,
    ):
        full.write("x")
    with pytest.raises(BadInput, match="a file stands where a folder should"):
        (tmp_path / "file").write_text("")
        storage.write_atomic(tmp_path / "file" / "x", "y")
    with pytest.raises(OSError) as other, storage.writing("somewhere"):
        raise OSError(errno.EIO, "left alone")
    assert other.value.errno == errno.EIO


def test_read_json_tells_missing_from_broken(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        storage.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(BadInput, match="is not valid JSON"):
        storage.read_json(tmp_path / "a.json")


def test_publishing_replaces_the_whole_folder(folder, tmp_path):
    old = tmp_path / "final"
    old.mkdir()
    (old / "stale").write_text("x")
    listed = storage.manifest(folder)
    storage.publish_folder(folder, old)
    storage.verify(old, listed)
    assert sorted(os.listdir(tmp_path)) == ["final"]


def test_put_folder_copies_once(folder, tmp_path):
    target = tmp_path / "store" / "models" / "x"
    assert storage.put_folder(folder, str(target)) == str(target)
    listed = storage.manifest(folder)
    storage.verify(target, listed)
    first = (target / "config.json").stat().st_ino
    storage.put_folder(folder, str(target))
    assert (target / "config.json").stat().st_ino == first
    (target / "config.json").write_text("damaged")
    storage.put_folder(folder, str(target))
    storage.verify(target, listed)


def test_put_folder_takes_the_signature_of_who_comes_last(folder, tmp_path):
    """A registration that was cut off, unsigned or with another key, and is repeated with this one: the signature is in no
    manifest, and the files alone would be the same."""
    target = tmp_path / "store" / "models" / "x"
    for signature in (None, b"one", b"two"):
        if signature:
            (folder / storage.SIGNATURE).write_bytes(signature)
        storage.put_folder(folder, str(target))
        assert (target / storage.SIGNATURE).exists() == bool(signature)
    assert (target / storage.SIGNATURE).read_bytes() == b"two"


def test_a_name_that_is_too_long_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="File name too long|file name too long"):
        storage.write_atomic(tmp_path / ("x" * 300), "x")


def test_many_that_publish_one_folder_at_once_leave_it_whole(folder, tmp_path):
    target, listed = tmp_path / "store" / "model", storage.manifest(folder)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: storage.put_folder(folder, str(target)), range(40)))
        storage.verify(target, listed)

        def publish(number: int) -> None:
            temporary = storage.beside(target, "partial")
            shutil.copytree(folder, temporary)
            storage.publish_folder(temporary, target)

        list(threads.map(publish, range(40)))
    storage.verify(target, listed)
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_plain_paths_are_taken_as_they_are(folder):
    assert storage.fetch(folder) == folder
    assert storage.fetch(f"file://{folder}/config.json") == folder / "config.json"


def test_packaged_data_is_found():
    path = storage.fetch("package://countdown-mini.jsonl")
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("/no/such/folder", "does not exist"),
        ("package://no-such-model", "is not in the package"),
        ("package://../errors.py", "is not in the package"),
        ("package://__init__.py", "is not in the package"),
        ("gs://bucket/x", "unknown scheme"),
        ("hf://owner/model", "names no revision"),
        ("s3:///x", "names no bucket"),
    ],
)
def test_bad_addresses_name_the_remedy(uri, says):
    with pytest.raises(BadInput, match=says) as caught:
        storage.fetch(uri)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("environment", "error", "says"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "BadInput", "HF_HUB_OFFLINE is set"),
        ({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}, "ServiceFailed", "the hub does not answer"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_told_plainly(tmp_path, environment, error, says):
    told = from_hub(tmp_path, **environment)
    assert told.startswith(error)
    assert says in told


def from_hub(home: Path, **environment: str) -> str:
    """What fetching a model of the hub ends with, in a process that has the environment from its start."""
    code = """
from raro.storage import fetch
try:
    fetch("hf://owner/model@main")
except Exception as e:
    print(type(e).__name__, e)
"""
    environment = {**os.environ, "HF_HOME": str(home), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120).stdout


class Hub(Quiet):
    """It tells what a repository holds, and fails at the file itself."""

    def do_GET(self) -> None:
        file, listed = "/resolve/" in self.path, [{"type": "file", "path": "config.json", "size": 2, "oid": "a" * 40}]
        body = json.dumps(listed if "/tree/" in self.path else {"id": "owner/model", "sha": "b" * 40, "siblings": []}).encode()
        self.send_response(500 if file and self.command == "GET" else 200)
        for name, value in {"ETag": '"a"', "X-Repo-Commit": "b" * 40, "Content-Length": str(2 if file else len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"{}" if file else body)

    do_HEAD = do_GET


def test_a_hub_that_fails_at_a_file_is_worth_a_retry(tmp_path):
    with served(Hub) as hub:
        told = from_hub(tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.address.replace("//", "//user:hunter2@"))
    assert told.startswith("ServiceFailed the hub does not answer for 'hf://owner/model@main': Server error '500"), told
    assert "hunter2" not in told


def test_an_s3_store_that_does_not_answer_is_worth_a_retry(monkeypatch, tmp_path):
    for key, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ServiceFailed, match="does not answer"):
        storage.fetch("s3://bucket/model", cache=tmp_path)


@pytest.mark.parametrize(
    "variable, value, says",
    [
        ("AWS_MAX_ATTEMPTS", "five", "AWS_MAX_ATTEMPTS 'five' is not a number of attempts"),
        ("AWS_MAX_ATTEMPTS", "0", "AWS_MAX_ATTEMPTS '0' is not a number of attempts"),
        ("AWS_RETRY_MODE", "fast", "fast"),
        ("AWS_ENDPOINT_URL", "localhost:9000", "Invalid endpoint: localhost:9000"),
        ("AWS_PROFILE", "nobody", "nobody"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "soon", "soon"),
    ],
)
def test_settings_that_boto3_cannot_use_are_one_line(monkeypatch, tmp_path, variable, value, says):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInput, match=says) as caught:
        storage.fetch("s3://bucket/model", cache=tmp_path)
    assert "\n" not in caught.value.line and caught.value.remedy


# ----------------------------------------------------------------------------------------------------------------- a real S3


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as client:
        yield client


@pytest.mark.check
def test_a_folder_goes_to_s3_and_comes_back_the_same(s3, folder, tmp_path):
    listed = storage.manifest(folder)
    storage.write_json(folder / storage.MANIFEST, listed)
    storage.put_folder(folder, "s3://models/a/b")
    s3.put_object(Bucket="models", Key="a/b-other/x", Body=b"not of this folder")
    cache = tmp_path / "cache"
    got = storage.fetch("s3://models/a/b", cache=cache)
    storage.verify(got, listed)
    stamp = (got / "config.json").stat().st_ino
    assert storage.fetch("s3://models/a/b/", cache=cache) == got
    assert (got / "config.json").stat().st_ino == stamp, "read from the cache"
    (got / "config.json").write_text("damaged")
    storage.verify(storage.fetch("s3://models/a/b", cache=cache), listed)
    single = storage.fetch("s3://models/a/b/sub/vocab.txt", cache=cache)
    assert (single.name, single.read_text()) == ("vocab.txt", "a\nb\n")


@pytest.fixture
def model(s3, folder) -> str:
    """The address of a folder in the store."""
    storage.put_folder(folder, "s3://models/shared")
    return "s3://models/shared"


@pytest.mark.check
def test_two_that_fetch_at_once_fetch_once(model, folder, tmp_path, monkeypatch):
    """Two threads have one process number, as the first processes of two containers have, which share the cache."""
    fetched, fetch = [], store._fetch

    def slowly(*arguments):
        fetched.append(arguments)
        time.sleep(0.3)
        return fetch(*arguments)

    monkeypatch.setattr(store, "_fetch", slowly)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: storage.fetch(model, cache=tmp_path / "cache"), range(2))
    assert first == second and len(fetched) == len(storage.names(folder))
    storage.verify(first, storage.manifest(folder))
    assert sorted(path.suffix for path in (tmp_path / "cache" / "s3").iterdir()) == ["", ".json", ".lock"]


@pytest.mark.check
def test_what_a_killed_process_left_is_removed_and_nobody_waits_for_it(model, folder, tmp_path):
    code = f"""
import time
from raro import s3, storage
fetch = s3._fetch
s3._fetch = lambda *given: (fetch(*given), print("half", flush=True), time.sleep(60))
storage.fetch({model!r}, cache={str(tmp_path)!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        assert [path.suffix for path in (tmp_path / "s3").iterdir() if path.is_dir()] == [".partial"]
        process.kill()
    storage.verify(storage.fetch(model, cache=tmp_path), storage.manifest(folder))
    assert not list((tmp_path / "s3").glob(".*.partial"))


@pytest.mark.check
def test_s3_content_that_is_not_what_its_manifest_says_is_refused(s3, folder, tmp_path):
    storage.write_json(folder / storage.MANIFEST, storage.manifest(folder))
    storage.put_folder(folder, "s3://models/tampered")
    s3.put_object(Bucket="models", Key="tampered/model.safetensors", Body=bytes(256))
    with pytest.raises(GateRefused, match=r"model.safetensors' was changed"):
        storage.fetch("s3://models/tampered", cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "s3").iterdir() if not path.name.startswith(".")]


@pytest.mark.check
def test_s3_refusals_are_permanent(s3, folder, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="there is nothing at"):
        storage.fetch("s3://models/none", cache=tmp_path)
    with pytest.raises(BadInput, match="refuses .*: NoSuchBucket"):
        storage.fetch("s3://no-such-bucket/x", cache=tmp_path)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BadInput, match="refuses"):
        storage.fetch("s3://models/a", cache=tmp_path)
    with pytest.raises(BadInput, match="refuses"):
        storage.put_folder(folder, "s3://models/x")
