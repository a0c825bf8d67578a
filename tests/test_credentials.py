"""Credentials of a store that run out, or that a program does not give: worth another try, and no secret in the line."""

from __future__ import annotations

import traceback

import pytest
from servers import Quiet, served

from raro import s3_client, s3_records, storage
from raro.errors import ServiceFailed
from raro.tracking import server


class Expired(Quiet):
    """A store whose every answer is that the session has ended; HEAD's has no words."""

    code = "ExpiredToken"

    def _any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = b"" if self.command == "HEAD" else f"<Error><Code>{self.code}</Code><Message>ended</Message></Error>".encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_PUT = do_HEAD = do_POST = _any


@pytest.fixture
def expired(monkeypatch):
    with served(Expired) as house:
        told = {"ENDPOINT_URL": house.address, "DEFAULT_REGION": "us-east-1", "MAX_ATTEMPTS": "1"}
        for name, value in (told | {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "SESSION_TOKEN": "t"}).items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"])
def test_a_session_that_has_ended_is_worth_a_retry_with_fresh_credentials(expired, monkeypatch, tmp_path, code):
    monkeypatch.setattr(Expired, "code", code)
    (folder := tmp_path / "model").mkdir()
    (folder / "config.json").write_text("{}")
    for ask in (
        lambda: storage.fetch("s3://bucket/model", cache=tmp_path),
        lambda: storage.put_folder(folder, "s3://bucket/model"),
        lambda: s3_records.create("s3://bucket/log/1.jsonl", b"{}"),
        lambda: s3_records.read("s3://bucket/log"),
    ):
        with pytest.raises(ServiceFailed, match=f"^the credentials for 's3://bucket/.*' have run out: {code} ") as caught:
            ask()
        assert "fresh credentials" in caught.value.remedy and not caught.value.permanent
    with pytest.raises(ServiceFailed, match="failed: 400") as caught, s3_client.speaking("s3://bucket/model") as client:
        client.head_object(Bucket="bucket", Key="model/config.json")
    assert "if the credentials are a session's, put fresh credentials" in caught.value.remedy


def test_what_a_program_for_credentials_says_is_not_recorded(monkeypatch, tmp_path):
    """botocore's line of it holds all of its standard error."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'the password hunter2 is wrong' >&2\nexit 3\n")
    program.chmod(0o755)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\nregion = us-east-1\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"CONFIG_FILE": tmp_path / "config", "SHARED_CREDENTIALS_FILE": tmp_path / "none"}.items():
        monkeypatch.setenv(f"AWS_{name}", str(value))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    def uploaded() -> None:
        from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

        with server.speaking("http://mlflow"):
            S3ArtifactRepository("s3://bucket/mlflow").list_artifacts()

    for ask in (lambda: storage.fetch("s3://bucket/model", cache=tmp_path), uploaded):
        with pytest.raises(ServiceFailed, match="custom-process gives none") as caught:
            ask()
        told = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in told and caught.value.remedy
