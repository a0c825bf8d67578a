"""What the pipeline asks of a cluster: machines, volumes, secrets by reference. Profiles lie in pipelines/profiles/*.yaml.

They are compiled into the pipeline instead of being its parameters: a platform team reviews and pins one YAML, and a form that
lets anyone ask for 8 GPUs is not offered. What a GPU task cannot do without (shared memory, a toleration) is refused here, when
it lacks, and not by a pod that never starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from raro.errors import BadInput
from raro.settings.reading import read_yaml
from raro.typed import built, doc

QUANTITIES = {  # how each is written, and an example; of memory a bare number would be bytes
    "cpu": (re.compile(r"\d+(\.\d+)?|\d+m"), "8, 0.5 or 500m"),
    **dict.fromkeys(("memory", "shm", "tmp"), (re.compile(r"\d+(\.\d+)?(Mi|Gi|Ti|M|G|T)"), "16Gi or 512Mi")),
}
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")  # of whatever stands in Kubernetes
# A node's label, or a resource; the label's value has no /.
LABEL = re.compile(r"([a-z0-9][a-z0-9.-]*/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOLERATION = re.compile(r"([\w./-]+)(=[\w.-]*)?:(NoSchedule|PreferNoSchedule|NoExecute)")
AFFINITY = re.compile(
    r"((?P<weight>[1-9]\d?|100): *)?(!(?P<absent>[\w./-]+)|(?P<key>[\w./-]+)"
    r"( +(?P<among>in|notin) +\((?P<values>[\w.-]+(, *[\w.-]+)*)\)| *(?P<than>[<>]) *(?P<number>\d+))?)"
)
DURATION = re.compile(r"\d+(s|m|h)")
CERTIFICATES = "/etc/raro/authority"  # where the config map of `authority` is mounted
MOUNT = re.compile(r"(/[A-Za-z0-9_-][\w.-]*)+")
TAKEN = (CERTIFICATES, "/tmp", "/dev/shm", "/opt/raro", "/bin", "/lib", "/usr/bin", "/usr/lib", "/var/run", "/proc", "/sys")
COSTLY = ("warmstart", "train", "evaluate")  # the steps with a machine of their own; all others are light


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one task gets. Requests equal limits: the pod is never evicted for using what it asked for."""

    image: Literal["raro-cpu", "raro-cuda"] = doc("raro-cpu", "entry of docker/images.lock.yaml")
    cpu: str = doc("1", "cores")
    memory: str = doc("4Gi", "memory; /dev/shm counts towards it")
    gpu: str = doc("nvidia.com/gpu", "resource name of the accelerator, a MIG slice too: nvidia.com/mig-3g.40gb")
    gpus: int = doc(0, "how many of them; resources.processes of the run's configuration may not be more", low=0)
    nodes: int = doc(1, "of train: so many of this machine, in a TrainJob of Kubeflow Trainer 2.2 (k8s/trainer)", low=1)
    runtime: str = doc("raro-torch", "the ClusterTrainingRuntime of those nodes, which says how they are locked down")
    shm: str = doc("", "/dev/shm, in memory: processes that train together exchange tensors there")
    tmp: str = doc("4Gi", "/tmp, on the node's disk: the one writable place of the image")
    timeout: int = doc(3600, "seconds after which the pod is stopped; each retry has as many", low=60)
    retries: int = doc(2, "times that Kubeflow starts it again; each stops at once after a permanent failure", low=0, high=10)
    backoff: str = doc("60s", "before the first retry; twice as long before each further one")
    tolerations: tuple[str, ...] = doc((), "KEY=VALUE:EFFECT or KEY:EFFECT, as `kubectl taint` writes them")
    selectors: dict[str, str] = doc({}, "labels that the node must have")
    affinity: tuple[str, ...] = doc(
        (), "KEY, !KEY, KEY in (A, B), KEY notin (A, B), KEY > 5 or KEY < 5 of its labels; with a weight, 50: KEY, only a wish"
    )
    queue: str = doc("", "Kueue's local queue; empty: none")
    priority: str = doc("", "Kueue's workload priority class; empty: none")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One cluster."""

    claim: str = doc("raro-runs", "PersistentVolumeClaim, ReadWriteMany, that all tasks mount: runs and the models' cache")
    mount: str = doc("/runs", "where it is mounted")
    user: int = doc(65532, "user of every task, as in docker/Dockerfile", low=1)
    group: int = doc(65532, "group of every task; the volume must let it write", low=1)
    pull_secrets: tuple[str, ...] = doc((), "secrets for pulling images")
    secrets: dict[str, str] = doc({}, "environment variable: SECRET/KEY; those that do not exist are left out")
    settings: dict[str, str] = doc({}, "environment variable: CONFIGMAP/KEY; those that do not exist are left out")
    authority: str = doc("", "config map whose ca.crt is the institution's certificate authority; empty: the image's own")
    mlflow_plugin: bool = doc(False, "Kubeflow's own MLflow plugin tells each task where the server is (injectUserEnvVars)")
    deadline: int = doc(7 * 86400, "seconds after which the whole run is stopped", low=60)
    keep: int = doc(7 * 86400, "seconds that Kubernetes keeps a finished run's pods", low=60)
    light: Machine = doc(Machine(), "every task but the costly ones")
    warmstart: Machine = doc(Machine(), "the warm start")
    train: Machine = doc(Machine(), "the game")
    evaluate: Machine = doc(Machine(), "the last reading")

    def machine(self, step: str) -> Machine:
        """The machine of a step's task."""
        return getattr(self, step) if step in COSTLY else self.light


def names() -> list[str]:
    """The packaged profiles."""
    folder = resources.files("raro.pipelines") / "profiles"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def read(source: str) -> Profile:
    """The profile of a YAML file, or a packaged one by its bare name. Raises BadInput naming what is wrong with it."""
    path = Path(source)
    if not path.is_file():
        if source not in names():
            raise BadInput(f"profile '{source}' does not exist", f"give a YAML file, or one of: {', '.join(names())}")
        path = Path(str(resources.files("raro.pipelines") / "profiles" / f"{source}.yaml"))
    data = read_yaml(path, f"profile '{source}'")
    try:
        profile = built(Profile, data or {})
    except BadInput as error:
        raise BadInput(f"profile '{source}': {error.line}", error.remedy) from None
    for wrong, remedy in _faults(profile):
        raise BadInput(f"profile '{source}': {wrong}", remedy)
    return profile


def _faults(profile: Profile) -> Iterator[tuple[str, str]]:
    """(what is wrong, remedy) of a profile whose types are right."""
    yield from _faults_of_names(profile)
    told = {variable.upper() for variable in (*profile.secrets, *profile.settings)}
    if told & {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} and "NO_PROXY" not in told:
        yield "a proxy and no NO_PROXY", "name one: Kubeflow's launcher, in the same container, must not ask the proxy"
    for name in ("light", *COSTLY):
        yield from _faults_of_machine(name, getattr(profile, name))


def _faults_of_names(profile: Profile) -> Iterator[tuple[str, str]]:
    """What Kubernetes would take for no name, and refuse when the first pod is made."""
    for variable, place in (*profile.secrets.items(), *profile.settings.items()):
        if not re.fullmatch(r"[a-z0-9.-]+/[\w.-]+", place):
            yield f"{variable}: '{place}' is not NAME/KEY", "secrets stand in the cluster; the profile only says where"
        if not VARIABLE.fullmatch(variable):
            yield f"'{variable}' cannot name a variable", "use letters, digits and _"
    for variable in sorted({*profile.secrets} & {*profile.settings}):
        yield f"{variable} stands in secrets and in settings", "leave one of them out"
    named = {"claim": profile.claim, "authority": profile.authority or "none"}
    named |= {f"pull_secrets[{i}]": name for i, name in enumerate(profile.pull_secrets)}
    for key, name in named.items():
        if not NAME.fullmatch(name):
            yield f"{key} '{name}' cannot be a name in Kubernetes", "use lower case, digits, dashes and dots"
    mount = profile.mount
    if not MOUNT.fullmatch(mount) or any(f"{place}/".startswith(f"{mount}/") for place in TAKEN):
        yield (
            f"mount '{mount}' is no place for the volume",
            "give a folder of its own, from the root and without a slash at its end: /runs",
        )


def _faults_of_machine(name: str, machine: Machine) -> Iterator[tuple[str, str]]:
    for key, (written, example) in QUANTITIES.items():
        value: str = getattr(machine, key)
        if key == "shm" and not value:
            continue
        if not written.fullmatch(value) or not re.search(r"[1-9]", value):
            yield f"{name}.{key} '{value}' is not a quantity of Kubernetes", f"write for example {example}"
    if name != "train" and machine.nodes > 1:
        yield f"{name}.nodes is {machine.nodes}", "only train runs on many nodes"
    if not DURATION.fullmatch(machine.backoff):
        yield f"{name}.backoff '{machine.backoff}' is not a duration", "write for example 60s or 5m"
    for text in machine.tolerations:
        if not TOLERATION.fullmatch(text):
            yield f"{name}.tolerations: '{text}' is not a taint", "write KEY=VALUE:EFFECT or KEY:EFFECT"
    for text in machine.affinity:
        if not AFFINITY.fullmatch(text):
            yield f"{name}.affinity: '{text}' is no condition", "write KEY, !KEY, KEY in (A, B), KEY > 5, or 50: KEY"
    for label, value in machine.selectors.items():
        if not LABEL.fullmatch(label) or value and ("/" in value or not LABEL.fullmatch(value)):
            yield (
                f"{name}.selectors: '{label}: {value}' is no label of a node",
                "write it as `kubectl get nodes --show-labels` does",
            )
    for key in ("runtime", "queue", "priority"):
        if (value := getattr(machine, key)) and not NAME.fullmatch(value):
            yield f"{name}.{key} '{value}' cannot be a name in Kubernetes", "use lower case, digits, dashes and dots"
    if machine.gpus:
        if not LABEL.fullmatch(machine.gpu) or "/" not in machine.gpu:
            yield f"{name}.gpu '{machine.gpu}' is no resource of a node", "write for example nvidia.com/gpu"
        if machine.gpus > 1 and name != "train":
            yield f"{name} has {machine.gpus} GPUs and computes on one", f"set {name}.gpus: 1"
        if machine.image != "raro-cuda":
            yield f"{name} has {machine.gpus} GPUs and image '{machine.image}'", "set its image to raro-cuda"
        if not machine.shm:
            yield f"{name} has {machine.gpus} GPUs and no shm", "give it some: Kubernetes' own 64 MiB end in bus errors"
        if not machine.tolerations:
            yield f"{name} has {machine.gpus} GPUs and no toleration", "name the taint of the GPU nodes"
        if not machine.retries:
            yield f"{name} has {machine.gpus} GPUs and no retry", "set retries: a lost node costs only the last few steps"
