"""As much of Kubernetes' API as a task needs that launches a TrainJob, on loopback. Trainer's part is played by processes: each
node of a job runs the job's own command with the environment that Trainer's torch plugin gives it. No admission, no schema, no
scheduler.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from servers import Quiet, free_port, served

JOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/raro/trainjobs(?:/([\w-]+))?")
PODS = re.compile(r"/api/v1/namespaces/raro/pods(?:/([\w-]+)/log)?")


class Kubernetes:
    """jobs: those that stand. seen: (method, name) of every request. answers: codes given before anything is looked at.
    suspended: seconds for which a queue holds a new job. held: {rank: its pod's status, None where it has no pod} of nodes that
    do not come. unknown: a field of a job's spec that the installed Trainer lacks."""

    def __init__(self, place: Path):
        self.place, self.suspended, self.unknown = place, 0.0, ""
        self.held: dict[int, dict[str, Any] | None] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, list[subprocess.Popen]] = {}
        self.created: list[dict[str, Any]] = []
        self.seen: list[tuple[str, str]] = []
        self.answers: list[int] = []

    def create(self, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        self.jobs[name] = body | {"status": {"conditions": []}, "began": time.monotonic()}
        self.created.append(body)
        threading.Timer(self.suspended, self._start, [name]).start()

    def _start(self, name: str) -> None:
        if name not in self.jobs:
            return
        trainer, port = self.jobs[name]["spec"]["trainer"], str(free_port())
        command = [sys.executable if word == "python3" else word for word in trainer["command"]]
        plain = {one["name"]: one["value"] for one in trainer["env"] if "value" in one}
        given = {"PET_NNODES": trainer["numNodes"], "PET_NPROC_PER_NODE": trainer["numProcPerNode"]}
        given |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        started = []
        for rank in sorted(set(range(trainer["numNodes"])) - set(self.held)):
            environment = {key: value for key, value in os.environ.items() if not key.startswith("RARO_")}
            environment |= plain | {key: str(value) for key, value in given.items()} | {"PET_NODE_RANK": str(rank)}
            with open(self.log(name, rank), "w", encoding="utf-8") as log:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        self.nodes[name] = started  # at once: of a job with no node yet, all have ended

    def log(self, name: str, rank: int) -> Path:
        return self.place / f"{name}-{rank}.log"

    def look(self, name: str) -> dict[str, Any] | None:
        """The job with its conditions as they are now."""
        job = self.jobs.get(name)
        if job is None:
            return None
        codes = [node.poll() for node in self.nodes.get(name, [])]
        told = []
        if name not in self.nodes:
            told = [condition("Suspended", "the queue is full")] if self.suspended else []
        elif any(codes):
            told = [condition("Failed", f"node {next(i for i, code in enumerate(codes) if code)} ended badly")]
        elif not self.held and all(code == 0 for code in codes):
            told = [condition("Complete", "")]
        return {key: value for key, value in job.items() if key != "began"} | {"status": {"conditions": told}}

    def delete(self, name: str) -> bool:
        for node in self.nodes.pop(name, []):
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        return self.jobs.pop(name, None) is not None

    def pods(self, selector: str) -> list[dict[str, Any]]:
        name = re.search(r"jobset-name=([\w-]+)", selector)[1]
        if name not in self.nodes:
            return []
        phases = {None: "Running", 0: "Succeeded"}
        ranks = sorted(set(range(len(self.nodes[name]) + len(self.held))) - set(self.held))
        found = {rank: {"phase": phases.get(node.poll(), "Failed")} for rank, node in zip(ranks, self.nodes[name], strict=True)}
        found |= {rank: {"phase": "Pending", **status} for rank, status in self.held.items() if status is not None}
        if "job-completion-index=0" in selector:
            found = {rank: status for rank, status in found.items() if rank == 0}
        now = datetime.now(UTC).isoformat()
        return [
            {"metadata": {"name": f"{name}-node-0-{rank}", "creationTimestamp": now}, "status": status}
            for rank, status in sorted(found.items())
        ]

    def lines(self, pod: str) -> Iterator[bytes]:
        """Node 0's log as it grows, to its end."""
        name = pod.removesuffix("-node-0-0")
        with open(self.log(name, 0), "rb") as file:
            while True:
                ended = name not in self.nodes or self.nodes[name][0].poll() is not None
                if found := file.read():
                    yield found
                elif ended:
                    return
                time.sleep(0.05)


def condition(kind: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": kind, "message": message}


@contextmanager
def kubernetes_server(place: Path) -> Iterator[Kubernetes]:
    """Yields the server; place/kubeconfig leads to it."""
    state = Kubernetes(place)

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            path = urlsplit(self.path)
            job, pod = JOBS.fullmatch(path.path), PODS.fullmatch(path.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "{}")
            state.seen.append((self.command, path.path.rpartition("/")[2]))
            if not pod and state.answers and (code := state.answers.pop(0)) != 200:
                return self._answer(code, {"kind": "Status", "message": f"the server says {code}"})
            if job and self.command == "POST":
                if body["metadata"]["name"] in state.jobs:
                    return self._answer(409, {"message": "already exists"})
                if state.unknown in body["spec"] and parse_qs(path.query).get("fieldValidation") == ["Strict"]:
                    return self._answer(400, {"message": f'strict decoding error: unknown field "spec.{state.unknown}"'})
                body["spec"].pop(state.unknown, None)
                state.create(body)
                return self._answer(201, body)
            if job and self.command == "DELETE":
                return self._answer(200 if state.delete(job[1]) else 404, {"kind": "Status"})
            if job:
                found = state.look(job[1])
                return self._answer(200 if found else 404, found or {"message": "not found"})
            if pod and pod[1]:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for lines in chain(state.lines(pod[1]), [b""]):
                    self.wfile.write(f"{len(lines):x}\r\n".encode() + lines + b"\r\n")
                    self.wfile.flush()
                return None
            if pod:
                items = state.pods(parse_qs(path.query)["labelSelector"][0])
                return self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": items})
            return self._answer(404, {"message": "no such path"})

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _do

    with served(Handler) as server:
        parts = {
            "clusters": [{"name": "here", "cluster": {"server": server.address}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        kubeconfig = {"apiVersion": "v1", "kind": "Config", "current-context": "here", **parts}
        (place / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        try:
            yield state
        finally:
            for name in list(state.jobs):
                state.delete(name)
