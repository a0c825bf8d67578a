"""The registry's store on a real S3 server (SeaweedFS): one client, faults in an upload, object lock, what is deleted."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlparse

import pytest
from audited import tiny_model, whole_run
from botocore.exceptions import ClientError
from servers import Meddler, give_store, s3_server
from test_audit import crowd

from raro import s3, s3_client, s3_records, storage
from raro.cli import main
from raro.config import Config, parse
from raro.errors import BadInput, RaroError, ServiceFailed
from raro.registrar import leftovers
from raro.registry import log
from raro.registry.audit import audited
from raro.registry.desk import desk_of
from raro.registry.places import Bucket
from raro.steps import register

pytestmark = pytest.mark.check
PARTS = 20 * 2**20  # bytes of a file that goes in three parts: boto3's are 8 MiB


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as client:
        yield client


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def meddler(store, monkeypatch):
    """The store, reached through a proxy that lets single requests fail."""
    with Meddler(urlparse(os.environ["AWS_ENDPOINT_URL"]).port) as meddler:
        monkeypatch.setenv("AWS_ENDPOINT_URL", meddler.address)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        yield meddler


# ------------------------------------------------------------------------------------------------------------------- the client


def client_of() -> int:
    with s3_client.speaking("s3://models") as client:
        client.head_bucket(Bucket="models")
        return id(client)


def test_one_client_for_all_calls_threads_and_settings(store, monkeypatch):
    seen = {client_of()}
    threads = [threading.Thread(target=lambda: seen.add(client_of())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RaroError), s3_client.speaking("s3://models") as client:
        client.list_objects_v2(Bucket="models")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert client_of()


def test_a_credentials_file_that_is_written_anew_is_read_again(store, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    path.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = old\n")
    with pytest.raises(BadInput, match="SignatureDoesNotMatch"):
        s3.children("s3://models/x")
    path.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    assert s3.children("s3://models/x") == {}


def test_a_forked_process_makes_its_own_client(store):
    here = client_of()
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        made = [pool.apply(_clients_made) for _ in range(2)]
    assert made == [1, 0], "its own, once"
    assert client_of() == here


def _clients_made() -> int:
    """How many this call has made."""
    before = s3_client._client.cache_info().misses
    client_of()
    return s3_client._client.cache_info().misses - before


# ------------------------------------------------------------------------------------------------------- faults in an upload


def many_parts(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(os.urandom(PARTS))
    (folder / "config.json").write_text("{}")
    storage.write_json(folder / storage.MANIFEST, storage.manifest(folder))
    return folder


FAULTS = {
    "the last part is refused": ("PUT", "partNumber=3", "refuse", BadInput),
    "the last part fails again and again": ("PUT", "partNumber=3", "fail", ServiceFailed),
    "the answer to the last part is lost": ("PUT", "partNumber=3", "lose", ServiceFailed),
    "the end is refused": ("POST", "uploadId=", "refuse", BadInput),
    "the answer to the end is lost": ("POST", "uploadId=", "lose", ServiceFailed),
}


@pytest.mark.parametrize("what", FAULTS)
def test_an_upload_that_is_cut_in_its_last_part_leaves_nothing_and_a_repeated_call_completes(store, meddler, tmp_path, what):
    method, word, fault, error = FAULTS[what]
    folder, uri = many_parts(tmp_path / "model"), f"s3://models/cut/{abs(hash(what))}"
    meddler.fault = lambda asked: fault if asked.method == method and word in asked.path else ""
    with pytest.raises(error) as caught:
        s3.upload(folder, uri)
    assert uri in caught.value.line
    assert not store.list_multipart_uploads(Bucket="models").get("Uploads"), "no parts are left behind"
    assert storage.MANIFEST not in s3.children(uri), "what vouches for the rest goes last"
    meddler.fault = lambda asked: ""
    s3.upload(folder, uri)
    assert storage.manifest(s3.download(uri, tmp_path / "down"))["root"] == storage.read_json(folder / storage.MANIFEST)["root"]


def configured(place: Path, model: str, bucket: str = "models", **registry) -> Config:
    """A run's configuration on a store of MLflow's own in `place` and files and log on S3."""
    give_store(place)
    base = place / "base"
    if not base.exists():
        tiny_model(base)
    settings = {"model": model, "store": f"s3://{bucket}/shelf", **registry}
    return parse({"base": {"uri": str(base)}, "tracking": {"uri": f"sqlite:///{place / 'mlflow.db'}"}, "registry": settings})


def test_a_registration_whose_upload_is_refused_registers_nothing_until_it_is_repeated(store, meddler, tmp_path):
    config = configured(tmp_path, "refused")
    (tmp_path / "base" / "chat_template.jinja").write_bytes(b" " * PARTS)
    meddler.fault = lambda asked: "refuse" if "partNumber=3" in asked.path else ""
    with pytest.raises(BadInput, match="AccessDenied"):
        whole_run(config, tmp_path / "run", tmp_path / "base", 0.5)
    desk = desk_of(config, tmp_path / "run")
    assert desk.client.search_model_versions("name = 'refused'") == []
    assert not store.list_multipart_uploads(Bucket="models").get("Uploads")
    meddler.fault = lambda asked: ""
    assert register.run(config, tmp_path / "run")["alias"] == "champion"
    assert [r.action for r in log.whole(desk.place(), "refused")] == ["registered", "evaluated", "promoted"]
    with audited(desk, "champion") as made:
        assert made.breaks == []


def test_a_record_whose_answer_was_lost_is_there_once(store, meddler):
    lost = iter(["lose"])
    meddler.fault = lambda asked: next(lost, "") if asked.method == "PUT" and "00000001" in asked.path else ""
    place = Bucket("s3://models/lost")
    log.append(place, "m", lambda records: None if records else log.Draft("held", "1", "a", {}), None)
    assert [r.version for r in log.whole(place, "m")] == ["1"]


# ------------------------------------------------------------------------------------------------------------------ object lock


@pytest.fixture(scope="module")
def locked(store) -> str:
    store.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    return "locked"


def test_a_locked_record_cannot_be_removed_and_is_read_as_it_was_first(store, locked, tmp_path, capsys):
    config = configured(tmp_path, "kept", locked, lock_days=2)
    whole_run(config, tmp_path / "run", tmp_path / "base", 0.5)
    desk = desk_of(config, tmp_path / "run")
    place, key = desk.place(), "shelf/audit/kept/00000002.jsonl"
    before = place.lines()
    head = store.head_object(Bucket=locked, Key=key)
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert timedelta(days=1) < head["ObjectLockRetainUntilDate"] - datetime.now(UTC) <= timedelta(days=2)
    with pytest.raises(ClientError, match="AccessDenied"):
        store.delete_object(Bucket=locked, Key=key, VersionId=head["VersionId"])
    until = datetime.now(UTC) + timedelta(seconds=1)
    with pytest.raises(ClientError, match="AccessDenied"):
        store.put_object_retention(
            Bucket=locked, Key=key, VersionId=head["VersionId"], Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
        )
    # Written over, deleted, and written again where the deletion lies: the log is what it was, and says so.
    forged = log.read(place, "kept")[0][1].line.replace(b"pipeline", b"somebody")
    store.put_object(Bucket=locked, Key=key, Body=forged)
    store.delete_object(Bucket=locked, Key="shelf/audit/kept/00000003.jsonl")
    assert place.lines() == before
    store.put_object(Bucket=locked, Key="shelf/audit/kept/00000003.jsonl", Body=forged, IfNoneMatch="*")
    assert place.lines() == before
    assert main(["audit", "verify", "kept@champion", "--run", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "object lock, COMPLIANCE until 20" in said
    assert "record 2, 3 written over or deleted since, and read as it was first" in said
    # A promotion on another machine, without the run's configuration, locks its record as well.
    assert desk.registered().tags["raro.audit_lock_days"] == "2"
    # The weights are not locked: an erasure must be able to remove them.
    assert "ObjectLockMode" not in store.head_object(
        Bucket=locked, Key=f"{desk.version('1').source.removeprefix('s3://locked/')}/config.json"
    )
    s3.delete(desk.version("1").source)
    assert not store.list_object_versions(Bucket=locked, Prefix="shelf/models/").get("Versions"), "every version of it is gone"


def test_a_bucket_without_object_lock_is_told_plainly(store):
    with pytest.raises(BadInput, match=r"has no object lock, and registry.lock_days asks for 9 days") as caught:
        s3_records.create("s3://models/unlocked/00000001.jsonl", b"{}\n", days=9)
    assert "lock_days to 0" in caught.value.remedy
    assert s3_records.read("s3://models/unlocked") == {}
    assert Bucket("s3://models/unlocked").kept() == "", "an audit goes on to say what is missing"


def test_many_writers_under_object_lock_lose_nothing(store, locked):
    crowd(Bucket("s3://locked/crowd", 1), writers=4, each=3)


# -------------------------------------------------------------------------------------------------------------------- retention


def test_gc_on_s3_says_first_what_goes_and_honours_versions_holds_and_erasures(store, tmp_path, capsys, monkeypatch):
    config = configured(tmp_path, "old", store="s3://models/old")
    for n in range(4):
        whole_run(config, tmp_path / f"run-{n}", tmp_path / "base", 0.3 + n / 10)
    desk = desk_of(config, tmp_path / "run-0")
    sources = {n: desk.version(str(n)).source for n in range(1, 5)}
    store.put_object(Bucket="models", Key="old/models/", Body=b"")  # as a console makes a folder: no left-over
    store.put_object(Bucket="models", Key="old/models/leftover/x", Body=b"x" * 100)
    store.put_object(Bucket="models", Key="old/models/their", Body=b"x")
    begun = store.create_multipart_upload(Bucket="models", Key="old/models/cut/model.safetensors")
    store.upload_part(
        Bucket="models", Key="old/models/cut/model.safetensors", UploadId=begun["UploadId"], PartNumber=1, Body=b"x" * 100
    )
    # What another model's log has registered in the same store stays, whichever server knows it.
    store.put_object(Bucket="models", Key="old/models/theirs/x", Body=b"x")
    theirs = {"model": "theirs", "version": "1", "action": "registered", "body": {"source": "s3://models/old/models/theirs"}}
    store.put_object(Bucket="models", Key="old/audit/theirs/00000001.jsonl", Body=json.dumps(theirs).encode())
    time.sleep(1.1)  # S3 tells whole seconds
    assert set(leftovers.orphans(desk, 0)) == set() and leftovers.cut_off(desk, 0) == [], "they are younger than a day"
    monkeypatch.setattr(leftovers, "UNDER_WAY", 0)

    def gc(*more: str) -> tuple[int, str]:
        every = ["--keep", "0", "--older-than", "0", "--run", str(tmp_path / "run-0")]
        code = main(["gc", "old", *every, *more])
        said = capsys.readouterr()
        return code, said.out + said.err

    person = ("--approver", "Ada", "--reason", "it is asked")
    code, said = gc()
    assert code == 0
    for line in ("version 4   kept: it is champion", "version 3   kept: it was champion", "version 1   goes",
                 "models/leftover", "models/their\n", "never ended: old/models/cut/model.safetensors",
                 "nothing was deleted"):  # fmt: skip
        assert line in said
    assert "theirs" not in said
    assert all(s3.children("s3://models/old/models").get(uri.rsplit("/", 1)[1]) for uri in sources.values())
    assert gc("--hold", "1", *person)[0] == 0
    code, said = gc("--erase", "1", "--erase", "3", "--delete", *person)
    assert code == 3
    assert "version 1 cannot be erased yet: legal hold" in said
    left = s3.children("s3://models/old/models")
    assert set(left) == {sources[1].rsplit("/", 1)[1], sources[4].rsplit("/", 1)[1], "theirs"}
    assert not store.list_multipart_uploads(Bucket="models").get("Uploads")
    assert desk.version("1") is not None
    assert desk.version("3") is None
    # A deletion that was cut off between the log and the files is completed by the next.
    desk.append(lambda _: log.Draft("legal hold", "1", "Ada", {"on": False, "reason": "over"}), None)
    desk.append(lambda _: log.Draft("deleted", "1", "Ada", {"source": sources[1], "reason": "asked"}), None)
    desk.client.delete_model_version("old", "1")
    desk.settle()
    assert gc("--delete", *person)[0] == 0
    assert set(s3.children("s3://models/old/models")) == {sources[4].rsplit("/", 1)[1], "theirs"}
    with audited(desk, "champion") as made:
        assert made.breaks == []


def test_an_upload_that_goes_on_keeps_what_it_needs(store, tmp_path, monkeypatch):
    """It began before, in another try, and is repeated: nothing of the old files may go under it."""
    folder, uri = many_parts(tmp_path / "model"), "s3://models/again/models/root"
    s3.upload(folder, uri)
    begun = store.create_multipart_upload(Bucket="models", Key="again/models/other/model.safetensors")
    where = {"Bucket": "models", "Key": "again/models/other/model.safetensors", "UploadId": begun["UploadId"]}
    store.put_object(Bucket="models", Key="again/models/other/config.json", Body=b"{}")
    desk = desk_of(configured(tmp_path, "again", store="s3://models/again"), tmp_path / "run")
    time.sleep(5.1)
    monkeypatch.setattr(leftovers, "UNDER_WAY", 4000)
    assert set(leftovers.orphans(desk, 0)) == {uri, "s3://models/again/models/other"}
    assert leftovers.cut_off(desk, 0) == [(where["Key"], where["UploadId"])]
    s3.upload(folder, uri)
    store.upload_part(**where, PartNumber=1, Body=b"x" * 100)
    assert leftovers.orphans(desk, 0) == {} and leftovers.cut_off(desk, 0) == []
    assert abs(s3.clock(uri) - time.time()) < 5


# ------------------------------------------------------------------------------------------------------------- before serving


def test_an_init_container_fetches_into_its_volume_alone(store, tmp_path):
    root = storage.manifest(many_parts(tmp_path / "made"))["root"]
    storage.put_folder(tmp_path / "made", f"s3://models/served/{root}")
    fetching = ["audit", "fetch", f"s3://models/served/{root}", "--output", str(tmp_path / "volume"), "--root", root]
    (tmp_path / "volume").mkdir()
    for _ in range(2):
        assert main(fetching) == 0
        assert {path.name for path in (tmp_path / "volume").iterdir()} == {"config.json", "manifest.json", "model.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {"made", "volume"}
