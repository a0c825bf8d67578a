"""`raro serve`: a KServe InferenceService for the version that an alias stands at now, by its immutable address and its digest.

KServe does not read `models:/NAME@ALIAS`, and where its own storage initializer stands among a pod's init containers is not
promised. So one init container of ours downloads from the immutable address, verifies files, root and signature, and only then
lets the files appear on the volume that the model server reads. It ends with an error otherwise, and nothing is served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from ..errors import BadInput, GateRefused
from ..pipelines.profile import CERTIFICATES
from ..registry.audit import audited
from ..registry.desk import Desk
from ..registry.findings import Audit
from ..storage import digest_text
from ..tracking import server

MODELS = "/mnt/models"
GROUP = "raro-pipelines.github.io"
SECRETS = {"AWS_ACCESS_KEY_ID": "access-key", "AWS_SECRET_ACCESS_KEY": "secret-key"}
SETTINGS = {
    "AWS_ENDPOINT_URL": "s3-endpoint",
    "AWS_DEFAULT_REGION": "s3-region",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "s3-checksums",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "s3-checksums",
}
"""Keys of the Secret and of the ConfigMap raro-settings, as a run's tasks read them (pipelines/profiles)."""
LABELS = {"app.kubernetes.io/part-of": "raro", "app.kubernetes.io/component": "task"}
"""What k8s/overlays/prod lets to the store; where nothing is denied they do nothing."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and as whom it is served. secret: with the store's keys; empty: none, the account has a role. account: the pod's
    service account, which may name what pulls images. authority: config map whose ca.crt vouches for the store. destination:
    where a server that proxies artifacts keeps them."""

    namespace: str = ""
    gpus: int = 1
    secret: str = ""
    account: str = ""
    authority: str = ""
    destination: str = ""


def render(desk: Desk, standing_at: str, image: str, place: Place) -> str:
    """The manifest as YAML. image: raro's own, by digest. Raises GateRefused where the version's audit finds a break, BadInput
    where no pod reaches its files."""
    if not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", image):
        raise BadInput(f"image '{image}' is not named by digest", "write repository@sha256:..., tags move")
    with audited(desk, standing_at) as made:
        if not made.whole:
            raise GateRefused(f"{made.reference} is not served: {made.breaks[0]}", "raro audit verify tells more")
        return yaml.safe_dump(_service(made, image, place), sort_keys=False, width=120)


def called(model: str) -> str:
    """A model's name as KServe takes it: [a-z]([-a-z0-9]*[a-z0-9])? What letters of other alphabets tell apart, which are left
    out, a few digits of its digest do: under one name the later would take the place of the earlier."""
    name = re.sub(r"[^a-z0-9-]+", "-", model.lower()).strip("-")
    name = (name if name[:1].isalpha() else f"model-{name}")[:50].strip("-")
    return name if model.isascii() else f"{name[:43].strip('-')}-{digest_text(model)[:6]}"


def _service(made: Audit, image: str, place: Place) -> dict:
    root, uri = made.version.tags["raro.root"], _address(made, place.destination)
    name = called(made.desk.model)
    unprivileged = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    arguments = ["audit", "fetch", uri, "--output", MODELS, "--root", root]
    verify = {
        "name": "verified-model",
        "image": image,
        "command": ["raro"],
        "args": arguments,
        "env": [
            {"name": variable, "valueFrom": {kind: {"name": source, "key": key, "optional": True}}}
            for kind, source, keys in (("secretKeyRef", place.secret, SECRETS), ("configMapKeyRef", "raro-settings", SETTINGS))
            if source
            for variable, key in keys.items()
        ],
        "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": unprivileged,
        "volumeMounts": [{"name": "model", "mountPath": MODELS}, {"name": "scratch", "mountPath": "/tmp"}],
    }
    volumes: list[dict] = [{"name": "model", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}]
    if made.desk.policy.keys:  # the keys that count come from the cluster, not from the store
        verify["args"] = [*arguments, "--policy", "/policy/policy.yaml"]
        verify["volumeMounts"].append({"name": "policy", "mountPath": "/policy", "readOnly": True})
        volumes.append({"name": "policy", "configMap": {"name": "raro-policy"}})
    if place.authority:
        verify["env"].append({"name": "AWS_CA_BUNDLE", "value": f"{CERTIFICATES}/ca.crt"})
        verify["volumeMounts"].append({"name": "authority", "mountPath": CERTIFICATES, "readOnly": True})
        volumes.append({"name": "authority", "configMap": {"name": place.authority}})
    resources = {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "16Gi"}}
    if place.gpus:
        resources["limits"]["nvidia.com/gpu"] = str(place.gpus)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            **({"namespace": place.namespace} if place.namespace else {}),
            "labels": {f"{GROUP}/model": name, f"{GROUP}/version": made.number},
            "annotations": {
                f"{GROUP}/source": uri,
                f"{GROUP}/root-digest": root,
                f"{GROUP}/run-id": made.version.run_id,
                f"{GROUP}/audit-head": made.records[-1].head,
            },
        },
        "spec": {
            "predictor": {
                "labels": LABELS,
                **({"serviceAccountName": place.account} if place.account else {}),
                "initContainers": [verify],
                "volumes": volumes,
                "model": {
                    "modelFormat": {"name": "huggingface"},
                    "args": [f"--model_name={name}", f"--model_dir={MODELS}"],
                    "resources": resources,
                    "volumeMounts": [{"name": "model", "mountPath": MODELS, "readOnly": True}],
                },
            }
        },
    }


def _address(made: Audit, destination: str) -> str:
    """The version's files at an address that a pod reaches."""
    source = made.version.source
    if source.startswith("models:/"):
        with server.speaking(made.desk.uri):
            source = made.desk.client.get_logged_model(source.removeprefix("models:/")).artifact_location
    if source.startswith("mlflow-artifacts:") and destination:
        source = destination.rstrip("/") + "/" + source.split("mlflow-artifacts:", 1)[1].lstrip("/")
    if not source.startswith("s3://"):
        raise BadInput(
            f"the files of version {made.number} lie at '{source}', where no pod reads them",
            "set registry.store to s3://..., or name the server's --artifacts-destination",
        )
    return source
