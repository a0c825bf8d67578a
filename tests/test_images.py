"""The images: their files, and the lock that names every one by digest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from raro.errors import BadInput, ServiceFailed
from raro.pipelines import images

ROOT = Path(__file__).parents[1]
DOCKERFILES = [ROOT / "docker" / "Dockerfile", ROOT / "docker" / "Dockerfile.vllm"]


@pytest.fixture
def lock(tmp_path) -> images.Lock:
    """A copy of the project's lock as the repository keeps it before a release."""
    path = tmp_path / "images.lock.yaml"
    text = (ROOT / images.LOCK).read_text(encoding="utf-8")
    text = re.sub(r"(?m)^((?:registry|    digest): ).*$", r"\1unresolved", text)
    text = re.sub(r"(?m)^mirror: .*$", "mirror: none", text)
    path.write_text(text, encoding="utf-8")
    return images.read(path)


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Puts a program named `crane` first on PATH, a script: no registry is reached from here."""

    def install(script: str) -> None:
        program = tmp_path / "bin" / "crane"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return install


# -------------------------------------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_ends_non_root_and_offline(path):
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    text = "\n".join(lines)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["65532:65532"]
    for variable in ("HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "DO_NOT_TRACK=1", "HOME=/tmp"):
        assert variable in text
    shipped = text[text.rindex("LABEL") :]
    assert not re.search(r"\b(pip install|apt-get|curl|wget)\b|ADD https?:", shipped)
    assert "org.opencontainers.image.revision" in text and not re.search(r":latest\b", text)
    assert "cyclonedx-bom==7.5.0" in text and "cyclonedx-py environment" in text and "/opt/raro/sbom.cdx.json" in text


def test_the_bill_of_vllms_image_needs_no_ensurepip():
    """Its Python is Ubuntu's, which has ensurepip in a package of its own; `venv` without it makes nothing and fails."""
    text = (ROOT / "docker" / "Dockerfile.vllm").read_text(encoding="utf-8")
    assert re.findall(r"-m venv (.*?) &&", text) == ["--without-pip /opt/sbom"]
    assert "python3 -m pip --python /opt/sbom/bin/python install" in text


def test_every_base_is_in_the_lock_and_versions_agree(lock):
    bases = [re.search(r"^ARG \w+_IMAGE=(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)[1] for path in DOCKERFILES]
    assert bases == [lock.images["python"].tag, lock.images["vllm"].tag]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {image.tag.rpartition(":")[2] for image in lock.images.values() if image.built} == {version}
    for path in DOCKERFILES:
        assert f"ARG VERSION={version}" in path.read_text(encoding="utf-8")


def test_vllm_beside_raro_is_installed_as_root_with_a_compiler_and_run_as_nobody(lock):
    (recipe,) = re.findall(r"```dockerfile\n(.+?)```", (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"), re.DOTALL)
    words = re.findall(r"^(FROM|USER|RUN|ENV)(?: (root|65532:65532)$)?", recipe, re.MULTILINE)
    assert words == [("FROM", ""), ("USER", "root"), ("RUN", ""), ("USER", "65532:65532"), ("ENV", "")]
    assert "raro-cuda@" in recipe and " gcc libc6-dev " in recipe
    assert "vllm==" + lock.images["vllm"].tag.rpartition(":v")[2] in recipe


def test_the_requirements_are_the_projects():
    command = [sys.executable, "docker/requirements.py", "pipeline", "tracking"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {re.match(r"[\w.-]+", line)[0] for line in lines}
    assert {"torch", "kfp", "kfp-kubernetes", "mlflow", "boto3"} <= names and "trl" not in names


def test_each_image_is_built_on_its_base_and_torchs_index_is_for_the_cpu_alone(tmp_path):
    """docker/build.sh, with scripts in the place of the engine and of the lock."""
    for name, script in {"engine": 'echo "$@"', "python": 'echo "$4@sha256:0"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    places = {
        "ENGINE": str(tmp_path / "engine"),
        "PYTHON": str(tmp_path / "python"),
        "TORCH_CPU_INDEX": "https://i.example.org",
    }
    command = ["sh", str(ROOT / "docker" / "build.sh")]
    said = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {re.search(r"-t ([\w-]+):", line)[1]: line for line in said}
    assert set(found) == {"raro-cpu", "raro-cuda", "raro-tracking", "raro-vllm"}
    for name, line in found.items():
        assert ("TORCH_INDEX=https://i.example.org" in line) == (name == "raro-cpu")
        base = "VLLM_IMAGE=vllm@sha256:0" if name == "raro-vllm" else "PYTHON_IMAGE=python@sha256:0"
        assert base in line and ("--target" in line) == (name != "raro-vllm")


@pytest.mark.check
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert program, "hadolint comes with `make check`"
    said = subprocess.run([program, "--failure-threshold", "style", str(path)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


# --------------------------------------------------------------------------------------------------------------------- the lock


def test_unresolved_is_refused(lock):
    with pytest.raises(BadInput, match="image 'raro-cpu' has no digest yet"):
        lock.reference("raro-cpu")


@pytest.mark.parametrize("digest", ["latest", "sha256:12", "sha256:" + "g" * 64])
def test_what_is_no_digest_is_refused(lock, digest):
    lock.path.write_text(lock.path.read_text().replace("digest: unresolved", f"digest: {digest}", 1))
    with pytest.raises(BadInput, match=f"has no digest but '{digest}'"):
        images.read(lock.path)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("registry: unresolved", "registry: https://r.example.org/raro", "registry 'https://r.example.org/raro' is no place"),
        ("registry: unresolved", "registry: 5", "registry '5' is no place"),
        ("mirror: none", "mirror: r.example.org/raro/", "mirror 'r.example.org/raro/' is no place"),
        ("tag: raro-cpu:0.1.0", "tag: raro-cpu", "image 'raro-cpu' in '.*' has the tag 'raro-cpu'"),
        ("tag: raro-cpu:0.1.0", "tag: 0.1", "has the tag '0.1'"),
    ],
)
def test_what_no_image_can_be_called_is_refused(lock, client, old, new, line):
    lock.path.write_text(lock.path.read_text().replace(old, new))
    with pytest.raises(BadInput, match=line):
        images.read(lock.path)
    client("echo asked >&2; exit 1")
    for more in ({"registry": "https://r.example.org/raro"}, {"registry": "r.example.org", "mirror": "r.example.org/"}):
        with pytest.raises(BadInput, match="is no place of images"):  # before a registry is asked
            images.resolve(lock, **more)


def test_an_image_that_the_lock_lacks_is_named(lock):
    body = yaml.safe_load(lock.path.read_text())
    del body["images"]["raro-cuda"]
    lock.path.write_text(yaml.safe_dump(body))
    with pytest.raises(BadInput, match="image 'raro-cuda' is not in"):
        images.read(lock.path).reference("raro-cuda")


def test_resolving_writes_what_the_registry_says_and_nothing_else(lock, client):
    client('echo "$2" >> "$(dirname "$0")/asked"; echo "sha256:$(echo "$2" | sha256sum | cut -c1-64)"')
    before = lock.path.read_text()
    resolved = images.resolve(lock, "registry.example.org/raro")
    assert images.read(lock.path).images == resolved.images
    assert resolved.reference("raro-cpu").startswith("registry.example.org/raro/raro-cpu@sha256:")
    assert resolved.reference("python").startswith("docker.io/library/python@sha256:")
    changed = [line for line, old in zip(lock.path.read_text().splitlines(), before.splitlines(), strict=True) if line != old]
    assert {line.split(":")[0].strip() for line in changed} == {"registry", "digest"}
    asked = (lock.path.parent / "bin" / "asked").read_text().split()
    assert "docker.io/library/python:3.11-slim" in asked and "registry.example.org/raro/raro-cuda:0.1.0" in asked


def test_behind_an_air_gap_every_image_is_the_houses(lock, client):
    client('case "$2" in house.example.org/*) echo sha256:' + "a" * 64 + ";; *) echo no route >&2; exit 1;; esac")
    with pytest.raises(ServiceFailed, match="no route"):
        images.resolve(lock, "house.example.org/raro")
    arguments = ["resolve", "--registry", "house.example.org/raro", "--mirror", "house.example.org/raro"]
    assert images.main([*arguments, "--images", str(lock.path)]) == 0
    resolved = images.read(lock.path)
    for name in resolved.images:
        assert resolved.reference(name).startswith("house.example.org/raro/"), name
    body = yaml.safe_load(images.kustomization(resolved, ["postgres", "seaweedfs"]))
    assert [row["newName"] for row in body["images"]] == ["house.example.org/raro/postgres", "house.example.org/raro/seaweedfs"]


def test_what_images_were_built_on_stays_until_it_is_asked_for(lock, client):
    client("echo sha256:" + "a" * 64)
    built_on = images.resolve(lock, only=["python"])
    client('case "$2" in *@sha256:a*) echo "$2" >> "$(dirname "$0")/asked";; esac; echo sha256:' + "b" * 64)
    locked = images.resolve(built_on, "registry.example.org/raro")
    assert locked.reference("python").endswith("a" * 64) and locked.reference("raro-cpu").endswith("b" * 64)
    copied = images.resolve(locked, mirror="house.example.org")
    assert copied.reference("python") == "house.example.org/python@sha256:" + "a" * 64
    asked = (lock.path.parent / "bin" / "asked").read_text().split()
    assert asked == ["house.example.org/python@sha256:" + "a" * 64], "a copy is looked for by its digest, once"
    assert images.resolve(copied, only=["python"]).reference("python").endswith("b" * 64)


def test_a_mirror_without_the_very_image_is_refused(lock, client):
    client('case "$2" in *@*) echo MANIFEST_UNKNOWN >&2; exit 1;; esac; echo sha256:' + "a" * 64)
    locked = images.resolve(lock, "registry.example.org/raro")
    before = lock.path.read_text()
    with pytest.raises(ServiceFailed, match="house.example.org/python@sha256:.*MANIFEST_UNKNOWN") as caught:
        images.resolve(locked, mirror="house.example.org")
    assert "skopeo copy --all" in caught.value.remedy and lock.path.read_text() == before


def test_a_new_mirror_is_asked_for_every_image(lock, client):
    client("echo sha256:" + "a" * 64)
    upstream = [image.name for image in lock.images.values() if not image.built]
    locked = images.resolve(lock, only=upstream)
    before = lock.path.read_text()
    with pytest.raises(BadInput, match="whether the new mirror 'house.example.org' holds 'vllm' would not be asked") as refusal:
        images.resolve(locked, only=["python", "seaweedfs"], mirror="house.example.org")
    assert refusal.value.remedy == "leave ONLY out" and lock.path.read_text() == before
    assert images.resolve(locked, only=upstream, mirror="house.example.org").mirror == "house.example.org"


def test_on_a_new_mirror_the_first_image_may_come_alone(lock, client):
    client("echo sha256:" + "a" * 64)
    first = images.resolve(lock, only=["python"], mirror="house.example.org")
    second = images.resolve(first, only=["vllm"])
    assert second.reference("vllm") == "house.example.org/vllm-openai@sha256:" + "a" * 64


def test_a_lock_of_before_there_were_mirrors_keeps_its_digests(lock, client):
    client("echo sha256:" + "a" * 64)
    images.resolve(lock, "registry.example.org/raro")
    lock.path.write_text(re.sub(r"(?m)^mirror: .*\n", "", lock.path.read_text()))
    old = images.read(lock.path)
    assert old.mirror == images.NO_MIRROR and old.reference("python").startswith("docker.io/library/python@")
    client("echo sha256:" + "b" * 64)
    assert images.resolve(old, mirror="house.example.org").images["python"].digest == "sha256:" + "a" * 64
    assert images.read(lock.path).mirror == "house.example.org"
    assert re.findall(r"(?m)^(?!#| )(\w+):", lock.path.read_text()) == ["registry", "mirror", "images"]


def test_an_image_that_is_not_there_leaves_the_lock_alone(lock, client):
    client('case "$2" in *postgres*) echo "MANIFEST_UNKNOWN: no such tag" >&2; exit 1;; esac; echo sha256:' + "0" * 64)
    before = lock.path.read_text()
    with pytest.raises(ServiceFailed, match="crane finds no digest of 'docker.io/library/postgres:.*MANIFEST_UNKNOWN"):
        images.resolve(lock, "registry.example.org/raro")
    assert lock.path.read_text() == before


def test_an_answer_that_is_no_digest_is_refused(lock, client):
    client("echo '<html>log in</html>'")
    with pytest.raises(ServiceFailed, match="which is no digest"):
        images.resolve(lock, only=["python"])


def test_no_client_and_no_registry(lock, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="neither is installed"):
        images.resolve(lock, only=["python"])
    with pytest.raises(BadInput, match="where our own images are pushed"):
        images.resolve(lock)
    assert images.main(["resolve", "pyhton", "--images", str(lock.path)]) == 2


def test_the_manifests_get_the_same_images(lock, client):
    client("echo sha256:" + "a" * 64)
    body = yaml.safe_load(
        images.kustomization(images.resolve(lock, "registry.example.org/raro"), ["raro-tracking", "postgres"])
    )
    assert body["images"] == [
        {"name": "raro-tracking", "newName": "registry.example.org/raro/raro-tracking", "digest": "sha256:" + "a" * 64},
        {"name": "postgres", "newName": "docker.io/library/postgres", "digest": "sha256:" + "a" * 64},
    ]
