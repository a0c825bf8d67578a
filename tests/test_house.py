"""What a house asks of every connection: its own certificate authority, its proxy, its encryption at rest. Real TLS, a proxy's
requests and real headers, on loopback; each is a variable that the profile sets for every task (pipelines/cluster.py).
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from servers import Quiet, served

from raro import cli, s3, s3_records
from raro.config import parse
from raro.errors import BadInput, ServiceFailed
from raro.steps import notice, run_step
from raro.tracking import runs
from raro.tracking import server as tracking

KMS = '{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-of-the-house"}'


@contextmanager
def listener(
    certificate: tuple[Path, Path] | None = None, account: str = "", leads: str = "", says: bytes = b""
) -> Iterator[SimpleNamespace]:
    """A server that says 200 to everything, or 401 to who does not send this header Authorization, or leads on to the address
    `leads`, or says only `says`. heard: (what was asked for, headers)."""
    heard = []

    class Handler(Quiet):
        def _do(self) -> None:
            heard.append((self.path, dict(self.headers)))
            if "100-continue" in self.headers.get("Expect", "").lower():
                pass  # http.server has told it to go on
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if says:
                self.wfile.write(says)
                return
            refused = account and self.headers.get("Authorization") != account
            self.send_response(401 if refused else 302 if leads else 200)
            if leads:
                self.send_header("Location", leads + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = _do

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if tls:
        tls.load_cert_chain(*certificate)
    with served(Handler, tls) as server:
        yield SimpleNamespace(url=server.address, heard=heard)


@pytest.fixture
def certificate(tmp_path) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, signed by itself: an authority that nobody but the house knows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the house")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = builder.add_extension(address, False).add_extension(x509.BasicConstraints(True, None), True)
    signed = made.sign(key, hashes.SHA256())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "ca.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*form))
    return tmp_path / "ca.crt", tmp_path / "key.pem"


@pytest.fixture(autouse=True)
def store(monkeypatch):
    given = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """No account of MLflow, neither in the environment nor at home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in tracking.ACCOUNT:
        monkeypatch.delenv(name, raising=False)


def test_uploads_go_through_the_proxy_and_ask_for_the_houses_key(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1234")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example.org")
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", KMS)
    with listener() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert s3_records.create("s3://bucket/log/000001.json", b"{}")
        s3.upload(tmp_path / "model", "s3://bucket/models/one")
    assert [path for path, _ in proxy.heard] == [
        "http://store.example.org/bucket/log/000001.json",
        "http://store.example.org/bucket/models/one/weights",
    ]
    for _, headers in proxy.heard:
        sent = {name.lower(): value for name, value in headers.items()}
        assert sent["x-amz-server-side-encryption"] == "aws:kms"
        assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "key-of-the-house"


def test_mlflows_own_uploads_ask_for_the_houses_key(monkeypatch, tmp_path):
    """What its server does with an artifact, from the variable that k8s/base/mlflow.yaml hands it."""
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

    (tmp_path / "report.html").write_text("one")
    with listener() as house:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", house.url)
        monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", KMS)
        S3ArtifactRepository("s3://bucket/mlflow").log_artifact(str(tmp_path / "report.html"))
    (headers,) = (headers for path, headers in house.heard if path == "/bucket/mlflow/report.html")
    sent = {name.lower(): value for name, value in headers.items()}
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "key-of-the-house"


def test_a_store_that_takes_no_newer_checksums_is_sent_none(monkeypatch, tmp_path):
    """Neither by us nor by MLflow, in one part or several; a record has the older Content-MD5, for object lock asks for one."""
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1234")

    def heard(url: str) -> dict[str, set[str]]:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", url)
        assert s3_records.create("s3://bucket/log/1.json", b"{}")
        s3.upload(tmp_path / "model", "s3://bucket/models")
        S3ArtifactRepository("s3://bucket/mlflow").log_artifact(str(tmp_path / "model" / "weights"))
        return {path: {name.lower() for name in headers} for path, headers in house.heard}

    def newer(sent: set[str]) -> list[str]:
        return [name for name in sent if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer"))]

    with listener() as house:
        found = heard(house.url)
    assert len(found) == 3 and all(newer(sent) for sent in found.values()), "what such a store would refuse"
    for name in ("REQUEST_CHECKSUM_CALCULATION", "RESPONSE_CHECKSUM_VALIDATION"):
        monkeypatch.setenv(f"AWS_{name}", "when_required")
    with listener() as house:
        found = heard(house.url)
    assert len(found) == 3 and not any(newer(sent) for sent in found.values()), found
    assert "content-md5" in found["/bucket/log/1.json"]


@pytest.mark.parametrize("text", ["aws:kms", '{"ACL": "public-read"}', '{"SSEKMSKeyId": 3}', "[]"])
def test_what_asks_for_something_else_is_refused(monkeypatch, text):
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", text)
    with pytest.raises(BadInput, match="is not a JSON object with some of SSEKMS"):
        s3.encryption()


def test_secrets_that_are_missing_are_told_in_a_line(nobody, monkeypatch, tmp_path):
    """The profile's secrets are optional: where one does not exist, the variable is not set, and preflight finds out. That
    MLflow itself answers 401 to the same request: test_mlflow_settings.py."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with listener(account="Basic YTpi") as house:
        monkeypatch.setenv("AWS_ENDPOINT_URL", house.url)
        small = {"policy_tokens": 64, "critic_tokens": 64}
        store = parse({"demonstrations": {"source": "s3://bucket/data.jsonl"}, "rollout": small})
        with pytest.raises(BadInput, match="no credentials for 's3://bucket/data.jsonl'") as refusal:
            run_step("preflight", store, tmp_path / "store")
        assert "AWS_ACCESS_KEY_ID" in refusal.value.remedy and refusal.value.code == 2
        tracked = parse({"tracking": {"uri": house.url}, "rollout": small})
        with pytest.raises(BadInput, match="asks for an account, and MLFLOW_TRACKING_USERNAME") as refusal:
            run_step("preflight", tracked, tmp_path / "tracked")
        assert "raro-mlflow" in refusal.value.remedy and refusal.value.code == 2
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "old")
        with pytest.raises(BadInput, match="refuses MLFLOW_TRACKING_TOKEN"):
            tracking.check(tracked)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "a")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        with pytest.raises(BadInput, match="refuses the account 'a'"):
            tracking.check(tracked)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "b")
        tracking.check(tracked)


@pytest.mark.parametrize("variable", tracking.ACCOUNT)
@pytest.mark.parametrize("value", ["sentinel\n", "senti\r\nnel", "sentinel\u2028"])
def test_an_account_that_no_header_may_hold_is_named_and_shown_nowhere(nobody, monkeypatch, tmp_path, capfd, variable, value):
    """A secret written with a line's end. Neither preflight nor a client of MLflow gets as far as a server."""
    for name in tracking.ACCOUNT[:2]:
        monkeypatch.setenv(name, "a")
    monkeypatch.setenv(variable, value)
    run = tmp_path / "run"
    with listener() as house:
        config = parse({"tracking": {"uri": house.url}})
        assert cli.main(["step", "preflight", "--set", f"tracking.uri={house.url}", "--output", str(run)]) == 2
        with pytest.raises(BadInput, match=f"^{variable} holds a line's end") as refusal:
            runs.sync(config, run, force=True)
        assert not house.heard
    said = "".join(capfd.readouterr()) + str(refusal.value)
    assert f"{variable} holds a line's end" in said and f"{variable} holds" in (run / "failure.json").read_text()
    texts = [said, *(path.read_text(errors="replace") for path in run.rglob("*") if path.is_file())]
    assert not [text for text in texts if "senti" in text]


def test_a_token_of_other_letters_is_refused_and_a_name_of_them_is_not(nobody, monkeypatch):
    with listener() as house:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tökén")
        with pytest.raises(BadInput, match="^MLFLOW_TRACKING_TOKEN holds"):
            tracking.check(parse({"tracking": {"uri": house.url}}))
        monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "Zoë")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pä ß")
        tracking.check(parse({"tracking": {"uri": house.url}}))
    assert [headers["Authorization"] for _, headers in house.heard] == ["Basic Wm/Dqzpww6Qgw58="]


@pytest.mark.parametrize("account", [{"TOKEN": "secret"}, {"USERNAME": "a", "PASSWORD": "secret"}])
def test_a_server_that_is_led_on_to_hears_no_secret_and_judges_no_account(nobody, monkeypatch, account):
    for name, value in account.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with listener(account="nobody's") as other, listener(leads=other.url) as house:
        tracking.check(parse({"tracking": {"uri": house.url}}))
    assert "Authorization" in house.heard[0][1] and len(other.heard) == 1
    assert "Authorization" not in other.heard[0][1]


def test_what_speaks_no_http_is_not_judged_unless_it_must_answer(nobody):
    with listener(says=b"* OK IMAP4 ready\r\n") as house:
        tracking.check(parse({"tracking": {"uri": house.url}}))
        with pytest.raises(ServiceFailed, match="does not answer"):
            tracking.check(parse({"tracking": {"uri": house.url, "on_outage": "stop"}}))


def test_only_the_houses_authority_opens_its_doors(monkeypatch, tmp_path, certificate):
    """The store, the webhook, and MLflow's health as preflight asks for it: none without the authority, all with it. MLflow's
    client does not look at SSL_CERT_FILE, so for preflight that one is not enough either."""
    with listener(certificate) as house:
        monkeypatch.setenv("AWS_ENDPOINT_URL", house.url)
        monkeypatch.setenv("RARO_WEBHOOK", house.url)
        config = parse({"tracking": {"uri": house.url, "on_outage": "stop"}})
        with pytest.raises(ServiceFailed, match="does not answer"):
            s3_records.create("s3://bucket/key", b"{}")
        assert notice._post(house.url, b"{}") == (True, "does not answer: SSLCertVerificationError")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with pytest.raises(ServiceFailed, match="CERTIFICATE_VERIFY_FAILED.*REQUESTS_CA_BUNDLE"):
            tracking.check(config)
        assert not house.heard
        for variable in ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
            monkeypatch.setenv(variable, str(certificate[0]))
        assert s3_records.create("s3://bucket/key", b"{}")
        tracking.check(config)
        assert notice._post(house.url, b"{}") == (False, "")
    assert [path for path, _ in house.heard] == [
        "/bucket/key",
        "/health",
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "/",
    ]
