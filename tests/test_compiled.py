"""The pipeline as a cluster gets it: what the compiled YAML must say of every task, whatever the profile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from manifests import ROOT, released_lock

from raro import cli
from raro.config import load
from raro.errors import BadInput
from raro.pipelines import images, profile
from raro.steps import TITLES
from raro.steps.task import perform
from raro.storage import read_json

COMMITTED = ROOT / "pipelines" / "retraining.yaml"
LASTS = profile.Profile().deadline  # seconds that a run may last


@pytest.fixture(scope="module")
def lock(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lock") / "images.lock.yaml"
    path.write_text(released_lock(), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def released(request, lock, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("released") / "retraining.yaml"
    assert cli.main(["compile", "--release", "--profile", request.param, "--images", str(lock), "--output", str(path)]) == 0
    return path


def tasks(path: Path) -> dict[str, tuple[dict, dict, dict]]:
    """{component and where it stands: (its task, its executor's container, what Kubernetes is told)}."""
    spec, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found = {}
    for where, component in {"root": spec["root"], **spec["components"]}.items():
        for task in component.get("dag", {}).get("tasks", {}).values():
            label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
            if label:
                container = spec["deploymentSpec"]["executors"][label]["container"]
                found[f"{where}/{label}"] = (task, container, kubernetes[label])
    return found


def step(name: str) -> str:
    return re.match(r"[\w-]+/exec-([a-z]+)", name)[1]


# -------------------------------------------------------------------------------------------------------------- every task


def test_every_step_is_a_task(released):
    assert {step(name) for name in tasks(released)} == set(TITLES)


def test_nothing_is_installed_and_every_image_is_a_digest(released):
    text = released.read_text(encoding="utf-8")
    assert "pip install" not in text and "unresolved" not in text
    for task, container, _ in tasks(released).values():
        assert re.fullmatch(r"registry\.example\.org/raro/raro-(cpu|cuda)@sha256:[0-9a-f]{64}", container["image"]), task
        assert {"name": "RARO_IMAGE", "value": container["image"]} in container["env"], task


def test_every_task_is_bounded_retried_and_not_root(released):
    for name, (task, container, kubernetes) in tasks(released).items():
        assert task["retryPolicy"]["maxRetryCount"] >= 1 and task["retryPolicy"]["backoffDuration"] != "0s", name
        assert task["retryPolicy"]["backoffFactor"] == 2, name
        assert task["retryPolicy"]["backoffMaxDuration"] == f"{LASTS}s", f"{name}: no try may begin or go on after it"
        assert 60 <= int(kubernetes["activeDeadlineSeconds"]) <= LASTS, name
        assert kubernetes["securityContext"] == {"runAsGroup": "65532", "runAsNonRoot": True, "runAsUser": "65532"}, name
        resources = container["resources"]
        for what in ("cpu", "memory"):
            kind = what.title() if what == "memory" else "Cpu"
            asked = resources[f"resource{kind}Request"], resources[f"resource{kind}Limit"]
            assert asked[0] == asked[1], f"{name} asks for {asked}"
        assert "cachingOptions" in task and not task["cachingOptions"].get("enableCache"), name
        assert task["taskInfo"]["name"].startswith(f"{step(name)}: "), name


def test_every_task_shares_the_runs_volume_and_knows_its_run(released):
    """Kubeflow replaces a placeholder only where it is the whole value."""
    for name, (task, _, kubernetes) in tasks(released).items():
        assert [(mount["constant"], mount["mountPath"]) for mount in kubernetes["pvcMount"]] == [("raro-runs", "/runs")], name
        assert task["inputs"]["parameters"]["job"] == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}, name


def test_every_gpu_task_has_what_it_needs(lock, tmp_path):
    path = tmp_path / "retraining.yaml"
    cli.main(["compile", "--release", "--images", str(lock), "--output", str(path)])
    on_gpu = {step(name): found for name, found in tasks(path).items() if "accelerator" in found[1]["resources"]}
    assert set(on_gpu) == set(profile.COSTLY)
    for task, container, kubernetes in on_gpu.values():
        accelerator = container["resources"]["accelerator"]
        assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "1")
        assert {"name": "RARO_GPUS", "value": "1"} in container["env"] and "/raro-cuda@" in container["image"]
        (shm,) = (mount for mount in kubernetes["emptyDirMounts"] if mount["mountPath"] == "/dev/shm")
        assert shm["medium"] == "Memory" and shm["sizeLimit"] == "16Gi"
        assert (
            kubernetes["tolerations"][0]["key"] == "nvidia.com/gpu" and kubernetes["tolerations"][0]["effect"] == "NoSchedule"
        )
        assert task["retryPolicy"]["maxRetryCount"] >= 3


def test_no_secret_only_where_it_stands(released):
    """Variables that hold secrets come from Secrets; nothing in the text looks like one, or like this machine."""
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
    for name, (_, container, kubernetes) in tasks(released).items():
        assert not [variable["name"] for variable in container.get("env", []) if secret.search(variable["name"])], name
        plain = [key["envVar"] for one in kubernetes["configMapAsEnv"] for key in one["keyToEnv"]]
        assert not [variable for variable in plain if secret.search(variable)], name
        assert {"AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"} <= {
            key["envVar"] for one in kubernetes["secretAsEnv"] for key in one["keyToEnv"]
        }
    text = released.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|work)/|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY", text)


def test_the_whole_run_is_bounded_and_cleaned_up(released):
    text = released.read_text(encoding="utf-8")
    platform = list(yaml.safe_load_all(text))[1]["platforms"]["kubernetes"]["pipelineConfig"]
    kept = {f"resourceTtlOn{outcome}": 604800 for outcome in ("Completion", "Success", "Failure")}
    assert platform == {"activeDeadlineSeconds": LASTS, **kept}


# ------------------------------------------------------------------------------------------------------- release and profiles


def test_what_is_committed_could_not_be_deployed_by_accident(tmp_path, capsys):
    found = {container["image"] for _, container, _ in tasks(COMMITTED).values()}
    assert found == {"raro-cpu:unresolved", "raro-cuda:unresolved"}
    target = tmp_path / "released.yaml"
    code = cli.main(["compile", "--release", "--images", str(ROOT / images.LOCK), "--output", str(target)])
    if "digest: unresolved" in (ROOT / images.LOCK).read_text(encoding="utf-8"):
        assert code == 2 and "has no digest yet" in capsys.readouterr().err and not target.exists()


def test_custom_resources_for_gitops(lock, tmp_path):
    target = tmp_path / "resources.yaml"
    assert cli.main(["compile", "--release", "--images", str(lock), "--resources", "team", "--output", str(target)]) == 0
    pipeline, version = yaml.safe_load_all(target.read_text(encoding="utf-8"))
    assert [pipeline["kind"], version["kind"]] == ["Pipeline", "PipelineVersion"]
    assert {pipeline["metadata"]["namespace"], version["metadata"]["namespace"]} == {"team"}
    assert re.fullmatch(r"raro-retraining-[0-9a-f]{12}", version["metadata"]["name"])
    assert version["spec"]["platformSpec"] and version["spec"]["pipelineSpec"]


def test_what_is_no_namespace_is_refused(tmp_path, capsys):
    target = tmp_path / "resources.yaml"
    assert cli.main(["compile", "--resources", "Team A", "--output", str(target)]) == 2
    assert "--resources 'Team A' cannot be a namespace" in capsys.readouterr().err and not target.exists()


def test_a_profile_of_ones_own(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(
        """
        claim: models
        mount: /data
        authority: hospital-ca
        pull_secrets: [registry]
        train: {image: raro-cuda, gpu: nvidia.com/mig-3g.40gb, gpus: 2, shm: 8Gi, queue: team, priority: low,
                tolerations: ["gpu=a100:NoExecute"], selectors: {zone: b},
                affinity: ["kind in (a100,h100)", "memory > 40000", "!spot", "100: rack notin (1, 2)", "5:ssd"]}
        """
    )
    target = tmp_path / "retraining.yaml"
    assert cli.main(["compile", "--profile", str(own), "--output", str(target)]) == 0
    (_, container, kubernetes), *_ = [found for name, found in tasks(target).items() if step(name) == "train"]
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/mig-3g.40gb"
    labels = kubernetes["podMetadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team" and labels["kueue.x-k8s.io/priority-class"] == "low"
    assert (
        kubernetes["nodeSelector"]["labels"] == {"zone": "b"} and kubernetes["imagePullSecret"][0]["secretName"] == "registry"
    )
    assert kubernetes["tolerations"] == [{"effect": "NoExecute", "key": "gpu", "operator": "Equal", "value": "a100"}]
    (placed,) = (one["nodeAffinityJson"]["runtimeValue"]["constant"] for one in kubernetes["nodeAffinity"])
    assert placed == {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "kind", "operator": "In", "values": ["a100", "h100"]},
                        {"key": "memory", "operator": "Gt", "values": ["40000"]},
                        {"key": "spot", "operator": "DoesNotExist"},
                    ]
                }
            ]
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100,
                "preference": {"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": ["1", "2"]}]},
            },
            {"weight": 5, "preference": {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]}},
        ],
    }
    assert {"name": "SSL_CERT_FILE", "value": "/etc/raro/authority/ca.crt"} in container["env"]
    assert {"name": "RARO_CACHE", "value": "/data/.cache"} in container["env"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train: {gpus: 1, shm: 1Gi, tolerations: ['a:NoSchedule']}", "train has 1 GPUs and image 'raro-cpu'"),
        ("train: {gpus: 1, image: raro-cuda, tolerations: ['a:NoSchedule']}", "train has 1 GPUs and no shm"),
        ("train: {gpus: 1, image: raro-cuda, shm: 1Gi}", "train has 1 GPUs and no toleration"),
        ("train: {gpus: 1, image: raro-cuda, shm: 1Gi, tolerations: ['a:NoSchedule'], retries: 0}", "and no retry"),
        ("train: {gpu_count: 1}", "unknown config key 'train.gpu_count'"),
        ("train: {memory: 64 gigabytes}", "train.memory '64 gigabytes' is not a quantity"),
        ("light: {tolerations: [gpu]}", "light.tolerations: 'gpu' is not a taint"),
        ("light: {tolerations: gpu}", "must be a list"),
        ("light: {affinity: ['zone in b']}", "light.affinity: 'zone in b' is no condition"),
        ("light: {affinity: ['!zone in (b)']}", "light.affinity: '!zone in (b)' is no condition"),
        ("light: {affinity: ['101: zone']}", "light.affinity: '101: zone' is no condition"),
        ("light: {backoff: soon}", "light.backoff 'soon' is not a duration"),
        ("secrets: {TOKEN: hunter2}", "TOKEN: 'hunter2' is not NAME/KEY"),
        ("settings: {HTTPS_PROXY: raro-settings/https-proxy}", "a proxy and no NO_PROXY"),
        ("secrets: {https_proxy: raro-proxy/url}", "a proxy and no NO_PROXY"),
        ("light: {cpu: 4Gi}", "light.cpu '4Gi' is not a quantity"),
        ("light: {memory: '8'}", "light.memory '8' is not a quantity"),  # bytes
        ("light: {tmp: 500m}", "light.tmp '500m' is not a quantity"),
        ("train: {shm: 0Gi}", "train.shm '0Gi' is not a quantity"),
        ("light: {selectors: {pool: a b}}", "light.selectors: 'pool: a b' is no label"),
        ("light: {queue: Team A}", "light.queue 'Team A' cannot be a name"),
        ("train: {gpus: 1, gpu: nvidia gpu}", "train.gpu 'nvidia gpu' is no resource"),
        ("evaluate: {gpus: 8, image: raro-cuda}", "evaluate has 8 GPUs and computes on one"),
        ("mount: runs", "mount 'runs' is no place for the volume"),
        ("mount: /runs/", "mount '/runs/' is no place"),
        ("mount: /tmp", "mount '/tmp' is no place"),
        ("mount: /etc", "mount '/etc' is no place"),  # the authority's place lies in it
        ("mount: ''", "mount '' is no place"),
        ("mount: /runs/../data", "mount '/runs/../data' is no place"),
        ("claim: ''", "claim '' cannot be a name"),
        ("authority: House_CA", "authority 'House_CA' cannot be a name"),
        ("pull_secrets: [registry, '']", "pull_secrets[1] '' cannot be a name"),
        ("settings: {MY KEY: raro-settings/key}", "'MY KEY' cannot name a variable"),
        ("{secrets: {KEY: a/b}, settings: {KEY: c/d}}", "KEY stands in secrets and in settings"),
        ("{secrets: {KEY: hunter2}, settings: {KEY: c/d}}", "KEY: 'hunter2' is not NAME/KEY"),
        ("user: 0", "must be at least 1"),
        ("train: [", "is not valid YAML"),
    ],
)
def test_a_profile_that_cannot_work_is_refused(tmp_path, text, line):
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=re.escape(line)):
        profile.read(str(path))


def test_an_unknown_profile_is_refused_by_name():
    with pytest.raises(BadInput) as refusal:
        profile.read("tpu")
    assert refusal.value.remedy.endswith("cpu, gpu")


# --------------------------------------------------------------------------------------------------------- in the pod


def test_a_run_finds_its_folder_by_its_id(tmp_path):
    """Two pipeline runs with the same parameters, as a schedule starts them, do not meet."""
    config = load("countdown-mini").canonical()
    for job in ("one", "two"):
        artifact = SimpleNamespace(path=str(tmp_path / f"{job}.json"), metadata={})
        perform("preflight", config, f"{tmp_path}/runs/", job, artifact)
        assert json.loads((tmp_path / f"{job}.json").read_text())["step"] == "preflight"
        assert (tmp_path / "runs" / job / "preflight" / "manifest.json").is_file()


def test_a_node_without_its_gpus_fails_soon_and_is_tried_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RARO_GPUS", "9")
    with pytest.raises(SystemExit) as left:
        perform(
            "train", load("countdown-mini").canonical(), str(tmp_path / "run"), "job", SimpleNamespace(path="", metadata={})
        )
    assert left.value.code == 4 and "promised 9 GPUs" in capsys.readouterr().err
    failure = read_json(tmp_path / "run" / "failure.json")
    assert failure["stage"] == "train" and not failure["permanent"]


def test_a_folder_that_another_pipeline_wrote_to_is_refused(tmp_path, capsys):
    config, run = load("countdown-mini").canonical(), tmp_path / "run"
    artifact = SimpleNamespace(path=str(tmp_path / "preflight.json"), metadata={})
    perform("preflight", config, str(run), "job", artifact)
    handed = json.loads(Path(artifact.path).read_text())
    Path(artifact.path).write_text(json.dumps(handed | {"root": "0" * 64}))
    with pytest.raises(SystemExit) as left:
        perform("ingest", config, str(run), "job", SimpleNamespace(path=""), {"preflight": artifact})
    assert left.value.code == 3 and "produced 000000000000, but" in capsys.readouterr().err
