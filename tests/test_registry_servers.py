"""The registry as it is deployed: MLflow with passwords and workspaces on a real PostgreSQL, artifacts on a real SeaweedFS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml
from audited import new_policy, tiny_model, whole_run
from servers import free_port, s3_server
from test_audit import crowd
from test_mlflow_settings import PROGRAMS, postgres

from raro import s3, s3_records
from raro.cli import main
from raro.config import parse
from raro.registry import log
from raro.registry.audit import audited
from raro.registry.desk import desk_of, key_of
from raro.registry.places import Bucket, Parameters
from raro.registry.promotion import promote

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(not PROGRAMS or os.geteuid() != 0, reason="needs PostgreSQL's own programs, and root to start them"),
]
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "secret",
    "MLFLOW_TRACKING_PASSWORD": "a-password-of-sixteen",
    "PGPASSWORD": "from-a-secret",
}


@contextmanager
def mlflow(place: Path, database: dict[str, str]) -> Iterator[str]:
    """MLflow's server with basic auth and workspaces, artifacts through it to S3."""
    (place / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\ndatabase_uri = postgresql+psycopg2:///mlflow_auth\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = free_port()
    # fmt: off
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", "postgresql+psycopg2:///mlflow", "--artifacts-destination", "s3://models/served",
               "--app-name", "basic-auth", "--enable-workspaces"]
    # fmt: on
    settings = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_AUTH_CONFIG_PATH": str(place / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": SECRETS["MLFLOW_TRACKING_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-the-server",
        "MLFLOW_S3_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
    }
    with open(place / "mlflow.log", "wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **database, **settings}, cwd=place, stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 500
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (place / "mlflow.log").read_text()[-3000:]
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except (URLError, OSError):
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[tuple[str, object]]:
    """(MLflow's address, a client of the store)."""
    place = tmp_path_factory.mktemp("deployed")
    (place / "weed").mkdir()
    patch = pytest.MonkeyPatch()
    patch.setenv("RARO_CACHE", str(place / "cache"))
    patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_TRACKING_PASSWORD"])
    with s3_server(place / "weed") as client, postgres() as database, mlflow(place, database) as address:
        yield address, client
    patch.undo()


def registered(tmp_path: Path, address: str, store: str, name: str):
    policy = new_policy(tmp_path / "keys", approvals=1)
    settings = {
        "model": name,
        "store": store,
        "policy": str(policy),
        "signing_key": f"file:{tmp_path / 'keys' / 'pipeline.pem'}",
    }
    config = parse({"base": {"uri": str(tiny_model(tmp_path / "base"))}, "tracking": {"uri": address}, "registry": settings})
    whole_run(config, tmp_path / "run", tmp_path / "base", 0.5)
    return config


def no_secret_in(address: str, config, desk, place) -> None:
    """Neither tags, parameters, the log nor the run's files hold a password."""
    version = desk.version("1")
    run = desk.client.get_run(version.run_id)
    told = [*version.tags.values(), *desk.registered().tags.values(), *run.data.tags.values(), *run.data.params.values()]
    told += [line.decode() for line in place.lines().values()]
    for one in desk.client.list_artifacts(run.info.run_id):
        if not one.is_dir:
            told.append(Path(desk.client.download_artifacts(run.info.run_id, one.path)).read_text(errors="replace"))
    assert len(told) > 50
    for secret in SECRETS.values():
        if secret != "secret":  # a word that stands in our own texts
            assert not [text for text in told if secret in text]


def test_with_direct_s3_the_files_lie_there_once_and_every_change_is_found(deployed, tmp_path, capsys):
    address, client = deployed
    config = registered(tmp_path, address, "s3://models/shelf", "direct")
    desk = desk_of(config, tmp_path / "run")
    root = desk.version("1").tags["raro.root"]
    assert desk.version("1").source == f"s3://models/shelf/models/{root}"
    place = desk.place()
    assert isinstance(place, Bucket)
    assert place.address == "s3://models/shelf/audit/direct"
    promote(desk, "challenger", "Ada", "it holds", key_of(None, f"file:{tmp_path / 'keys' / 'Ada.pem'}"))
    with audited(desk, "champion") as made:
        assert made.breaks == []
    no_secret_in(address, config, desk, place)
    stored = [item["Key"] for item in client.list_objects_v2(Bucket="models").get("Contents", ())]
    assert len([key for key in stored if key.endswith("00001-of-00003.safetensors")]) == 1, "the weights lie there once"
    # Serving: the manifest's own init container, as far as it runs without a cluster.
    image = "registry.example.org/raro-cpu@sha256:" + "ab" * 32
    assert main(["serve", "direct@champion", "--run", str(tmp_path / "run"), "--image", image]) == 0
    (init,) = yaml.safe_load(capsys.readouterr().out)["spec"]["predictor"]["initContainers"]
    words = {"/mnt/models": str(tmp_path / "volume"), "/policy/policy.yaml": config.registry.policy}
    assert main([words.get(word, word) for word in init["args"]]) == 0
    # Nothing is sent twice, and a record cannot be overwritten.
    before = client.head_object(Bucket="models", Key=f"shelf/models/{root}/config.json")["LastModified"]
    time.sleep(1.1)
    s3.upload(tmp_path / "volume", f"s3://models/shelf/models/{root}")
    assert client.head_object(Bucket="models", Key=f"shelf/models/{root}/config.json")["LastModified"] == before
    assert not s3_records.create(f"{place.address}/00000001.jsonl", b"{}\n")
    # Tampering.
    key = f"shelf/models/{root}/tokenizer.json"
    kept = client.get_object(Bucket="models", Key=key)["Body"].read()
    client.put_object(Bucket="models", Key=key, Body=kept + b" ")
    with audited(desk, "champion") as made:
        assert any("tokenizer.json" in one for one in made.breaks)
    assert main([words.get(word, word).replace("volume", "volume-2") for word in init["args"]]) == 3
    assert not (tmp_path / "volume-2").exists()
    client.put_object(Bucket="models", Key=key, Body=kept)
    client.delete_object(Bucket="models", Key="shelf/audit/direct/00000005.jsonl")
    with audited(desk, "champion") as made:
        assert any("cut off" in one for one in made.breaks)


def test_many_writers_on_s3_lose_nothing(deployed):
    crowd(Bucket("s3://models/crowd"), writers=3, each=2)


def test_with_proxied_artifacts_the_log_lies_in_mlflow(deployed, tmp_path, monkeypatch):
    address, client = deployed
    from mlflow import MlflowClient

    MlflowClient(address, address).create_workspace("ward")
    monkeypatch.setenv("MLFLOW_WORKSPACE", "ward")
    config = registered(tmp_path, address, "", "proxied")
    desk = desk_of(config, tmp_path / "run")
    assert isinstance(desk.place(), Parameters)
    promote(desk, "challenger", "Ada", "it holds", key_of(None, f"file:{tmp_path / 'keys' / 'Ada.pem'}"))
    with audited(desk, "champion") as made:
        assert made.breaks == []
    assert desk.aliases() == {"champion": "1"}
    no_secret_in(address, config, desk, desk.place())
    records, wrong = log.read(desk.place(), "proxied", desk.policy)
    assert (wrong, [r.action for r in records]) == ([], ["registered", "evaluated", "held", "approved", "promoted"])
    stored = [item["Key"] for item in client.list_objects_v2(Bucket="models").get("Contents", ())]
    mine = [key for key in stored if key.endswith("tokenizer.json") and "served" in key]
    assert len(mine) == 1, "one upload"
    client.put_object(Bucket="models", Key=mine[0], Body=b"{}")
    with audited(desk, "champion") as made:
        assert any("tokenizer.json" in one for one in made.breaks)
    monkeypatch.setenv("MLFLOW_WORKSPACE", "default")
    assert desk_of(config, tmp_path / "run").registered() is None, "another workspace sees nothing of it"


def test_a_wrong_password_is_one_line_without_it(deployed, tmp_path, monkeypatch, capsys):
    address, _ = deployed
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-password-of-sixteen")
    assert main(["audit", "verify", "direct@champion", "--tracking-uri", address]) == 2
    said = capsys.readouterr().err
    assert "refuses the account 'admin'" in said
    assert "wrong-password" not in said
    assert json.dumps(said).count("\\n") <= 2
