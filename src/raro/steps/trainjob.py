"""Training on many nodes: a TrainJob of Kubeflow Trainer (2.2 or later) that this task creates, watches and takes away again.

The task itself is light: it holds no GPU and waits, however long the nodes take to come (a queue may hold them for days). What
node 0 prints is printed here. The job is deleted when it has succeeded, when it has failed, and when this task is stopped.
Should this task's node be lost, Kubernetes deletes the job with the pod that owns it, and the next try or the exit handler
deletes what it still finds. The run's folder lies on the volume that all nodes mount; a job goes on from the last checkpoint.

How nodes are locked down stands in the ClusterTrainingRuntime (k8s/trainer), what the profile asks for in the TrainJob: Trainer
merges its patch into the runtime as `kubectl patch` would, volumes by name, mounts by path.
Trainer gives torch's launcher the number of nodes, the rank and the address of the first (PET_NNODES, PET_NODE_RANK, ...).
API: https://github.com/kubeflow/trainer/blob/master/pkg/apis/trainer/v1alpha1/trainjob_types.go
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput, RaroError, ServiceFailed
from ..storage import digest_text
from .trainer_api import GROUP, OF_JOB, VERSION, Cluster

VARIABLE = "RARO_TRAINJOB"  # the Order as JSON, in the environment of a task that shall launch one
RUN = "raro.run"
POLL = 5.0  # seconds between two looks
PATIENCE = 900.0  # seconds of silence from Kubernetes after which the task gives up; its next try goes on
GONE = 120.0  # seconds for a deleted job to be gone
LATE = 300.0  # seconds after which it is told once which nodes are not there and why


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run asks for. gpu: resource name of the accelerator. tolerations, affinity, env, volumes, mounts, security: every
    node's, as Kubernetes writes them. queue, priority: Kueue's. pull_secrets: names of what opens the image's registry."""

    runtime: str
    image: str
    nodes: int
    cpu: str
    memory: str
    gpu: str
    gpus: int
    queue: str = ""
    priority: str = ""
    selectors: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, str]] = field(default_factory=list)
    affinity: dict[str, Any] = field(default_factory=dict)
    env: list[dict[str, Any]] = field(default_factory=list)
    pull_secrets: list[str] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, str]] = field(default_factory=list)
    security: dict[str, int] = field(default_factory=dict)

    @classmethod
    def given(cls) -> Order | None:
        """The one that this task was given; None where it shall train by itself."""
        text = os.environ.get(VARIABLE)
        return cls(**json.loads(text)) if text else None

    def written(self) -> str:
        """As `given` reads it."""
        return json.dumps(asdict(self), sort_keys=True)


def per_node(processes: int, nodes: int) -> int:
    """Processes of each node. Raises BadInput where they cannot be the same number on each."""
    if processes % nodes:
        line = f"resources.processes is {processes}, and cannot be dealt evenly among {nodes} nodes"
        raise BadInput(line, f"give a multiple of {nodes}: one process for each GPU")
    return processes // nodes


def name_of(run: Path) -> str:
    """The job's name: the same for every try of one run's training."""
    return f"raro-train-{digest_text(str(run.resolve()))[:12]}"


def queued(queue: str, priority: str) -> dict[str, str]:
    """Kueue's labels of what waits in a queue, with a priority; empty for none."""
    labels = {"queue-name": queue, "priority-class": priority}
    return {f"kueue.x-k8s.io/{label}": value for label, value in labels.items() if value}


def manifest(order: Order, run: Path, command: list[str], processes: int) -> dict[str, Any]:
    """The TrainJob. command: what each node runs."""
    pod, uid = os.environ.get("RARO_POD_NAME"), os.environ.get("RARO_POD_UID")
    owner = [{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}] if pod and uid else []
    labels = {"app.kubernetes.io/part-of": "raro", RUN: name_of(run)}
    labels |= queued(order.queue, order.priority)
    wanted = {"cpu": order.cpu, "memory": order.memory} | ({order.gpu: str(order.gpus)} if order.gpus else {})
    pod_spec: dict[str, Any] = {"nodeSelector": order.selectors, "tolerations": order.tolerations}
    pod_spec |= {"affinity": order.affinity} if order.affinity else {}
    pod_spec |= {"imagePullSecrets": [{"name": one} for one in order.pull_secrets]} if order.pull_secrets else {}
    pod_spec |= {"volumes": order.volumes, "containers": [{"name": "node", "volumeMounts": order.mounts}]}
    pod_spec |= {"securityContext": order.security}
    placed = {"replicatedJobs": [{"name": "node", "template": {"spec": {"template": {"spec": pod_spec}}}}]}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": name_of(run), "labels": labels, "ownerReferences": owner},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": order.runtime},
            "trainer": {
                "image": order.image,
                "command": command,
                "env": order.env,
                "numNodes": order.nodes,
                "numProcPerNode": per_node(processes, order.nodes),
                "resourcesPerNode": {"requests": wanted, "limits": wanted},
            },
            "runtimePatches": [{"manager": "raro/launcher", "trainingRuntimeSpec": {"template": {"spec": placed}}}],
        },
    }


def train(order: Order, run: Path, command: list[str], processes: int) -> None:
    """Creates the job and waits for its end. Raises ServiceFailed where it failed or Kubernetes is silent, BadInput where it is
    refused, KeyboardInterrupt where this task is stopped; the job is gone in each case."""
    cluster, name = Cluster(), name_of(run)
    body = manifest(order, run, command, processes)
    _take_away(cluster, name)
    over = threading.Event()
    try:
        cluster.create(body)
        threading.Thread(target=_print_log, args=(cluster, name, over), daemon=True).start()
        _wait(cluster, name, order.nodes)
    finally:
        over.set()
        with contextlib.suppress(RaroError):  # what happened before is what is told
            cluster.delete(name)


def remove(run: Path) -> None:
    """Deletes the run's job where one is left. Raises RaroError where Kubernetes does not let us."""
    Cluster().delete(name_of(run))


def _take_away(cluster: Cluster, name: str) -> None:
    """An earlier try's job, whose nodes would write into the same folder. Raises BadInput where it is not ours."""
    found, started = cluster.get(name), time.monotonic()
    if found and found["metadata"].get("labels", {}).get(RUN) != name:
        raise BadInput(f"a TrainJob named '{name}' exists and is not ours", "rename or delete it")
    while found:
        cluster.delete(name)
        if time.monotonic() - started > GONE:
            raise ServiceFailed(f"the TrainJob '{name}' of an earlier try does not end", "see what holds it")
        time.sleep(min(POLL, 1.0))
        found = cluster.get(name)


def _wait(cluster: Cluster, name: str, nodes: int) -> None:
    heard, told, late = time.monotonic(), "", math.inf
    while True:
        try:
            found = cluster.get(name)
            heard = time.monotonic()
        except ServiceFailed:
            if time.monotonic() - heard > PATIENCE:
                raise
            time.sleep(POLL)
            continue
        if found is None:
            raise ServiceFailed(f"the TrainJob '{name}' was deleted by somebody else", "the next try goes on where it was")
        state, why = _state(found)
        if state != told:
            told, late = state, time.monotonic() + LATE
            print(f"TrainJob {name}: {state.lower()}", flush=True)
        if state == "Created" and time.monotonic() > late:
            late = math.inf
            _tell_missing(cluster, name, nodes)
        if state == "Complete":
            return
        if state == "Failed":
            raise ServiceFailed(f"the TrainJob '{name}' failed: {why}", "node 0's words are in this task's log")
        time.sleep(POLL)


def _state(job: Mapping[str, Any]) -> tuple[str, str]:
    """(Created, Suspended, Complete or Failed; why)."""
    true = [one for one in job.get("status", {}).get("conditions", []) if one["status"] == "True"]
    for wanted in ("Failed", "Complete", "Suspended"):
        for one in true:
            if one["type"] == wanted:
                return wanted, " ".join(one.get("message", "").split())[:200] or one.get("reason", "no reason")
    return "Created", ""


def _tell_missing(cluster: Cluster, name: str, nodes: int) -> None:
    """Prints how many of the nodes' pods exist and why some wait, for people: nothing fails because of it."""
    with contextlib.suppress(RaroError):
        pods = cluster.pods(name)
        waiting: dict[str, list[str]] = {}
        for pod in pods:
            if pod.status.phase == "Pending":
                waiting.setdefault(_why(pod), []).append(pod.metadata.name)
        if waiting or len(pods) < nodes:
            print(f"TrainJob {name}: {len(pods)} pods of {nodes} nodes exist", flush=True)
        for why, names in waiting.items():
            more = f" and {len(names) - 1} more" if names[1:] else ""
            print(f"  {names[0]}{more}: {why}", flush=True)
        if len(pods) < nodes:
            print(f"  the others: kubectl -n {cluster.namespace} describe jobs -l {OF_JOB}={name}", flush=True)


def _why(pod: Any) -> str:
    """Why a pod waits, as its node or the scheduler says it."""
    containers = [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]
    told = [one.state.waiting for one in containers if one.state and one.state.waiting]
    told += [one for one in pod.status.conditions or () if (one.type, one.status) == ("PodScheduled", "False")]
    return (
        " ".join(f"{told[0].reason}: {told[0].message or ''}".split())[:200].removesuffix(":") if told else "no reason is told"
    )


def _print_log(cluster: Cluster, name: str, over: threading.Event) -> None:
    """Prints node 0's log, for people: a stream that breaks is taken up again where it was, and nothing fails because of it."""
    heard: dict[str, float] = {}  # when something was last heard of each pod
    while not over.wait(1.0):
        with contextlib.suppress(Exception):
            pod = cluster.first_pod(name)
            if pod is None or (pod.metadata.name in heard and pod.status.phase != "Running"):
                continue
            last = heard.get(pod.metadata.name)
            lines = cluster.log(pod.metadata.name, None if last is None else max(1, int(time.monotonic() - last)))
            heard[pod.metadata.name] = time.monotonic()
            for line in lines:
                print(line, flush=True)
                heard[pod.metadata.name] = time.monotonic()
