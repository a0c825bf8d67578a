"""The manifests: rendered by kubectl, valid to the letter against Kubernetes' own schemas, and locked down.

`kubectl kustomize` renders without a cluster. The schemas are kubernetes-validate's (1.37). What neither knows, how pods really
behave and custom resources, is said in docs/cluster.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from manifests import NAMESPACES, OVERLAYS, PLACED, PRODUCTION, ROOT, named, needs_kubectl, pods, rendered, selects, task_labels

from raro import cli
from raro.pipelines import profile

CUSTOM = {"external-secrets.io/v1"}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|PGUSER")
IMAGE = re.compile(r"[\w./-]+(@sha256:[0-9a-f]{64}|:unresolved)")
FILES = sorted((ROOT / "k8s").rglob("*.yaml"))
CHECKERS = Path(sys.prefix) / "manifests" / "bin"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "k8s")))
def test_every_file_says_how_it_is_applied_checked_and_cleaned(path):
    head = path.read_text(encoding="utf-8").partition("apiVersion")[0]
    if path != ROOT / "k8s" / "images" / "kustomization.yaml":  # written by a command
        assert all(re.search(rf"^#   {word}:  \S", head, re.MULTILINE) for word in ("Apply", "Check", "Clean"))


def test_the_patch_of_kubeflows_retries_is_what_the_docs_tell_of():
    """Its text is YAML that nothing here reads but this. What Argo makes of it was read in Argo's sources."""
    patch = yaml.safe_load((ROOT / "k8s" / "kubeflow" / "retries.yaml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load(patch["data"]["workflowDefaults"])["spec"]
    told = {"limit": "2", "retryPolicy": "Always", "expression": 'lastRetry.message != ""'}
    assert patch["metadata"]["name"] == "workflow-controller-configmap"
    assert defaults["templateDefaults"] == {"retryStrategy": told}
    assert set(defaults["ttlStrategy"].values()) == {3600}


@needs_kubectl
@pytest.mark.check
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_valid_to_the_letter(overlay, tmp_path):
    target = tmp_path / "rendered.yaml"
    target.write_text(yaml.safe_dump_all(item for item in rendered(overlay) if item["apiVersion"] not in CUSTOM))
    program = CHECKERS / "kubernetes-validate"
    assert program.is_file(), "kubernetes-validate comes with `make check`"
    said = subprocess.run([program, "--strict", "--quiet", str(target)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


@needs_kubectl
@pytest.mark.check
def test_checkov_finds_nothing_that_is_not_explained(tmp_path):
    """Every overlay, with images by digest, and the Dockerfiles; what is passed over has its reason in .checkov.yaml."""
    skips = re.findall(r"^  - (CKV\w+)(.*)$", (ROOT / ".checkov.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert skips and all(re.fullmatch(r" # .{20,}", reason) for _, reason in skips)
    for overlay in (*OVERLAYS, "trainer"):
        placed = {"namespace": "raro"} if overlay in PLACED else {}
        items = ({**item, "metadata": {**item["metadata"], **placed}} for item in rendered(overlay))
        text = yaml.safe_dump_all(items).replace(":unresolved", "@sha256:" + "0" * 64)
        (tmp_path / f"{overlay.replace('/', '-')}.yaml").write_text(text)
    for path in (ROOT / "docker").glob("Dockerfile*"):
        shutil.copy(path, tmp_path)
    program = CHECKERS / "checkov"
    assert program.is_file(), "checkov comes with `make check`"
    command = [program, "-d", tmp_path, "--config-file", ROOT / ".checkov.yaml", "--output", "json"]
    said = subprocess.run(command, capture_output=True, text=True)
    found = json.loads(said.stdout)
    assert {part["check_type"]: part["summary"]["failed"] for part in found} == {"dockerfile": 0, "kubernetes": 0}, said.stdout
    assert all(part["summary"]["passed"] > 100 and not part["summary"]["parsing_errors"] for part in found)


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_locked_down_bounded_and_pinned(overlay):
    for name, metadata, spec in pods(overlay):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False and spec["serviceAccountName"] != "default", name
        assert metadata["labels"]["sidecar.istio.io/inject"] == "false", f"{name}: tasks, which have none, would be shut out"
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            resources = container["resources"]
            assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}, name
            assert resources["requests"]["memory"] == resources["limits"]["memory"] or name.startswith("Job/"), name
            assert IMAGE.fullmatch(container["image"]), container["image"]
            if name.startswith(("Deployment", "StatefulSet")):
                assert {"readinessProbe", "livenessProbe"} <= set(container), name


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_only_named(overlay):
    assert not named(overlay, "Secret")
    for name, _, spec in pods(overlay):
        for variable in (variable for container in spec["containers"] for variable in container.get("env", [])):
            if SECRET.search(variable["name"]):
                assert "secretKeyRef" in variable.get("valueFrom", {}), f"{name}: {variable['name']}"
        arguments = [word for container in spec["containers"] for word in container.get("args", [])]
        assert not [word for word in arguments if re.search(r"://[^/\s]*:[^/\s]*@", word)], (
            f"{name}: an address with a password"
        )


@needs_kubectl
@pytest.mark.parametrize("overlay", PRODUCTION)
def test_what_is_referred_to_exists(overlay):
    """Config maps, claims and accounts in the manifests; secrets and keys in the example for External Secrets; the house's
    authority is made by hand."""
    promised = {
        name: {entry["secretKey"] for entry in item["spec"]["data"]} for name, item in named(overlay, "ExternalSecret").items()
    }
    maps = {name: set(item["data"]) for name, item in named(overlay, "ConfigMap").items()} | {"raro-authority": {"ca.crt"}}
    claims, accounts = set(named(overlay, "PersistentVolumeClaim")), set(named(overlay, "ServiceAccount"))
    for name, _, spec in (*pods(overlay), *pods("volume-check")):
        assert spec["serviceAccountName"] in accounts, name
        for volume in spec.get("volumes", []):
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in claims | {None}, name
            assert volume.get("configMap", {}).get("name") in set(maps) | {None}, name
        for variable in (variable for container in spec["containers"] for variable in container.get("env", [])):
            source = variable.get("valueFrom", {})
            for kind, known in (("secretKeyRef", promised), ("configMapKeyRef", maps)):
                if reference := source.get(kind):
                    if kind == "configMapKeyRef" and reference.get("optional"):
                        continue
                    assert reference["key"] in known[reference["name"]], f"{name}: {variable['name']}"
    for packaged in profile.names():
        wanted = profile.read(packaged)
        assert wanted.claim in claims
        for place in wanted.secrets.values():
            secret, _, key = place.partition("/")
            assert key in promised[secret], f"profile {packaged}: {place}"
        assert {place.partition("/")[0] for place in wanted.settings.values()} <= set(maps)


@needs_kubectl
@pytest.mark.parametrize("overlay", NAMESPACES)
def test_an_overlay_can_be_applied_again_with_other_images(overlay):
    """Kubernetes refuses to change what a Job runs."""
    assert not named(overlay, "Job")


@needs_kubectl
def test_kubeflow_serves_the_namespace():
    """By one label its profile controller makes kfp-launcher and mlpipeline-minio-artifact, which our role may read; by the
    other the network policies of Kubeflow's distribution let our pods in."""
    labels = named("cluster", "Namespace")["raro"]["metadata"]["labels"]
    assert labels["pipelines.kubeflow.org/enabled"] == "true"
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"
    rules = named("overlays/prod", "Role")["raro-runner"]["rules"]
    assert {"kfp-launcher", "mlpipeline-minio-artifact"} <= {name for rule in rules for name in rule.get("resourceNames", [])}


@needs_kubectl
@pytest.mark.parametrize("overlay", NAMESPACES)
def test_nothing_talks_but_what_is_named(overlay):
    policies = named(overlay, "NetworkPolicy")
    assert policies["deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies.values():
        for rule in policy["spec"].get("egress", []) + policy["spec"].get("ingress", []):
            assert rule.get("ports"), f"{policy['metadata']['name']} opens every port"
            assert rule.get("to") or rule.get("from"), f"{policy['metadata']['name']} opens to everybody"
    if overlay == "overlays/airgapped":
        blocks = re.findall(r"cidr: (\S+)", yaml.safe_dump_all(policies.values()))
        assert blocks and all(re.match(r"10\.|172\.16\.|192\.168\.|169\.254\.2[05]\.10/32$", block) for block in blocks)


@needs_kubectl
@pytest.mark.parametrize("overlay", NAMESPACES)
def test_selectors_find_their_pods(overlay):
    """A service, a budget or a policy whose labels no pod has does nothing, without a word."""
    labels = [metadata["labels"] for _, metadata, _ in pods(overlay)]
    labels.append(task_labels())
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for name, item in named(overlay, kind).items():
            spec = item["spec"]
            selector = spec.get("podSelector", spec.get("selector"))
            if kind == "Service":
                selector = {"matchLabels": selector}
            assert any(selects(selector, pod) for pod in labels), f"{kind}/{name} selects nothing"


@needs_kubectl
def test_rights_are_few_and_named():
    roles = named("overlays/prod", "Role")
    assert not named("overlays/prod", "ClusterRole") and not named("overlays/prod", "ClusterRoleBinding")
    for name, role in roles.items():
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], name
            if {"secrets", "configmaps"} & set(rule["resources"]):
                assert rule["resourceNames"] and set(rule["verbs"]) <= {"get", "list", "watch"}, name


PG_DUMP = """#!/bin/bash
for word; do case $word in --file=*) printf half > "${word#--file=}";; esac; done
[ ! -e FAILS ]
"""


def test_a_backup_that_fails_takes_no_room_and_no_backup(tmp_path):
    """The job's own script, a pg_dump that writes a little and may fail, and a volume on which a killed pod left its part."""
    _, job = yaml.safe_load_all((ROOT / "k8s" / "base" / "backup.yaml").read_text(encoding="utf-8"))
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    volume, fails = tmp_path / "backups", tmp_path / "fails"
    volume.mkdir()
    kept = [f"mlflow-20200101T0000{second:02d}Z.dump" for second in range(14)]
    for name in kept:
        (volume / name).touch()
    (tmp_path / "pg_dump").write_text(PG_DUMP.replace("FAILS", str(fails)))
    (tmp_path / "pg_dump").chmod(0o755)
    script = [text.replace("/backups", str(volume)) for text in container["args"]]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def night() -> tuple[int, list[str]]:
        (volume / "mlflow-20200101T000000Z.dump.partial").write_text("of a pod that was killed")
        done = subprocess.run([*container["command"], *script], env=environment, capture_output=True)
        return done.returncode, sorted(path.name for path in volume.iterdir())

    fails.touch()
    code, left = night()
    assert code != 0 and left == kept
    fails.unlink()
    code, left = night()
    assert code == 0 and len(left) == 15 and all(name.endswith(".dump") for name in left)
    assert sum(name.startswith("mlflow_auth-") for name in left) == 1, "of each database the newest 14"


@needs_kubectl
def test_mlflow_takes_the_arguments_it_is_given():
    """MLflow's own command line reads them; nothing is started."""
    from mlflow.cli import server

    (container,) = next(spec for name, _, spec in pods("overlays/prod") if name == "Deployment/mlflow")["containers"]
    command, *arguments = container["args"]
    assert command == "server"
    parsed = server.make_context("server", arguments, resilient_parsing=False).params
    assert parsed["app_name"] == "basic-auth" and parsed["host"] == "0.0.0.0" and "mlflow:5000" in parsed["allowed_hosts"]
    assert parsed["backend_store_uri"] == "postgresql+psycopg2:///mlflow" and parsed["serve_artifacts"]


def test_each_symptom_names_a_test_that_exists():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    named_tests = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named_tests) > 15
    for file, test in named_tests:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{test}"
    commands = re.findall(r"^(?:raro|make) ([\w-]+)", (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"), re.MULTILINE)
    known = (ROOT / "Makefile").read_text(encoding="utf-8") + " ".join(
        name for group in cli.COMMANDS.values() for name in group
    )
    assert commands and all(re.search(rf"(^|\s){command}[:\s]", known, re.MULTILINE) for command in commands)
