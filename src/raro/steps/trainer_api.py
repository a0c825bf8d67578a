"""Kubernetes' API as a task may use it that trains on many nodes (trainjob.py), with its errors in our words. What it asks for
is what the role raro-trainer allows (k8s/trainer/rbac.yaml).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInput, ServiceFailed

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
OF_JOB = "jobset.sigs.k8s.io/jobset-name"  # the label by which a job's pods are found
REMEDIES = {
    400: "install Kubeflow Trainer 2.2 or later: an older one does not know what it names",
    403: "give the pods' service account the role raro-trainer (k8s/trainer)",
    404: "install Kubeflow Trainer 2.2 or later, or set train.nodes to 1 in the profile",
    422: "see what the installed version of Kubeflow Trainer takes; 2.2 or later is needed",
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
            # Strict: an older Trainer would drop what it does not know, and place the nodes anywhere.
            self._jobs.create_namespaced_custom_object(**self._which, body=body, field_validation="Strict", _request_timeout=30)

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

    def pods(self, name: str, more: str = "") -> list[Any]:
        """The pods of the job's nodes; more: labels that they have besides."""
        labels = f"{OF_JOB}={name}{more}"
        with _speaking(name):
            return self._pods.list_namespaced_pod(self.namespace, label_selector=labels, _request_timeout=30).items

    def first_pod(self, name: str) -> Any | None:
        """The pod of the job's node 0, once it runs or has run."""
        pods = self.pods(name, ",batch.kubernetes.io/job-completion-index=0")
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
            raise ServiceFailed(line, "a retry may succeed") from error
        raise BadInput(line, REMEDIES.get(error.status, "correct what it names")) from error
    except HTTPError as error:
        raise ServiceFailed(f"Kubernetes does not answer: {type(error).__name__}", "see the cluster's API server") from error
