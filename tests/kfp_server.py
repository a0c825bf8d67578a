"""A small HTTP server that speaks as much of Kubeflow Pipelines' API (v2beta1) as `raro submit` and `raro schedule` use.

Not Kubeflow: no real API server can run here. What makes it strict is Kubeflow's own generated client: a body is read through
the client's models, so an unknown field, a wrong type or an unknown word of an enumeration is refused as the real server's
protobuf reader would. Answers and errors have the shape of its gateway. Everything is kept in memory; `log` holds each request.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api as api
import yaml
from servers import Quiet, served

BASE = "/apis/v2beta1"
OUTPUT = {"recurring_run_id", "created_at", "updated_at", "status", "error", "run_id", "state", "state_history", "run_details"}


class Refusal(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Server:
    """What stands on the server, and how it misbehaves. token: what a request must bring. down: answers nothing but 503. page:
    answers as a proxy's login page. fail_after: successful writes after which every further write is a 500.
    together: clients that have each looked before any of them makes something but a run.
    hidden: an experiment that is in no list."""

    token: str = ""
    down: bool = False
    page: bool = False
    fail_after: int | None = None
    together: threading.Barrier | None = None
    hidden: str = ""
    lock: Any = field(default_factory=threading.RLock)
    address: str = ""
    pipelines: dict[str, dict] = field(default_factory=dict)
    versions: dict[str, dict] = field(default_factory=dict)
    experiments: dict[str, dict] = field(default_factory=dict)
    runs: dict[str, dict] = field(default_factory=dict)
    jobs: dict[str, dict] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    scripts: dict[str, Iterator[dict]] = field(default_factory=dict)  # run: its further states, one for each look
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def new(self, kind: str) -> str:
        return f"{kind}-{next(self.ids):04}"

    # ------------------------------------------------------------------------------------------------------------ the answers

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> dict[str, Any]:
        for how, pattern, function in ROUTES:
            if how == method and (found := re.fullmatch(BASE + pattern, path)):
                if how != "GET" and self.fail_after is not None:
                    self.fail_after -= 1
                    if self.fail_after < 0:
                        raise Refusal(500, "Internal Server Error: connection to the database was lost")
                if how == "POST" and self.together and "/runs" not in path:
                    self.together.wait(60)
                with self.lock:
                    return function(self, [unquote(part) for part in found.groups()], query, body, kind)
        raise Refusal(404, f"Not Found: {method} {path}")

    def pipeline_by_name(self, parts, query, body, kind):
        found = [one for one in self.pipelines.values() if one["name"] == parts[0]]
        if not found:
            raise Refusal(404, f"Failed to get a pipeline with name {parts[0]}: not found")
        return found[0]

    def create_pipeline(self, parts, query, body, kind):
        given = _read("V2beta1Pipeline", body)
        if any(one["name"] == given["name"] for one in self.pipelines.values()):
            raise Refusal(409, f"Already exists: pipeline {given['name']}")
        return self._keep(self.pipelines, "pipeline_id", given)

    def upload_version(self, parts, query, body, kind):
        if query["pipelineid"] not in self.pipelines:
            raise Refusal(404, f"pipeline {query['pipelineid']} not found")
        message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        (part,) = (
            part for part in message.iter_parts() if part.get_param("name", header="content-disposition") == "uploadfile"
        )
        documents = list(yaml.safe_load_all(part.get_payload(decode=True)))
        if "pipelineInfo" not in documents[0]:
            raise Refusal(400, "Invalid input error: the pipeline spec is not valid")
        given = {"pipeline_id": query["pipelineid"], "name": query["name"], "display_name": query["name"]}
        if any((one["pipeline_id"], one["name"]) == (given["pipeline_id"], given["name"]) for one in self.versions.values()):
            raise Refusal(409, f"Already exists: pipeline version {given['name']}")
        return self._keep(self.versions, "pipeline_version_id", given)

    def list_versions(self, parts, query, body, kind):
        return _page("pipeline_versions", [one for one in self.versions.values() if one["pipeline_id"] == parts[0]], query)

    def list_experiments(self, parts, query, body, kind):
        shown = [one for one in self.experiments.values() if one["display_name"] != self.hidden]
        return _page("experiments", shown, query)

    def create_experiment(self, parts, query, body, kind):
        given = _read("V2beta1Experiment", body)
        if any(one["display_name"] == given["display_name"] for one in self.experiments.values()):
            raise Refusal(409, f"Already exists: experiment {given['display_name']}")
        return self._keep(self.experiments, "experiment_id", given)

    def create_run(self, parts, query, body, kind):
        given = self._checked(_read("V2beta1Run", body))
        return self._keep(self.runs, "run_id", {**given, "state": "PENDING"})

    def list_runs(self, parts, query, body, kind):
        order, _, way = query.get("sort_by", "").partition(" ")
        known = sorted(self.runs.values(), key=lambda run: run[order or "run_id"], reverse=way == "desc")
        return _page("runs", known, query)

    def get_run(self, parts, query, body, kind):
        if parts[0] not in self.runs:
            raise Refusal(404, f"Run {parts[0]} not found")
        self.runs[parts[0]] |= next(self.scripts.get(parts[0], iter(())), {})
        return self.runs[parts[0]]

    def list_jobs(self, parts, query, body, kind):
        return _page("recurringRuns", list(self.jobs.values()), query)

    def create_job(self, parts, query, body, kind):
        given = self._checked(_read("V2beta1RecurringRun", body))
        if not 1 <= int(given["max_concurrency"]) <= 10:
            raise Refusal(400, "Invalid input error: max_concurrency must be between 1 and 10")
        if len(given["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refusal(400, "Invalid input error: Schedule cron is not a supported format")
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[given.pop("mode")]
        return self._keep(self.jobs, "recurring_run_id", {**given, "status": status})

    def switch_job(self, parts, query, body, kind):
        self._job(parts[0])["status"] = {"enable": "ENABLED", "disable": "DISABLED"}[parts[1]]
        return {}

    def delete_job(self, parts, query, body, kind):
        self._job(parts[0])
        del self.jobs[parts[0]]
        return {}

    def _job(self, job: str) -> dict:
        if job not in self.jobs:
            raise Refusal(404, f"Recurring run {job} not found")
        return self.jobs[job]

    def _checked(self, given: dict) -> dict:
        reference = given["pipeline_version_reference"]
        if self.versions.get(reference["pipeline_version_id"], {}).get("pipeline_id") != reference["pipeline_id"]:
            raise Refusal(400, "Invalid input error: the pipeline version does not belong to the pipeline")
        if given["experiment_id"] not in self.experiments:
            raise Refusal(404, f"Experiment {given['experiment_id']} not found")
        if set(given["runtime_config"]["parameters"]) != {"config", "run"}:
            raise Refusal(400, "Invalid input error: parameters that the pipeline does not have")
        return {**given, "service_account": given.get("service_account") or "pipeline-runner"}

    def _keep(self, shelf: dict, key: str, given: dict) -> dict:
        made = {**given, key: self.new(key.removesuffix("_id"))}
        made["created_at"] = f"2026-01-01T00:00:{int(made[key][-2:]):02}Z"
        shelf[made[key]] = made
        return made


ROUTES: list[tuple[str, str, Callable]] = [
    ("GET", r"/pipelines/names/([^/]+)", Server.pipeline_by_name),
    ("POST", r"/pipelines", Server.create_pipeline),
    ("POST", r"/pipelines/upload_version", Server.upload_version),
    ("GET", r"/pipelines/([^/]+)/versions", Server.list_versions),
    ("GET", r"/experiments", Server.list_experiments),
    ("POST", r"/experiments", Server.create_experiment),
    ("POST", r"/runs", Server.create_run),
    ("GET", r"/runs", Server.list_runs),
    ("GET", r"/runs/([^/]+)", Server.get_run),
    ("GET", r"/recurringruns", Server.list_jobs),
    ("POST", r"/recurringruns", Server.create_job),
    ("POST", r"/recurringruns/([^/:]+):(enable|disable)", Server.switch_job),
    ("DELETE", r"/recurringruns/([^/]+)", Server.delete_job),
]


def _read(model: str, body: bytes) -> dict[str, Any]:
    """A body through the client's own model. Refuses what protobuf would refuse."""
    given = json.loads(body)
    _strict(model, given, model)
    return given


def _strict(model: str, given: Any, where: str) -> None:
    kind = getattr(api, model)
    if enumeration := getattr(kind, "allowable_values", None):
        if given not in enumeration:
            raise Refusal(400, f"invalid value for enum field {where}: {given!r}")
        return
    for key, value in given.items():
        if key not in kind.openapi_types:
            raise Refusal(400, f'unknown field "{key}" in {where}')
        if where.count(".") == 0 and key in OUTPUT:
            raise Refusal(400, f"{where}.{key} is output only")
        wanted = kind.openapi_types[key]
        if hasattr(api, wanted):
            _strict(wanted, value, f"{where}.{key}")
        elif wanted in ("str", "bool") and type(value).__name__ != wanted:
            raise Refusal(400, f"invalid value for {wanted} field {where}.{key}: {value!r}")


def graph(state: str, **steps: str) -> dict[str, Any]:
    """A run as Kubeflow tells of it: state, and each of Argo's nodes by the name that Argo shows, without a title or an error.
    steps: the state of each that is there; a driver ends in _driver, a stage has its own."""
    nodes = [("raro-retraining-x7k2p", state), ("root-driver", "SUCCEEDED"), ("root", state), ("exit-handler-1", state)]
    nodes += [("condition-branches-2", state), ("condition-7", state), ("condition-8", "SKIPPED")]
    for stage in ("data", "training", "judgement"):
        nodes += [(stage, state), *([] if f"{stage}_driver" in steps else [(f"{stage}-driver", "SUCCEEDED")])]
    for name, its in ((name.replace("_", "-"), its) for name, its in steps.items()):
        nodes += [(name, its), (f"{name}(0)", its)]
        nodes += [("executor", its), ("executor(0)", its)] if not name.endswith("driver") else []
    told = [{"task_id": str(i), "display_name": name, "state": its} for i, (name, its) in enumerate(nodes)]
    return {"state": state, "run_details": {"task_details": told}}


def _page(key: str, items: list[dict], query: dict[str, str]) -> dict[str, Any]:
    """Two to a page, so that reading on is needed."""
    start = int(query.get("page_token") or 0)
    further = {"next_page_token": str(start + 2)} if start + 2 < len(items) else {}
    return {key: items[start : start + 2], "total_size": len(items), **further}


class Handler(Quiet):
    """One request."""

    state: Server

    def _handle(self) -> None:
        parts, state = urlsplit(self.path), self.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        state.log.append(f"{self.command} {parts.path.removeprefix(BASE)}")
        if state.page:
            return self._send(200, b"<html><title>Log in</title></html>", "text/html")
        if state.down:
            return self._send(503, b"upstream connect error", "text/plain")
        if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
            return self._send(401, b"Jwt is expired", "text/plain")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        try:
            found = state.answer(self.command, parts.path, query, body, self.headers.get("Content-Type", ""))
        except Refusal as refusal:
            code = {400: 3, 404: 5, 409: 6}.get(refusal.status, 13)
            told = {"error": refusal.message, "code": code, "message": refusal.message, "details": []}
            return self._send(refusal.status, json.dumps(told).encode(), "application/json")
        self._send(200, json.dumps(found).encode(), "application/json")

    do_GET = do_POST = do_DELETE = _handle

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def kfp_server() -> Iterator[Server]:
    """The server on a port of its own; its `address` is what --endpoint takes."""
    state = Server()
    with served(type("Bound", (Handler,), {"state": state})) as server:
        state.address = server.address
        yield state
