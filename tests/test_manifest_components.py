"""What a house has already in the place of ours, or beside it: each of k8s/components in production's list, and whether it is
reached through our own network policies once everything else is narrowed.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment

import pytest
import yaml
from manifests import ROOT, changed, named, needs_kubectl, pods, rendered, task_labels
from manifests import selects as chosen
from requests.utils import should_bypass_proxies

from raro.pipelines import profile

pytestmark = needs_kubectl
HOUSE = "10.20.30.40"  # an address in the house
TRACKING = {"app.kubernetes.io/part-of": "raro", "app.kubernetes.io/component": "tracking"}


def reaches(overlay: str, pod: dict[str, str], to: str, port: int) -> bool:
    """Whether a policy lets a pod reach an address or a namespace, when those that stand open until they are narrowed are gone:
    the store's, and the one for Kubernetes' API."""
    policies = named(overlay, "NetworkPolicy")
    return any(lets(policy, pod, to, port) for name, policy in policies.items() if name not in ("to-store", "to-kubernetes"))


def lets(policy: dict[str, Any], pod: dict[str, str], to: str, port: int) -> bool:
    """Whether this one policy does."""
    if not chosen(policy["spec"]["podSelector"], pod):
        return False
    rules = policy["spec"].get("egress", [])
    return any(port in {one["port"] for one in rule["ports"]} and any(_is(to, peer) for peer in rule["to"]) for rule in rules)


def _is(to: str, peer: dict[str, Any]) -> bool:
    if "ipBlock" in peer:
        return to[0].isdigit() and ipaddress.ip_address(to) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    return peer.get("namespaceSelector", {}).get("matchLabels") == {"kubernetes.io/metadata.name": to}


@pytest.mark.parametrize(
    ("component", "pod", "to", "port"),
    [
        ("external-database", TRACKING, HOUSE, 5432),
        ("external-mlflow", task_labels(), HOUSE, 443),
        ("proxy", task_labels(), HOUSE, 3128),
        ("proxy", TRACKING, HOUSE, 3128),
        ("judge", task_labels(), "models", 8000),
    ],
)
def test_what_the_house_has_is_reached(component, pod, to, port):
    assert not reaches("overlays/prod", pod, to, port)
    assert reaches(f"overlays/prod+{component}", pod, to, port)


@pytest.mark.parametrize("pod", [task_labels(), TRACKING], ids=["task", "mlflow"])
@pytest.mark.parametrize(("to", "port"), [("kube-system", 53), ("169.254.20.10", 53), ("openshift-dns", 5353)])
def test_names_are_asked_for_wherever_clusters_answer(pod, to, port):
    """A cache on each node answers at an address of its own, which no selector finds."""
    assert reaches("overlays/airgapped", pod, to, port) and not reaches("overlays/airgapped", pod, "169.254.169.254", port)


@pytest.mark.parametrize("overlay", ["overlays/dev", "overlays/prod", "overlays/airgapped"])
def test_a_task_reports_to_kubernetes_api_at_any_private_address_and_no_service_does(overlay):
    """A node of ours, kind's, a VPC's; behind the service, before it."""
    policy = named(overlay, "NetworkPolicy")["to-kubernetes"]
    for address, port in (("10.96.0.1", 443), ("172.18.0.2", 6443), ("172.31.4.5", 443), ("192.168.49.2", 6443)):
        assert lets(policy, task_labels(), address, port), address
        assert not lets(policy, TRACKING, address, port)
    assert not lets(policy, task_labels(), "34.1.2.3", 443)


def test_where_kubernetes_api_is_the_overlay_says():
    def public(prod: dict[str, Any]) -> None:
        (patch,) = (one for one in prod["patches"] if one["target"]["name"] == "to-kubernetes")
        patch["patch"] = re.sub(r"(?s)value:.*", "value: [{ipBlock: {cidr: 34.1.2.3/32}}]", patch["patch"])

    items = changed("overlays/prod", public)
    (policy,) = (one for one in items if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "to-kubernetes")
    assert lets(policy, task_labels(), "34.1.2.3", 443) and not lets(policy, task_labels(), "10.96.0.1", 443)


@pytest.mark.parametrize("overlay", ["overlays/prod", "overlays/airgapped"])
def test_with_secrets_by_hand_no_operator_is_needed(overlay):
    """As docs/cluster.md says: one line less, and Kubernetes knows every kind that is left."""
    before = {item["apiVersion"] for item in rendered(overlay)}
    after = {item["apiVersion"] for item in changed(overlay, lambda prod: prod["components"].remove("../../external-secrets"))}
    assert before - after == {"external-secrets.io/v1"} and all("." not in one or ".k8s.io/" in one for one in after)
    assert "take `../../external-secrets` out" in (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_a_database_of_the_house_takes_the_place_of_ours():
    overlay = "overlays/prod+external-database"
    assert {name for name, _, _ in pods(overlay)} == {"Deployment/mlflow"}
    assert set(named(overlay, "PersistentVolumeClaim")) == {"raro-runs"}
    (container,) = next(spec for _, _, spec in pods(overlay))["containers"]
    assert {"name": "PGSSLMODE", "value": "require"} in container["env"]
    _, _, wanted = container["args"][5].rpartition("/")
    heading = (ROOT / "k8s" / "components" / "external-database" / "kustomization.yaml").read_text(encoding="utf-8")
    (auth,) = re.findall(r"postgresql\S*/(\w+)$", named(overlay, "ConfigMap")["mlflow-auth"]["data"]["basic_auth.ini"], re.M)
    for text in (heading, (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")):
        assert re.findall(r"CREATE DATABASE (\w+);", text) == [wanted, auth]


def test_an_mlflow_of_the_house_takes_the_place_of_ours():
    overlay = "overlays/prod+external-mlflow"
    assert not list(pods(overlay)) and not named(overlay, "Service") and not named(overlay, "PodDisruptionBudget")
    assert set(named(overlay, "ConfigMap")) == {"raro-settings"}
    secrets = {place.partition("/")[0] for place in profile.read("gpu").secrets.values()}
    assert set(named(overlay, "ExternalSecret")) == secrets


@pytest.mark.parametrize("overlay", ["overlays/airgapped", "overlays/prod+authority", "overlays/airgapped+authority"])
def test_mlflows_server_knows_the_houses_authority(overlay):
    """It sends the artifacts; once, however often the component is taken."""
    spec = next(spec for name, _, spec in pods(overlay) if name == "Deployment/mlflow")
    (container,) = spec["containers"]
    (file,) = (one["value"] for one in container["env"] if one["name"] == "AWS_CA_BUNDLE")
    (mount,) = (one for one in container["volumeMounts"] if file.startswith(one["mountPath"]))
    (volume,) = (one for one in spec["volumes"] if one["name"] == mount["name"])
    assert volume["configMap"] == {"name": "raro-authority"} and file == mount["mountPath"] + "/ca.crt"


def test_mlflows_server_hears_the_settings_that_the_tasks_hear():
    spec = next(spec for name, _, spec in pods("overlays/prod") if name == "Deployment/mlflow")
    told = {one["name"]: one.get("valueFrom", {}).get("configMapKeyRef") for one in spec["containers"][0]["env"]}
    checksums = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")
    for variable in ("MLFLOW_S3_UPLOAD_EXTRA_ARGS", *checksums, "HTTPS_PROXY", "NO_PROXY"):
        name, _, key = profile.read("gpu").settings[variable].partition("/")
        assert told[variable] == {"name": name, "key": key, "optional": True}


def test_no_proxy_names_what_lies_in_the_cluster():
    """As requests and urllib read it; Go's reading, by which Kubeflow's launcher goes, is that of requests."""
    settings = named("overlays/prod+proxy", "ConfigMap")["raro-settings"]["data"]
    store = urlsplit(settings["s3-endpoint"]).hostname
    inside = ["mlflow", "mlflow.raro.svc", "mlflow.raro.svc.cluster.local", "localhost", "127.0.0.1", store]
    inside += ["metadata-grpc-service.kubeflow", "ml-pipeline.kubeflow.svc.cluster.local", "seaweedfs.kubeflow"]
    for name in inside:
        assert should_bypass_proxies(f"http://{name}:1", settings["no-proxy"]), name
        assert proxy_bypass_environment(name, {"no": settings["no-proxy"]}), name
    assert should_bypass_proxies("https://10.96.0.1:443", settings["no-proxy"])  # Kubernetes' API, which a pod knows by address
    assert not should_bypass_proxies("https://hooks.example.org", settings["no-proxy"])
    assert settings["no-proxy"].replace(f"{store},", "<store>,").replace("10.96.0.0/12", "<service CIDR>") in (
        ROOT / "docs" / "cluster.md"
    ).read_text(encoding="utf-8")


def test_the_quota_of_the_docs_holds_the_many_nodes_of_the_docs():
    _, _, text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8").partition("**Many nodes.**")
    asked = profile.Machine(**yaml.safe_load(re.search(r"`train: (\{.+?\})`", text)[1]))
    (patch,) = re.findall(r"```yaml\n(.+?)```", text.partition("\n**")[0], re.DOTALL)
    items = changed("overlays/prod", lambda prod: prod["patches"].extend(yaml.safe_load(patch)))
    (hard,) = (item["spec"]["hard"] for item in items if item["kind"] == "ResourceQuota")
    (before,) = (item["spec"]["hard"] for item in rendered("overlays/prod") if item["kind"] == "ResourceQuota")
    for key, of_each in (
        ("requests.nvidia.com/gpu", asked.gpus),
        ("requests.cpu", int(asked.cpu)),
        ("requests.memory", int(asked.memory.removesuffix("Gi"))),
        ("limits.memory", int(asked.memory.removesuffix("Gi"))),
    ):
        first, now = (int(one[key].removesuffix("Gi")) for one in (before, hard))
        assert first < asked.nodes * of_each <= now, key
        assert key.endswith("gpu") or asked.nodes * of_each < now, f"{key}: nothing is left for MLflow and the other tasks"
