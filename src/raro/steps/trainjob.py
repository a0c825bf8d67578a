"""Training on many nodes: a TrainJob of Kubeflow Trainer v2 that this task creates, watches and takes away again.

The task itself is light: it holds no GPU and waits, however long the nodes take to come (a queue may hold them for days). What
node 0 prints is printed here. The job is deleted when it has succeeded, when it has failed, and when this task is stopped.
Should this task's node be lost, Kubernetes deletes the job with the pod that owns it, and the next try or the exit handler
deletes what it still finds. The run's folder lies on the volume that all nodes mount; a job goes on from the last checkpoint.

What the nodes mount and may do stands in the ClusterTrainingRuntime (k8s/trainer), what one run asks for in the TrainJob.
Trainer gives torch's launcher the number of nodes, the rank and the address of the first (PET_NNODES, PET_NODE_RANK, ...).
API: https://github.com/kubeflow/trainer/blob/master/pkg/apis/trainer/v1alpha1/trainjob_types.go
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput, RaroError, ServiceFailed
from ..storage import digest_text

VARIABLE = "RARO_TRAINJOB"  # the Order as JSON, in the environment of a task that shall launch one
GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUN = "raro.run"
POLL = 5.0  # seconds between two looks
PATIENCE = 900.0  # seconds of silence from Kubernetes after which the task gives up; its next try goes on
GONE = 120.0  # seconds for a deleted job to be gone
REMEDIES = {
    403: "give the pods' service account the role raro-trainer (k8s/trainer)",
    404: "install Kubeflow Trainer v2, or set train.nodes to 1 in the profile",
    422: "see what the installed version of Kubeflow Trainer takes",
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run asks for. gpu: resource name of the accelerator. tolerations, env: every node's, as Kubernetes writes them."""

    runtime: str
    image: str
    nodes: int
    cpu: str
    memory: str
    gpu: str
    gpus: int
    queue: str = ""
    selectors: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, str]] = field(default_factory=list)
    env: list[dict[str, Any]] = field(default_factory=list)

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


def manifest(order: Order, run: Path, command: list[str], processes: int) -> dict[str, Any]:
    """The TrainJob. command: what each node runs."""
    pod, uid = os.environ.get("RARO_POD_NAME"), os.environ.get("RARO_POD_UID")
    owner = [{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}] if pod and uid else []
    labels = {"app.kubernetes.io/part-of": "raro", RUN: name_of(run)}
    labels |= {"kueue.x-k8s.io/queue-name": order.queue} if order.queue else {}
    wanted = {"cpu": order.cpu, "memory": order.memory} | ({order.gpu: str(order.gpus)} if order.gpus else {})
    pod_spec = {"nodeSelector": order.selectors, "tolerations": order.tolerations}
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


class Cluster:
    """Kubernetes' API as this task may use it: TrainJobs of its own namespace, and their pods' logs."""

    def __init__(self) -> None:
        from kubernetes import client, config

        try:
            if file := os.environ.get("KUBECONFIG"):
                config.load_kube_config(file)
            else:
                config.load_incluster_config()
        except config.ConfigException as error:
            raise BadInput("this task knows no Kubernetes to train on", "run it in a pod, or set KUBECONFIG") from error
        self._jobs, self._pods = client.CustomObjectsApi(), client.CoreV1Api()
        place = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        self.namespace = os.environ.get("RARO_NAMESPACE") or (place.read_text().strip() if place.is_file() else "default")
        self._which = {"group": GROUP, "version": VERSION, "namespace": self.namespace, "plural": PLURAL}

    def create(self, body: Mapping[str, Any]) -> None:
        """Raises BadInput where it is refused."""
        with _speaking(body["metadata"]["name"]):
            self._jobs.create_namespaced_custom_object(**self._which, body=body, _request_timeout=30)

    def get(self, name: str) -> dict[str, Any] | None:
        """The job; None where there is none."""
        with _speaking(name, missing=True):
            return self._jobs.get_namespaced_custom_object(**self._which, name=name, _request_timeout=30)
        return None

    def delete(self, name: str) -> None:
        """Deletes it and its pods; one that is gone is no failure."""
        with _speaking(name, missing=True):
            options = {"propagation_policy": "Foreground", "_request_timeout": 30}
            self._jobs.delete_namespaced_custom_object(**self._which, name=name, **options)

    def first_pod(self, name: str) -> Any | None:
        """The pod of the job's node 0, once it runs or has run."""
        labels = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=0"
        with _speaking(name):
            pods = self._pods.list_namespaced_pod(self.namespace, label_selector=labels, _request_timeout=30).items
        started = [pod for pod in pods if pod.status.phase in ("Running", "Succeeded", "Failed")]
        return max(started, key=lambda pod: pod.metadata.creation_timestamp, default=None)

    def log(self, pod: str, seconds: int | None) -> Iterator[str]:
        """Lines of a pod's log while it goes on; seconds: only those of the last ones."""
        since = {"since_seconds": seconds} if seconds else {}
        with _speaking(pod):
            answer = self._pods.read_namespaced_pod_log(pod, self.namespace, follow=True, _preload_content=False, **since)
        with contextlib.closing(answer):
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\n")


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
        _wait(cluster, name)
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
        raise BadInput(f"a TrainJob named '{name}' stands there and is not ours", "rename or delete it")
    while found:
        cluster.delete(name)
        if time.monotonic() - started > GONE:
            raise ServiceFailed(f"the TrainJob '{name}' of an earlier try does not end", "see what holds it")
        time.sleep(min(POLL, 1.0))
        found = cluster.get(name)


def _wait(cluster: Cluster, name: str) -> None:
    heard, told = time.monotonic(), ""
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
            told = state
            print(f"TrainJob {name}: {state.lower()}", flush=True)
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


@contextlib.contextmanager
def _speaking(what: str, missing: bool = False) -> Iterator[None]:
    """Around one request: what goes wrong is told in our words. missing: 404 is an answer."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if missing and error.status == 404:
            return
        try:
            said = json.loads(error.body)["message"]
        except (TypeError, ValueError, KeyError):
            said = str(error.reason)
        line = f"Kubernetes refuses '{what}' ({error.status}): {' '.join(said.split())[:200]}"
        if error.status in (401, 409, 429) or error.status >= 500:
            raise ServiceFailed(line, "the next try may be heard") from error
        raise BadInput(line, REMEDIES.get(error.status, "correct what it names")) from error
    except HTTPError as error:
        raise ServiceFailed(f"Kubernetes does not answer: {type(error).__name__}", "see the cluster's API server") from error
