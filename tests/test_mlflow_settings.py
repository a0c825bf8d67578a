"""MLflow as k8s/base/mlflow.yaml starts it, on a real PostgreSQL: its arguments, its settings file, its variables.

What differs: no container, workers are one, and the store is never asked for anything.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml
from servers import free_port

ROOT = Path(__file__).parents[1]
LOCKED = ("--network", "host", "--read-only", "--cap-drop", "ALL", "--user", "65532:65532", "--tmpfs", "/tmp:mode=1777")
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(not PROGRAMS or os.geteuid() != 0, reason="needs PostgreSQL's own programs, and root to start them"),
]


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A database cluster of its own; yields libpq's variables for it."""
    place = Path(tempfile.mkdtemp(prefix="raro-postgres-"))  # pytest's own folders are closed to other users
    shutil.chown(place, "postgres", "postgres")
    port, programs = free_port(), PROGRAMS[-1]

    def run(*command: object) -> None:
        subprocess.run(["runuser", "-u", "postgres", "--", *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")

    (place / "password").write_text("from-a-secret")
    (place / "password").chmod(0o644)
    run(programs / "initdb", "-D", place / "data", "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", place / "password")
    settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {place} -c fsync=off"
    run(programs / "pg_ctl", "-D", place / "data", "-l", place / "log", "-w", "-o", settings, "start")
    variables = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "mlflow", "PGPASSWORD": "from-a-secret"}
    try:
        for command in ("CREATE DATABASE mlflow", initial_sql()):
            subprocess.run([programs / "psql", "-d", "postgres", "-qc", command], env={**os.environ, **variables}, check=True)
        yield variables
    finally:
        run(programs / "pg_ctl", "-D", place / "data", "-m", "immediate", "stop")
        shutil.rmtree(place, ignore_errors=True)


def manifest(name: str) -> list[dict]:
    return list(yaml.safe_load_all((ROOT / "k8s" / "base" / name).read_text(encoding="utf-8")))


def initial_sql() -> str:
    return manifest("postgres.yaml")[0]["data"]["auth.sql"]


@contextmanager
def deployed(place: Path, port: int = 0, image: str = "", **more: str) -> Iterator[str]:
    """MLflow's server as it is deployed, on a PostgreSQL of its own; yields its address once it answers. port: 5000 where it is
    to be reached by name, 0 for any. image: runs it in a container of this one, with podman. more: variables in the place of
    what the deployment takes from secrets and config maps."""
    settings, _, deployment, _ = manifest("mlflow.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    auth = place / "basic_auth.ini"
    auth.write_text(settings["data"]["basic_auth.ini"])
    told = [one for one in container["env"] if not one.get("valueFrom", {}).get("configMapKeyRef", {}).get("optional")]
    given = {variable["name"]: variable.get("value", f"the-{variable['name'].lower()}") for variable in told}
    given |= {"NAMESPACE": "raro", "POD_IP": "127.0.0.2", **more}
    port = port or free_port()
    arguments = [re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], word) for word in container["args"]]
    arguments = [{"--port=5000": f"--port={port}", "--workers=2": "--workers=1"}.get(word, word) for word in arguments]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with postgres() as database, open(place / "log", "wb") as log:
        given |= database
        if image:
            command = ["podman", "run", "--rm", *LOCKED, "--volume", f"{auth}:{given['MLFLOW_AUTH_CONFIG_PATH']}:ro"]
            command += [part for key, value in given.items() for part in ("--env", f"{key}={value}")] + [image]
        else:
            command, given = [sys.executable, "-m", "mlflow"], {**environment, **given, "MLFLOW_AUTH_CONFIG_PATH": str(auth)}
        process = subprocess.Popen(
            [*command, *arguments], env={**os.environ, **given}, cwd=place, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 400
            while ask(f"http://127.0.0.1:{port}/health", host="localhost") != 200:
                assert process.poll() is None and time.monotonic() < deadline, (place / "log").read_text()[-3000:]
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with deployed(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


def ask(url: str, host: str, user: tuple[str, str] | None = None, body: dict[str, str] | None = None) -> int:
    """The status of an answer; 0 where there is none. body: what is posted."""
    request = Request(url, headers={"Host": host})
    if body:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(user).encode()).decode())
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status
    except HTTPError as refusal:
        return refusal.code
    except (URLError, OSError):
        return 0


def test_only_its_own_names_and_only_with_a_password(address):
    admin = ("the-mlflow_auth_admin_username", "the-mlflow_auth_admin_password")
    listing = f"{address}/api/2.0/mlflow/experiments/search?max_results=1"
    for name in ("mlflow:5000", "mlflow.raro:5000", "mlflow.raro.svc.cluster.local:5000", "localhost"):
        assert ask(listing, name, admin) == 200, name
        assert ask(listing, name) == 401, name
    assert ask(listing, "mlflow.example.org", admin) == 403
    assert ask(listing, "mlflow:5000", (admin[0], "wrong")) == 401
    assert ask(f"{address}/health", "127.0.0.2:5000") == 200  # as the kubelet asks


def test_the_account_of_the_docs_may_edit_what_it_makes_and_nothing_else(address):
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    body, path = re.search(r"^curl --user admin .*-d '(.+?)' localhost:5000(\S+)$", text, re.MULTILINE).groups()
    admin = ("the-mlflow_auth_admin_username", "the-mlflow_auth_admin_password")
    account = {**json.loads(body), "password": "long-enough-for-MLflow"}
    assert ask(f"{address}{path}", "localhost:5000", admin, account) == 200
    raro, api = tuple(account.values()), f"{address}/api/2.0/mlflow"
    for kind, name in (("experiments", "raro"), ("registered-models", "raro")):
        assert ask(f"{api}/{kind}/create", "localhost:5000", raro, {"name": name}) == 200
    assert ask(f"{api}/runs/create", "localhost:5000", raro, {"experiment_id": "1"}) == 200
    version = {"name": "raro", "source": "s3://raro/models/one"}
    assert ask(f"{api}/model-versions/create", "localhost:5000", raro, version) == 200
    assert ask(f"{api}/runs/create", "localhost:5000", raro, {"experiment_id": "0"}) == 403
