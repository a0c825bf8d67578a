"""Demonstrations on a real S3 server (SeaweedFS on loopback), and what may go wrong on the way."""

from __future__ import annotations

import io
import json
import os
import subprocess
from urllib.parse import urlparse

import pytest
from servers import FaultyProxy, s3_server
from test_demonstrations import ingest, many, wanted, whole_config

from raro import s3 as store
from raro import storage
from raro.demonstrations import collect, load_split, sources
from raro.errors import BadInput, ServiceFailed
from raro.forget import forget
from raro.storage import read_json

pytestmark = pytest.mark.check
LINES = "".join(json.dumps(row) + "\n" for row in many(400)).encode()


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as client:
        yield client


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "cache"))


def test_a_prefix_of_several_files_is_ingested_with_etag_and_version(s3, tmp_path):
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="versioned", Key="data/a.jsonl", Body=LINES)
    s3.put_object(Bucket="versioned", Key="data/deep/b.csv", Body=b"question,answer\nWhy?,Because.\n")
    config = whole_config("s3://versioned/data")
    outputs = ingest(config, tmp_path / "run")
    content = read_json(tmp_path / "run" / "ingest" / "data.json")
    assert outputs["rows"] == 401 and [one["uri"] for one in content["sources"]] == [
        "s3://versioned/data/a.jsonl",
        "s3://versioned/data/deep/b.csv",
    ]
    assert content["sources"][0]["version"] == first["VersionId"] and content["sources"][0]["etag"] == first["ETag"].strip('"')
    # The same bytes again are a new version, and nothing new to read; other bytes are.
    again = s3.put_object(Bucket="versioned", Key="data/a.jsonl", Body=LINES)
    assert again["VersionId"] != first["VersionId"] and ingest(config, tmp_path / "run")["digest"] == outputs["digest"]
    s3.put_object(Bucket="versioned", Key="data/a.jsonl", Body=LINES + b'{"question": "new?", "answer": "yes"}\n')
    assert ingest(config, tmp_path / "run")["rows"] == 402


def test_what_was_fetched_is_named_by_forget(s3, tmp_path, capsys):
    """Rows are masked before a run keeps them; the cache keeps the file as it was."""
    told = {"question": "Who is John Roe, phone +1 212 555 0143?", "answer": "A patient."}
    s3.put_object(Bucket="models", Key="told/a.jsonl", Body=LINES + json.dumps(told).encode() + b"\n")
    config = whole_config("s3://models/told", personal_data={"phone": "mask"})
    ingest(config, tmp_path / "runs" / "a")
    forget(tmp_path / "runs", [], ["555 0143"], tmp_path / "forgotten.txt")
    said = capsys.readouterr().out
    (entry,) = (path for path in (tmp_path / "cache" / "s3").iterdir() if path.is_dir())
    assert f"rm -r {entry}" in said and "none of 1 data sets" in said


def test_a_glob_and_a_single_object(s3, tmp_path):
    for key in ("mixed/a.jsonl", "mixed/b.jsonl", "mixed/c.txt"):
        s3.put_object(Bucket="models", Key=key, Body=LINES)
    assert [one.uri for one in sources("s3://models/mixed/*.jsonl")] == [
        "s3://models/mixed/a.jsonl",
        "s3://models/mixed/b.jsonl",
    ]
    (one,) = sources("s3://models/mixed/b.jsonl")
    assert one.path.read_bytes() == LINES and store.origin(one.path)["etag"]


def test_more_objects_than_one_page_lists(s3, tmp_path):
    for i in range(1005):
        s3.put_object(Bucket="models", Key=f"pages/{i:04}.jsonl", Body=b'{"question": "q%d", "answer": "a"}\n' % i)
    folder = tmp_path / "out"
    folder.mkdir()
    assert collect(wanted(), sources("s3://models/pages"), folder).kept == 1005


@pytest.mark.parametrize("versioned", [False, True])
def test_an_object_that_changes_while_it_is_read(s3, tmp_path, monkeypatch, versioned):
    bucket = f"changing-{versioned}".lower()
    s3.create_bucket(Bucket=bucket)
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="a.jsonl", Body=LINES)
    listed = store._list

    def changed_after_listing(client, *where):
        found = listed(client, *where)
        s3.put_object(Bucket=bucket, Key="a.jsonl", Body=LINES[: len(LINES) // 2])
        return found

    monkeypatch.setattr(store, "_list", changed_after_listing)
    with pytest.raises(BadInput, match="'a.jsonl' of .* changed while it was read"):
        sources(f"s3://{bucket}/a.jsonl")
    monkeypatch.undo()


def test_an_object_that_changes_between_two_parts(s3, tmp_path, monkeypatch):
    """The second look at an unversioned object, after it was downloaded."""
    s3.put_object(Bucket="models", Key="late/a.jsonl", Body=LINES)
    looked = store._head

    def changed_after_looking(client, uri, bucket, item):
        head = looked(client, uri, bucket, item)
        s3.put_object(Bucket="models", Key="late/a.jsonl", Body=LINES[::-1])
        return head

    monkeypatch.setattr(store, "_head", changed_after_looking)
    with pytest.raises(BadInput, match="changed while it was read"):
        sources("s3://models/late/a.jsonl")
    assert not list((tmp_path / "cache").rglob("*.json")), "nothing half-read is sealed"


@pytest.mark.parametrize(
    ("variable", "value", "uri", "line", "remedy"),
    [
        ("", "", "s3://no-such-bucket/a.jsonl", "NoSuchBucket", "the bucket's name"),
        ("", "", "s3://models/no-such-prefix", "there is nothing at", "the prefix"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "s3://models/a", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "nobody", "s3://models/a", "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_no_second_try_mends_is_one_clear_line(s3, variable, value, uri, line, remedy, monkeypatch, tmp_path):
    if variable:
        monkeypatch.setenv(variable, value)
    with pytest.raises(BadInput, match=line) as caught:
        ingest(whole_config(uri), tmp_path / "run")
    assert remedy in caught.value.remedy and "\n" not in str(caught.value) and uri in caught.value.line
    failure = read_json(tmp_path / "run" / "failure.json")
    assert failure["code"] == 2 and failure["permanent"]


def test_an_empty_bucket_and_a_file_without_rows(s3, tmp_path):
    s3.create_bucket(Bucket="empty")
    with pytest.raises(BadInput, match="there is nothing at 's3://empty'"):
        sources("s3://empty")
    s3.put_object(Bucket="empty", Key="a.jsonl", Body=b"")
    with pytest.raises(BadInput, match="is empty"):
        ingest(whole_config("s3://empty"), tmp_path / "run")


def test_an_object_whose_name_climbs_out_of_its_folder(s3, tmp_path, monkeypatch):
    listed = store._list
    climbing = lambda client, *where: [one | {"name": "../../x"} for one in listed(client, *where)]  # noqa: E731
    s3.put_object(Bucket="models", Key="climb/a.jsonl", Body=LINES)
    monkeypatch.setattr(store, "_list", climbing)  # SeaweedFS itself refuses such a key
    with pytest.raises(BadInput, match="holds an object named"):
        sources("s3://models/climb")


@pytest.mark.parametrize("key", ["two/a//b.jsonl", "two/a/./b.jsonl", "two/a/b.jsonl/c.jsonl"])
def test_objects_of_which_a_folder_can_hold_one_are_refused(s3, monkeypatch, key):
    """The later would be read in the place of the earlier, whose rows nobody would miss."""
    s3.put_object(Bucket="models", Key="two/a/b.jsonl", Body=LINES)
    (one,) = store._list(s3, "models", "two")
    both = [one, one | {"key": key, "name": key.removeprefix("two/")}]
    monkeypatch.setattr(store, "_list", lambda *where: both)  # SeaweedFS has folders itself, and makes one name of two
    with pytest.raises(BadInput, match="holds the objects 'two/.*' and 'two/.*', of which a folder can hold one"):
        sources("s3://models/two")


@pytest.fixture
def proxy(s3, monkeypatch):
    proxy = FaultyProxy(urlparse(os.environ["AWS_ENDPOINT_URL"]).port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


def test_credentials_that_may_list_but_not_read(s3, monkeypatch, tmp_path):
    s3.put_object(Bucket="models", Key="private/a.jsonl", Body=LINES)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "guest")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guest")
    with pytest.raises(BadInput, match="403|AccessDenied") as caught:
        ingest(whole_config("s3://models/private/a.jsonl"), tmp_path / "run")
    assert "ask for the right" in caught.value.remedy and not (tmp_path / "run" / "ingest").exists()


def test_an_object_of_several_parts(s3):
    body = os.urandom(20 * 2**20)
    s3.upload_fileobj(io.BytesIO(body), "models", "large/a.jsonl")
    assert s3.head_object(Bucket="models", Key="large/a.jsonl")["ETag"].strip('"').endswith("-3"), "sent in three parts"
    assert storage.fetch("s3://models/large/a.jsonl").read_bytes() == body


def test_a_certificate_of_the_house_s_own(s3, monkeypatch, tmp_path):
    """Trusted when AWS_CA_BUNDLE names it, and otherwise one clear line."""
    pem = tmp_path / "house.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=house"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    with pem.open("a") as file:
        file.write((tmp_path / "cert.pem").read_text())
    s3.put_object(Bucket="models", Key="tls/a.jsonl", Body=LINES)
    proxy = FaultyProxy(urlparse(os.environ["AWS_ENDPOINT_URL"]).port, pem)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ServiceFailed, match="(?i)certificate verify failed") as caught:
        sources("s3://models/tls/a.jsonl")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    (one,) = sources("s3://models/tls/a.jsonl")
    assert one.path.read_bytes() == LINES
    proxy.close()


@pytest.mark.parametrize("faults", [["503", "503"], ["slow"], ["cut"], ["503", "cut", "slow"]])
def test_faults_that_pass_end_in_success(s3, proxy, faults, tmp_path):
    body = os.urandom(300_000).hex().encode()
    s3.put_object(Bucket="models", Key="faulty/a.jsonl", Body=body)
    proxy.faults = list(faults)
    assert storage.fetch("s3://models/faulty/a.jsonl").read_bytes() == body
    assert proxy.seen > len(faults) or not proxy.faults


def test_a_store_that_stays_away_is_worth_a_retry_and_says_so(s3, proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy.faults = ["503"] * 50
    with pytest.raises(ServiceFailed, match="the store of 's3://models/faulty/a.jsonl' failed: 503|SlowDown"):
        ingest(whole_config("s3://models/faulty/a.jsonl"), tmp_path / "run")
    failure = read_json(tmp_path / "run" / "failure.json")
    assert failure["code"] == 4 and not failure["permanent"]
    proxy.faults = []
    s3.put_object(Bucket="models", Key="faulty/a.jsonl", Body=LINES)
    assert ingest(whole_config("s3://models/faulty/a.jsonl"), tmp_path / "run")["rows"] == 400
    assert len(load_split(tmp_path / "run" / "ingest", "train")) > 300
