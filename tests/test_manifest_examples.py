"""Manifests that stand beside an overlay: the pool of GPU nodes with its queue, and the job that an event makes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_server import kfp_server
from manifests import KUBECTL, ROOT, changed, named, needs_kubectl, pods, released_lock, selects

from raro import cli
from raro.pipelines import cluster, profile

pytestmark = needs_kubectl


def pool_of_the_docs() -> list[Any]:
    """The profile's lines, and the patch of the quota."""
    _, _, text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8").partition("**A pool of GPU nodes.**")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.+?)```", text.partition("\n**")[0], re.DOTALL)]


def tolerated(taint: dict[str, str], by: dict[str, str]) -> bool:
    same = all(taint[key] == by[key] for key in ("key", "effect"))
    return same and (by["operator"] == "Exists" or taint["value"] == by["value"])


def test_pool_queue_and_profile_are_of_one_mind():
    """Each GPU machine of gpu.yaml with the docs' lines gets onto the pool's nodes through a queue that counts what it asks."""
    flavor = named("queue", "ResourceFlavor")["raro-gpu"]["spec"]
    (group,) = named("queue", "ClusterQueue")["raro"]["spec"]["resourceGroups"]
    (room,) = ({one["name"]: one["nominalQuota"] for one in each["resources"]} for each in group["flavors"])
    assert [each["name"] for each in group["flavors"]] == ["raro-gpu"] and list(room) == group["coveredResources"]
    gpu = yaml.safe_load((ROOT / "pipelines" / "profiles" / "gpu.yaml").read_text(encoding="utf-8"))
    lines = pool_of_the_docs()[0]["warmstart"]
    assert not set(lines) & set(gpu["warmstart"])
    for step in profile.COSTLY:
        machine = profile.Machine(**{**gpu[step], **lines})
        assert flavor["nodeLabels"].items() <= machine.selectors.items()
        assert all(
            any(tolerated(taint, cluster.toleration(text)) for text in machine.tolerations) for taint in flavor["nodeTaints"]
        )
        assert int(machine.cpu) < room["cpu"] and machine.gpus <= room[machine.gpu]
        assert int(machine.memory.removesuffix("Gi")) < int(room["memory"].removesuffix("Gi"))
        assert named("queue", "LocalQueue")[machine.queue]["metadata"]["namespace"] == "raro"
        assert machine.priority in named("queue", "WorkloadPriorityClass")
    assert named("queue", "LocalQueue")["raro"]["spec"]["clusterQueue"] == "raro"


def test_the_docs_and_the_pools_file_name_the_same_label_and_taint():
    flavor = named("queue", "ResourceFlavor")["raro-gpu"]["spec"]
    label = "=".join(*flavor["nodeLabels"].items())
    taint = "{key}={value}:{effect}".format(**flavor["nodeTaints"][0])
    for path in ("docs/cluster.md", "k8s/queue/pool.yaml"):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert label in text and taint in text, path


def test_what_waits_in_the_queue_is_not_refused_by_the_quota():
    items = changed("overlays/prod", lambda prod: prod["patches"].extend(pool_of_the_docs()[1]))
    (hard,) = (item["spec"]["hard"] for item in items if item["kind"] == "ResourceQuota")
    covered = named("queue", "ClusterQueue")["raro"]["spec"]["resourceGroups"][0]["coveredResources"]
    assert hard and not [key for key in hard if key.partition(".")[2] in covered]


@pytest.fixture
def job() -> dict[str, Any]:
    ((_, _, spec),) = pods("new-data")
    return spec


def test_an_event_starts_a_run(job, tmp_path, monkeypatch, capsys):
    """What the job calls, on a server that speaks Kubeflow's API, with the three files of the config map."""
    (container,) = job["containers"]
    heading = (ROOT / "k8s" / "new-data" / "kustomization.yaml").read_text(encoding="utf-8")
    files = re.findall(r"--from-file=(\S+?)=(\S+?);?\s", heading)
    assert {f"/order/{name}" for name, _ in files} == {
        word for arg in container["args"] for word in re.findall(r"/order/\S+", arg)
    }
    config = (ROOT / "configs" / "countdown-mini.yaml").read_text(encoding="utf-8")
    order = {
        "config.yaml": config,
        "profile.yaml": (ROOT / "pipelines" / "profiles" / "cpu.yaml").read_text(encoding="utf-8"),
        "images.lock.yaml": released_lock(),
    }
    for name, text in order.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert container["command"] == ["raro"] and "--watch" in container["args"]
    arguments = [arg.replace("/order", str(tmp_path)) for arg in container["args"]]
    with kfp_server() as server:
        server.scripts["run-0004"] = iter([{"state": "SUCCEEDED"}])
        told = {one["name"]: server.address for one in container["env"] if one["name"] == "KF_PIPELINES_ENDPOINT"}
        assert len(told) == 1
        for name, value in {**told, "KF_PIPELINES_NAMESPACE": "raro"}.items():
            monkeypatch.setenv(name, value)
        assert cli.main(arguments) == 2 and "tracking.uri is empty" in capsys.readouterr().err and not server.runs
        (tmp_path / "config.yaml").write_text(
            f"{config}\ntracking: {{uri: https://mlflow.house.example.org}}\n", encoding="utf-8"
        )
        assert cli.main(arguments) == 0, capsys.readouterr().err
        (run,) = server.runs.values()
    assert run["service_account"] == "raro-runner"
    assert "https://mlflow.house.example.org" in run["runtime_config"]["parameters"]["config"], "the house's, not ours"


def test_the_job_of_an_event_may_and_can_submit(job):
    """Its account has the role, its token Kubeflow's audience and usual place, its pod a way to the API."""
    from raro.pipelines.api import TOKEN

    (binding,) = (one for one in named("overlays/prod", "RoleBinding").values() if one["roleRef"]["name"] == "raro-submitter")
    assert job["serviceAccountName"] in {one["name"] for one in binding["subjects"]}
    (container,) = job["containers"]
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "token")
    (volume,) = (one for one in job["volumes"] if one["name"] == "token")
    (source,) = volume["projected"]["sources"]
    assert Path(TOKEN) == Path(mount["mountPath"]) / source["serviceAccountToken"]["path"]
    assert source["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"
    (_, metadata, _) = next(pods("new-data"))
    policy = named("new-data", "NetworkPolicy")["submitter"]["spec"]
    assert selects(policy["podSelector"], metadata["labels"]) and policy["egress"][0]["ports"][0]["port"] == 8888
    assert ".kubeflow.svc.cluster.local:8888" in container["env"][0]["value"]


def test_behind_an_air_gap_every_account_may_pull():
    accounts = named("overlays/airgapped", "ServiceAccount")
    assert all(one["imagePullSecrets"] == [{"name": "registry"}] for one in accounts.values())


def test_the_pattern_never_starts_by_itself_and_the_docs_start_it_by_one_name():
    spec = named("new-data", "CronJob")["raro-new-data"]["spec"]
    assert spec["suspend"] is True and spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    command = "kubectl -n raro create job raro-new-data --from=cronjob/raro-new-data"
    assert spec["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] <= 60, "the next event is refused meanwhile"
    for path in ("docs/cluster.md", "k8s/new-data/kustomization.yaml"):
        assert command in (ROOT / path).read_text(encoding="utf-8"), path


def test_the_order_can_be_given_again():
    """`kubectl create` refuses what exists: docs and heading hand what it would make to `kubectl apply`."""
    for path in ("docs/cluster.md", "k8s/new-data/kustomization.yaml"):
        text = re.sub(r"\\?\n(#)? +", " ", (ROOT / path).read_text(encoding="utf-8"))
        (command,) = re.findall(r"kubectl -n raro create configmap raro-order .*? \| kubectl -n raro apply -f -", text)
        words = re.sub(r"(=)(mine\S*\.yaml|docker/\S+)", r"\1/dev/null", command.partition(" | ")[0]).split()
        said = subprocess.run([KUBECTL, *words[1:]], capture_output=True, text=True)
        made = yaml.safe_load(said.stdout)
        assert made["metadata"]["name"] == "raro-order" and set(made["data"]) == {
            "config.yaml",
            "profile.yaml",
            "images.lock.yaml",
        }, said.stderr
