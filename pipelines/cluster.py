"""A task on a cluster: what Kubernetes and Kubeflow are told of it, from the profile and the lock of images.

kfp-kubernetes cannot set a container's read-only root, capabilities or seccomp profile: the namespace's Pod Security admission
and Kubeflow's own defaults do (docs/cluster.md). What it can set is set for every task, and tests/test_compiled.py looks at the
compiled YAML.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kfp import kubernetes
from kfp.dsl import PipelineTask

from raro.pipelines.profile import AFFINITY, CERTIFICATES, TOLERATION, Machine, Profile
from raro.steps import TITLES
from raro.steps.trainjob import VARIABLE as ORDER
from raro.steps.trainjob import Order, queued

TRUSTING = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")  # the variables that name who is trusted


def settle(task: PipelineTask, step: str, profile: Profile, reference: Callable[[str], str]) -> None:
    """Gives a step's task its image, machine, volume and environment. reference: an image's reference by its name."""
    machine = profile.machine(step)
    if profile.train.nodes > 1 and step in ("train", "finish"):  # the one launches, the other takes away what is left
        _hand_order(task, profile, reference)
    if profile.train.nodes > 1 and step == "train":  # it holds no GPU, and waits as long as the run may take
        waits = {"timeout": profile.deadline, "retries": machine.retries, "backoff": machine.backoff}
        machine = replace(profile.light, **waits)
    task.set_display_name(f"{step}: {TITLES[step]}")
    task.set_container_image(reference(machine.image))
    for variable, value in _variables(machine, profile, reference).items():
        task.set_env_variable(variable, value)
    # The longest duration is Argo's maxDuration: counted from the first try's start, it ends retries, and caps no wait.
    ends = f"{profile.deadline}s"
    task.set_retry(machine.retries, backoff_duration=machine.backoff, backoff_factor=2, backoff_max_duration=ends)
    kubernetes.set_timeout(task, machine.timeout)
    _ask_for(task, machine)
    # All steps share the run's folder, across pods, nodes and retries: checkpoints must outlive the pod that wrote them.
    kubernetes.mount_pvc(task, pvc_name=profile.claim, mount_path=profile.mount)
    _environment(task, profile)
    kubernetes.set_security_context(task, run_as_user=profile.user, run_as_group=profile.group, run_as_non_root=True)
    if profile.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(profile.pull_secrets))
    # A digest means one image: what the node has is what would be pulled.
    kubernetes.set_image_pull_policy(task, "IfNotPresent")


def _variables(machine: Machine, profile: Profile, reference: Callable[[str], str]) -> dict[str, str]:
    """The environment of whatever computes on a machine, a task or a node, but for secrets and settings."""
    variables = {"RARO_CACHE": f"{profile.mount}/.cache"}
    if "@sha256:" in reference(machine.image):
        variables["RARO_IMAGE"] = reference(machine.image)  # a container cannot know it; the provenance names it
    if machine.gpus:
        variables["RARO_GPUS"] = str(machine.gpus)  # the task looks for them before it begins: steps/task.py
    return variables | (dict.fromkeys(TRUSTING, f"{CERTIFICATES}/ca.crt") if profile.authority else {})


def _ask_for(task: PipelineTask, machine: Machine) -> None:
    task.set_env_variable("RARO_CPUS", machine.cpu)  # for the bill: steps/held.py
    task.set_cpu_request(machine.cpu).set_cpu_limit(machine.cpu)
    task.set_memory_request(machine.memory).set_memory_limit(machine.memory)
    kubernetes.empty_dir_mount(task, volume_name="tmp", mount_path="/tmp", size_limit=machine.tmp)
    if machine.gpus:
        task.set_accelerator_type(machine.gpu).set_accelerator_limit(machine.gpus)
    if machine.shm:
        kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=machine.shm)
    for text in machine.tolerations:
        kubernetes.add_toleration(task, **toleration(text))
    for label, value in machine.selectors.items():
        kubernetes.add_node_selector(task, label, value)
    if machine.affinity:
        kubernetes.add_node_affinity_json(task, affinity(machine.affinity))
    for label, value in queued(machine.queue, machine.priority).items():
        kubernetes.add_pod_label(task, label, value)


def _hand_order(task: PipelineTask, profile: Profile, reference: Callable[[str], str]) -> None:
    """What steps/trainjob.py is to ask Kubernetes for, and who asks."""
    train = profile.train
    plain = _variables(train, profile, reference).items()
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in plain]
    for variable, place in profile.settings.items():  # no secrets: a node reads and writes the volume alone
        name, _, key = place.partition("/")
        env.append({"name": variable, "valueFrom": {"configMapKeyRef": {"name": name, "key": key, "optional": True}}})
    order = Order(
        runtime=train.runtime,
        image=reference(train.image),
        nodes=train.nodes,
        cpu=train.cpu,
        memory=train.memory,
        gpu=train.gpu,
        gpus=train.gpus,
        queue=train.queue,
        priority=train.priority,
        selectors=train.selectors,
        tolerations=[toleration(text) for text in train.tolerations],
        affinity={"nodeAffinity": affinity(train.affinity)} if train.affinity else {},
        env=env,
        pull_secrets=list(profile.pull_secrets),
        security={"runAsUser": profile.user, "runAsGroup": profile.group, "fsGroup": profile.group},
        **_mounted(profile),
    )
    task.set_env_variable(ORDER, order.written())
    for variable, path in {"POD_NAME": "metadata.name", "POD_UID": "metadata.uid", "NAMESPACE": "metadata.namespace"}.items():
        kubernetes.use_field_path_as_env(task, env_name=f"RARO_{variable}", field_path=path)


def _mounted(profile: Profile) -> dict[str, list[dict[str, Any]]]:
    """{"volumes", "mounts"} of each node. Their names are the runtime's (k8s/trainer/runtime.yaml), whose own they replace."""
    train = profile.train
    volumes: dict[str, tuple[str, dict[str, Any]]] = {
        "runs": (profile.mount, {"persistentVolumeClaim": {"claimName": profile.claim}}),
        "tmp": ("/tmp", {"emptyDir": {"sizeLimit": train.tmp}}),
    }
    if train.shm:
        volumes["shm"] = ("/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": train.shm}})
    if profile.authority:
        volumes["authority"] = (CERTIFICATES, {"configMap": {"name": profile.authority}})
    return {
        "volumes": [{"name": name, **source} for name, (_, source) in volumes.items()],
        "mounts": [{"name": name, "mountPath": path} for name, (path, _) in volumes.items()],
    }


def toleration(text: str) -> dict[str, str]:
    """KEY=VALUE:EFFECT or KEY:EFFECT as Kubernetes writes it."""
    key, value, effect = TOLERATION.fullmatch(text).groups()
    equal = {"operator": "Equal", "value": value[1:]} if value else {"operator": "Exists"}
    return {"key": key, "effect": effect, **equal}


def affinity(texts: tuple[str, ...]) -> dict[str, Any]:
    """A node affinity as Kubernetes writes it. What has no weight must all hold: one term, for of several any would do."""
    operators = {"in": "In", "notin": "NotIn", ">": "Gt", "<": "Lt", None: "Exists"}
    musts, wishes = [], []
    for text in texts:
        parts = AFFINITY.fullmatch(text)
        values = parts["values"] or parts["number"]
        expression = {"key": parts["key"], "operator": operators[parts["among"] or parts["than"]]}
        expression |= {"values": re.split(", *", values)} if values else {}
        if parts["absent"]:
            expression = {"key": parts["absent"], "operator": "DoesNotExist"}
        if parts["weight"]:
            wishes.append({"weight": int(parts["weight"]), "preference": {"matchExpressions": [expression]}})
        else:
            musts.append(expression)
    must = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": musts}]}}
    return (must if musts else {}) | ({"preferredDuringSchedulingIgnoredDuringExecution": wishes} if wishes else {})


def _environment(task: PipelineTask, profile: Profile) -> None:
    for label, value in (("part-of", "raro"), ("component", "task")):  # what the network policies select
        kubernetes.add_pod_label(task, f"app.kubernetes.io/{label}", value)
    for variable, place in profile.secrets.items():
        name, _, key = place.partition("/")
        kubernetes.use_secret_as_env(task, secret_name=name, secret_key_to_env={key: variable}, optional=True)
    for variable, place in profile.settings.items():
        name, _, key = place.partition("/")
        kubernetes.use_config_map_as_env(task, config_map_name=name, config_map_key_to_env={key: variable}, optional=True)
    if profile.authority:
        kubernetes.use_config_map_as_volume(task, config_map_name=profile.authority, mount_path=CERTIFICATES)
