"""Training on many nodes: the TrainJob that a task launches, watches and takes away, against an HTTP server that speaks what
this needs of Kubernetes' API and runs the job's own command as Trainer would. No real cluster was at hand.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from kubernetes_server import kubernetes_server
from safetensors.torch import load_file
from test_training import finish, metrics, prepared

from raro import cli
from raro.config import parse
from raro.errors import BadInput, ServiceFailed
from raro.pipelines import profile
from raro.pipelines.fitting import check
from raro.steps import run_step, trainjob
from raro.steps.claim import claim
from raro.storage import read_json
from raro.tracking import events

ROOT = Path(__file__).parents[1]
WISH = {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}}
ORDER = trainjob.Order(
    runtime="raro-torch",
    image="registry.example.org/raro/raro-cuda@sha256:" + "0" * 64,
    nodes=2,
    cpu="64",
    memory="512Gi",
    gpu="nvidia.com/gpu",
    gpus=8,
    queue="team",
    priority="nightly",
    selectors={"pool": "h100"},
    tolerations=[{"key": "nvidia.com/gpu", "effect": "NoSchedule", "operator": "Exists"}],
    affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [WISH]}},
    pull_secrets=["house-registry"],
    volumes=[
        {"name": "runs", "persistentVolumeClaim": {"claimName": "house-runs"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Gi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "24Gi"}},
        {"name": "authority", "configMap": {"name": "house-ca"}},
    ],
    mounts=[
        {"name": "runs", "mountPath": "/house"},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "authority", "mountPath": "/etc/raro/authority"},
    ],
    security={"runAsUser": 1001, "runAsGroup": 2002, "fsGroup": 2002},
)
GREET = ["python3", "-c", "import os; print('node', os.environ['PET_NODE_RANK'], 'of', os.environ['PET_NNODES'])"]
SLEEP = ["python3", "-c", "import time; print('up', flush=True); time.sleep(120)"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    with kubernetes_server(tmp_path) as found:
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("RARO_NAMESPACE", "raro")
        monkeypatch.setattr(trainjob, "POLL", 0.1)
        yield found


def heard(capfd, what: str) -> str:
    """What was printed, once `what` was: the log comes in a thread of its own."""
    said, deadline = "", time.monotonic() + 10
    while what not in said and time.monotonic() < deadline:
        said += capfd.readouterr().out
        time.sleep(0.05)
    return said


# ------------------------------------------------------------------------------------------------------------ what is asked for


def test_the_manifest_says_what_the_profile_says(monkeypatch, tmp_path):
    monkeypatch.setenv("RARO_POD_NAME", "launcher")
    monkeypatch.setenv("RARO_POD_UID", "u-1")
    body = trainjob.manifest(ORDER, tmp_path, GREET, 16)
    assert body["apiVersion"] == "trainer.kubeflow.org/v1alpha1" and body["kind"] == "TrainJob"
    assert body["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "launcher", "uid": "u-1"}]
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert body["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "nightly"
    trainer = body["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8) and trainer["image"] == ORDER.image
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"}
    (patch,) = body["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node" and node["template"]["spec"]["template"]["spec"] == {
        "nodeSelector": {"pool": "h100"},
        "tolerations": ORDER.tolerations,
        "affinity": ORDER.affinity,
        "imagePullSecrets": [{"name": "house-registry"}],
        "volumes": ORDER.volumes,
        "containers": [{"name": "node", "volumeMounts": ORDER.mounts}],
        "securityContext": ORDER.security,
    }


def test_processes_that_cannot_be_dealt_evenly_are_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be dealt evenly among 2 nodes"):
        trainjob.manifest(ORDER, tmp_path, GREET, 7)


PROFILE = """
light: {cpu: "2", memory: 8Gi}
train: {nodes: 2, image: raro-cuda, gpus: 8, shm: 24Gi, tmp: 64Gi, cpu: "64", memory: 512Gi, queue: team, priority: nightly,
        selectors: {pool: h100}, tolerations: ["nvidia.com/gpu:NoSchedule"], affinity: ["10: zone in (b)"]}
claim: house-runs
mount: /house
user: 1001
group: 2002
authority: house-ca
secrets: {AWS_ACCESS_KEY_ID: raro-store/access-key}
settings: {NCCL_DEBUG: house/nccl}
pull_secrets: [house-registry]
"""


def test_the_task_that_launches_holds_no_gpu_and_waits_as_long_as_the_run_may_take(tmp_path):
    (tmp_path / "profile.yaml").write_text(PROFILE)
    target = tmp_path / "retraining.yaml"
    assert cli.main(["compile", "--profile", str(tmp_path / "profile.yaml"), "--output", str(target)]) == 0
    spec, platform = yaml.safe_load_all(target.read_text())
    container = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    told = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert container["image"].startswith("raro-cpu") and "accelerator" not in container["resources"]
    assert int(told["activeDeadlineSeconds"]) == profile.Profile().deadline
    environment = {one["name"]: one["value"] for one in container["env"]}
    order = trainjob.Order(**json.loads(environment[trainjob.VARIABLE]))
    assert order == dataclasses.replace(ORDER, image="raro-cuda:unresolved", env=order.env)
    assert {"name": "SSL_CERT_FILE", "value": "/etc/raro/authority/ca.crt"} in order.env
    assert {"name": "RARO_GPUS", "value": "8"} in order.env and "RARO_GPUS" not in environment
    assert not any(one["name"] == "RARO_IMAGE" for one in order.env), "an image without a digest is none to name"
    setting = {"configMapKeyRef": {"name": "house", "key": "nccl", "optional": True}}
    assert {"name": "NCCL_DEBUG", "valueFrom": setting} in order.env
    assert "AWS_ACCESS_KEY_ID" not in {one["name"] for one in order.env}, "of the store a node needs nothing"
    assert {one["name"] for one in told["fieldPathAsEnv"]} == {"RARO_POD_NAME", "RARO_POD_UID", "RARO_NAMESPACE"}


def test_what_cannot_be_on_many_nodes_is_refused_before_anything_is_sent(tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text("evaluate: {nodes: 2}")
    with pytest.raises(BadInput, match="only train runs on many nodes"):
        profile.read(str(path))
    path.write_text(PROFILE)
    for processes, line in (
        (17, "2 nodes of 8 GPUs"),
        (15, "dealt evenly among 2 nodes"),
        (2, "of which 14 would be held and not used"),
    ):
        settings = {"tracking": {"uri": "http://mlflow:5000"}, "resources": {"processes": processes}}
        with pytest.raises(BadInput, match=line):
            check(parse(settings), profile.read(str(path)))


def test_the_runtime_fits_what_the_job_refers_to_and_is_locked_down():
    (runtime,) = yaml.safe_load_all((ROOT / "k8s" / "trainer" / "runtime.yaml").read_text(encoding="utf-8"))
    assert runtime["metadata"]["name"] == profile.Machine().runtime
    assert runtime["spec"]["mlPolicy"]["torch"] == {}  # numProcPerNode went when runtimePatches came, with Trainer 2.2
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    labels = node["template"]["spec"]["template"]["metadata"]["labels"]
    assert labels["sidecar.istio.io/inject"] == "false"  # a node whose sidecar goes on never ends
    pod = node["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert node["name"] == container["name"] == "node"  # the names that Trainer and our patch look for
    assert pod["securityContext"]["runAsUser"] == 65532 and not pod["automountServiceAccountToken"]
    assert container["securityContext"]["readOnlyRootFilesystem"] and container["securityContext"]["capabilities"] == {
        "drop": ["ALL"]
    }
    volumes, mounts = ({one["name"]: one for one in found} for found in (pod["volumes"], container["volumeMounts"]))
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == profile.Profile().claim
    assert mounts["runs"]["mountPath"] == profile.Profile().mount
    for one in ORDER.volumes[:3]:  # merged by name: of the same kind, or a volume would have two sources
        assert volumes[one["name"]][kind := next(key for key in one if key != "name")].keys() == one[kind].keys(), one
    for one in ORDER.mounts[1:3]:
        assert mounts[one["name"]] == one


def test_the_role_allows_what_is_asked_for_and_no_more(server, tmp_path, monkeypatch):
    role = next(yaml.safe_load_all((ROOT / "k8s" / "trainer" / "rbac.yaml").read_text(encoding="utf-8")))
    allowed = {(verb, what) for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}
    monkeypatch.setattr(trainjob, "LATE", 0.3)
    trainjob.train(ORDER, tmp_path, ["python3", "-c", "import time; time.sleep(2)"], 2)
    job = trainjob.name_of(tmp_path)
    verbs = {
        ("POST", "trainjobs"): ("create", "trainjobs"),
        ("GET", job): ("get", "trainjobs"),
        ("DELETE", job): ("delete", "trainjobs"),
        ("GET", "pods"): ("list", "pods"),
        ("GET", "log"): ("get", "pods/log"),
    }
    assert {verbs[asked] for asked in server.seen} == allowed


# --------------------------------------------------------------------------------------------------------- launched and watched


def test_success_is_streamed_and_the_job_is_gone(server, tmp_path, capfd):
    trainjob.train(ORDER, tmp_path, GREET, 2)
    assert not server.jobs and server.seen[-1] == ("DELETE", trainjob.name_of(tmp_path))
    assert f"TrainJob {trainjob.name_of(tmp_path)}: complete" in capfd.readouterr().out


def test_what_node_0_says_is_printed_while_it_goes_on(server, tmp_path, capfd, monkeypatch):
    task = threading.Thread(target=trainjob.train, args=(ORDER, tmp_path, SLEEP, 2), daemon=True)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # the job is deleted below, of which the task complains
    task.start()
    assert "up\n" in heard(capfd, "up\n")
    server.delete(trainjob.name_of(tmp_path))
    task.join(10)
    assert not task.is_alive()


def test_failure_is_told_and_the_job_is_gone(server, tmp_path):
    with pytest.raises(ServiceFailed, match="failed: node 1 ended badly"):
        trainjob.train(ORDER, tmp_path, ["python3", "-c", "import os, sys; sys.exit(int(os.environ['PET_NODE_RANK']))"], 2)
    assert not server.jobs


def test_a_queue_is_waited_for(server, tmp_path, capfd):
    server.suspended = 1.0
    trainjob.train(ORDER, tmp_path, GREET, 2)
    said = capfd.readouterr().out
    assert said.index(": suspended") < said.index(": complete")


def test_nodes_that_do_not_come_are_told_of_once(server, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(trainjob, "LATE", 0.3)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image\n "raro-cuda"'}
    pulls = {"containerStatuses": [{"name": "node", "image": "", "imageID": "", "ready": False, "restartCount": 0}]}
    pulls["containerStatuses"][0]["state"] = {"waiting": waiting}
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    server.held = {1: {"conditions": [full]}, 2: pulls, 3: {"conditions": [full]}, 4: {}, 5: None}
    name = trainjob.name_of(tmp_path)
    threading.Timer(2.0, lambda: server.delete(name)).start()
    with pytest.raises(ServiceFailed, match="was deleted by somebody else"):
        trainjob.train(dataclasses.replace(ORDER, nodes=6), tmp_path, SLEEP, 6)
    _, _, said = capfd.readouterr().out.partition(f"TrainJob {name}: created\n")
    assert [line for line in said.splitlines() if line != "up"] == [
        f"TrainJob {name}: 5 pods of 6 nodes exist",
        f"  {name}-node-0-1 and 1 more: Unschedulable: 0/3 nodes are available",
        f'  {name}-node-0-2: ImagePullBackOff: Back-off pulling image "raro-cuda"',
        f"  {name}-node-0-4: no reason is told",
        f"  the others: kubectl -n raro describe jobs -l jobset.sigs.k8s.io/jobset-name={name}",
    ]


def test_nodes_that_all_came_are_not_spoken_of(server, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(trainjob, "LATE", 0.3)
    trainjob.train(ORDER, tmp_path, ["python3", "-c", "import time; time.sleep(1)"], 2)
    assert "exist" not in capfd.readouterr().out and ("GET", "pods") in server.seen


def test_a_job_that_somebody_deletes_is_worth_another_try(server, tmp_path):
    threading.Timer(0.5, lambda: server.delete(trainjob.name_of(tmp_path))).start()
    with pytest.raises(ServiceFailed, match="was deleted by somebody else"):
        trainjob.train(ORDER, tmp_path, SLEEP, 2)


def test_silence_is_borne_for_a_while(server, tmp_path, monkeypatch):
    server.answers = [200, 200, 503, 500, 503]
    trainjob.train(ORDER, tmp_path, GREET, 2)
    monkeypatch.setattr(trainjob, "PATIENCE", 0.3)
    server.answers = [200, 200, *[503] * 30]
    with pytest.raises(ServiceFailed, match="the server says 503"):
        trainjob.train(ORDER, tmp_path, SLEEP, 2)


def test_what_an_earlier_try_left_is_taken_away_and_a_strangers_is_not(server, tmp_path):
    left = trainjob.manifest(ORDER, tmp_path, SLEEP, 2)
    server.create(left)
    trainjob.train(ORDER, tmp_path, GREET, 2)
    assert [body["spec"]["trainer"]["command"] for body in server.created] == [SLEEP, GREET]
    server.create({**left, "metadata": {"name": trainjob.name_of(tmp_path), "labels": {}}})
    with pytest.raises(BadInput, match="exists and is not ours"):
        trainjob.train(ORDER, tmp_path, GREET, 2)
    assert server.jobs


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        (400, BadInput, "install Kubeflow Trainer 2.2 or later"),
        (403, BadInput, "the role raro-trainer"),
        (404, BadInput, "install Kubeflow Trainer 2.2 or later"),
        (409, ServiceFailed, ""),
    ],
)
def test_what_kubernetes_refuses(server, tmp_path, code, kind, remedy):
    server.answers = [200, code]
    with pytest.raises(kind, match=f"Kubernetes refuses 'raro-train-[0-9a-f]+' \\({code}\\)") as refusal:
        trainjob.train(ORDER, tmp_path, GREET, 2)
    assert remedy in refusal.value.remedy and not server.jobs


def test_an_older_trainer_refuses_what_it_would_drop(server, tmp_path):
    """Without being asked to be strict, Kubernetes drops an unknown field with a warning, and the nodes run anywhere."""
    server.unknown = "runtimePatches"
    with pytest.raises(BadInput, match=r"\(400\): strict decoding error: unknown field \"spec.runtimePatches\""):
        trainjob.train(ORDER, tmp_path, GREET, 2)
    assert not server.created


def test_without_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(BadInput, match="knows no Kubernetes"):
        trainjob.train(ORDER, tmp_path, GREET, 2)


def test_the_exit_handler_takes_away_what_a_killed_task_left(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_TRACKING", "off")
    monkeypatch.setenv(trainjob.VARIABLE, ORDER.written())
    config, run = parse({}), tmp_path / "run"
    claim(config, run)
    server.create(trainjob.manifest(ORDER, run, SLEEP, 2))
    (run / "report.html").mkdir()
    with pytest.raises(BadInput):  # the page cannot be written
        run_step("finish", config, run)
    assert not server.jobs
    (run / "report.html").rmdir()
    server.answers = [403]
    run_step("finish", config, run)
    warnings = [event["text"] for event in events.read(run)[0] if event.get("level") == "warning"]
    assert warnings == [f"a TrainJob may be left over: Kubernetes refuses '{trainjob.name_of(run)}' (403): the server says 403"]


# ------------------------------------------------------------------------------------------------------------------ for real


def on_nodes(run: Path, place: Path) -> subprocess.Popen:
    """`raro step train` as a task that launches two nodes of one process each."""
    order = dataclasses.replace(ORDER, gpus=0)
    told = {"KUBECONFIG": str(place / "kubeconfig"), "RARO_NAMESPACE": "raro", trainjob.VARIABLE: order.written()}
    command = [sys.executable, "-m", "raro.cli", "step", "train", str(run / "config.json"), "--output", str(run)]
    environment = os.environ | told | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.check
def test_two_nodes_train_what_one_process_trains(tmp_path):
    """The TrainJob's own command on two "nodes", stopped once on the way: the job goes with the task, and the next try ends
    where one process ends, parameters within 1e-5, relatively."""
    short = {"raro.steps": 2, "raro.checkpoint_every": 1, "raro.snapshots": 1, "evaluation.track_every": 0}
    alone = prepared(tmp_path / "alone", **short)
    finish(alone)
    run = prepared(tmp_path / "run", **short, **{"resources.processes": 2})
    with kubernetes_server(tmp_path) as server:
        first = on_nodes(run, tmp_path)
        while 1 not in metrics(run) and first.poll() is None:
            time.sleep(0.05)
        first.send_signal(signal.SIGTERM)
        said, _ = first.communicate(timeout=60)
        assert first.returncode == 130 and not server.jobs, said
        said, _ = on_nodes(run, tmp_path).communicate(timeout=300)
        assert not server.jobs and "complete" in said, said
    assert read_json(run / "train" / "train.json")["processes"] == 2
    assert metrics(run)[1] == pytest.approx(metrics(alone)[1], rel=1e-4, abs=1e-6)
    ours, theirs = (load_file(folder / "train" / "model" / "model.safetensors") for folder in (run, alone))
    for name in ours:
        assert (ours[name] - theirs[name]).norm() <= 1e-5 * theirs[name].norm() + 1e-8, name
