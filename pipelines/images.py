"""Which container images the project uses: docker/images.lock.yaml, every one by digest.

A tag can come to mean another image overnight, and Kubeflow's cache looks only at the text of the reference. So a release names
digests, and a digest is written by one command only, which asked the registry for it:

    make images-lock REGISTRY=registry.example.org/raro [MIRROR=registry.example.org/raro]

It needs `crane` or `skopeo`, logged in to the registries. MIRROR, behind an air gap, is where copies of upstream images lie.
What was looked up upstream before keeps its digest, since images were built on it, until it is named in ONLY.
`python -m raro.pipelines.images kustomize` then writes k8s/images/kustomization.yaml from the lock, so that the manifests
deploy the same images.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from raro.errors import BadInput, RaroError, ServiceFailed
from raro.settings.reading import read_yaml
from raro.steps.harness import explained
from raro.storage import write_atomic

LOCK = Path("docker/images.lock.yaml")
KUSTOMIZATION = Path("k8s/images/kustomization.yaml")
UNRESOLVED = "unresolved"
NO_MIRROR = "none"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PLACE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")  # in a registry
CLIENTS = {"crane": ["digest"], "skopeo": ["inspect", "--no-tags", "--format", "{{.Digest}}"]}
ASK_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Image:
    """One entry. tag: where it is looked up; of an image that we build, relative to the lock's registry. built: by us."""

    name: str
    tag: str
    built: bool
    digest: str = UNRESOLVED

    def repository(self, registry: str, mirror: str) -> str:
        """Where the image lies, without tag and digest: a copy of an upstream image by the last part of its name."""
        name = self.tag.rpartition(":")[0]
        if self.built:
            return f"{registry}/{name}"
        return name if mirror == NO_MIRROR else f"{mirror}/{name.rpartition('/')[2]}"


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The whole file. registry: where the images that we build are pushed; mirror: where copies of the upstream ones lie."""

    path: Path
    registry: str
    mirror: str
    images: Mapping[str, Image]

    def reference(self, name: str) -> str:
        """repository@digest. Raises BadInput where the digest is not known yet, or the image is not in the lock."""
        if (image := self.images.get(name)) is None:
            raise BadInput(f"image '{name}' is not in '{self.path}'", "restore its entry from the repository")
        if image.digest == UNRESOLVED or image.built and self.registry == UNRESOLVED:
            line = f"image '{name}' has no digest yet: '{self.path}' says {UNRESOLVED}"
            raise BadInput(line, "build and push it, then `make images-lock REGISTRY=...`")
        return f"{image.repository(self.registry, self.mirror)}@{image.digest}"


def _check_place(key: str, place: object) -> None:
    """Raises BadInput for what no image's name can begin with. `unresolved` and `none` can."""
    if not isinstance(place, str) or not PLACE.fullmatch(place):
        remedy = "write HOST/FOLDER in lower case, without https:// and without a slash at its end"
        raise BadInput(f"{key} '{place}' is no place of images", remedy)


def unresolved(name: str) -> str:
    """What a compiled pipeline names where no lock was asked: nothing that a cluster could pull by accident."""
    return f"{name}:{UNRESOLVED}"


def read(path: str | Path = LOCK, instead: str = "name it with --images") -> Lock:
    """Raises BadInput where the lock is missing, holds what is neither a digest nor `unresolved`, or names no place of images.
    instead: what the command that asks can do without the checkout."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"the lock of the images '{path}' does not exist", f"go to the checkout, or {instead}")
    body = read_yaml(path, f"the lock of the images '{path}'", "restore it from the repository")
    try:
        images = {
            name: Image(name=name, tag=entry["tag"], built=entry["from"] != "upstream", digest=entry["digest"])
            for name, entry in body["images"].items()
        }
        registry, mirror = body["registry"], body.get("mirror", NO_MIRROR)
    except (KeyError, TypeError, AttributeError):
        raise BadInput(f"'{path}' is not a lock of images", "restore it from the repository") from None
    for key, place in (("registry", registry), ("mirror", mirror)):
        _check_place(key, place)
    for image in images.values():
        if not isinstance(image.tag, str) or not PLACE.fullmatch(image.tag.rpartition(":")[0]):
            raise BadInput(f"image '{image.name}' in '{path}' has the tag '{image.tag}'", "write NAME:TAG")
        if image.digest != UNRESOLVED and not DIGEST.fullmatch(str(image.digest)):
            raise BadInput(f"image '{image.name}' in '{path}' has no digest but '{image.digest}'", "run `make images-lock`")
    return Lock(path=path, registry=registry, mirror=mirror, images=images)


# ------------------------------------------------------------------------------------------------------------------ resolving


def resolve(lock: Lock, registry: str | None = None, only: Sequence[str] = (), mirror: str | None = None) -> Lock:
    """The lock with the digests that the registries name now, written to its file when all are known: those of `only`, or of
    all but the upstream images that have one already, which a new mirror must hold by that very digest. Raises BadInput where
    there is no client or no such image, or `only` leaves out an image that a new mirror was never asked for, ServiceFailed
    where a registry does not answer."""
    registry, mirror = registry or lock.registry, mirror or lock.mirror
    for key, place in (("registry", registry), ("mirror", mirror)):
        _check_place(key, place)
    if unknown := sorted(set(only) - set(lock.images)):
        raise BadInput(f"'{unknown[0]}' is not in '{lock.path}'", f"there are: {', '.join(lock.images)}")
    left = [one.name for one in lock.images.values() if not one.built and one.digest != UNRESOLVED and one.name not in only]
    if only and left and mirror != lock.mirror:
        raise BadInput(f"whether the new mirror '{mirror}' holds '{left[0]}' would not be asked", "leave ONLY out")
    wanted = {name: lock.images[name] for name in only or lock.images}
    if registry == UNRESOLVED and any(image.built for image in wanted.values()):
        raise BadInput("where our own images are pushed is not known", "make images-lock REGISTRY=registry.example.org/raro")
    found = {}
    for name, image in wanted.items():
        place = image.repository(registry, mirror)
        if only or image.built or image.digest == UNRESOLVED:
            found[name] = replace(image, digest=_ask(f"{place}:{image.tag.rpartition(':')[2]}"))
        elif mirror != lock.mirror:
            _ask(f"{place}@{image.digest}")
    resolved = replace(lock, registry=registry, mirror=mirror, images={**lock.images, **found})
    _write(resolved)
    return resolved


def _ask(tag: str) -> str:
    client = next((name for name in CLIENTS if shutil.which(name)), None)
    if client is None:
        raise BadInput("crane or skopeo asks for digests, and neither is installed", "install one, and log in with it")
    command = [client, *CLIENTS[client], f"docker://{tag}" if client == "skopeo" else tag]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS)
    except subprocess.TimeoutExpired:
        raise ServiceFailed(f"the registry of '{tag}' does not answer", "check the network and the proxy") from None
    if said.returncode != 0:
        line = (said.stderr.strip().splitlines() or ["no message"])[-1][:200]
        hint = "see that it was pushed (`skopeo copy --all` and `crane copy` keep a digest) and that you are logged in"
        raise ServiceFailed(f"{client} finds no digest of '{tag}': {line}", hint)
    if not DIGEST.fullmatch(digest := said.stdout.strip()):
        raise ServiceFailed(f"{client} answers for '{tag}' with '{digest[:80]}', which is no digest", "try it by hand")
    return digest


def _write(lock: Lock) -> None:
    """Changes the values in place: the comments of the file stay. A file without `mirror` gets the line."""
    registry, mirror = f"registry: {lock.registry}", f"mirror: {lock.mirror}"
    text, known = re.subn(r"(?m)^mirror: .*$", mirror, lock.path.read_text(encoding="utf-8"))
    text = re.sub(r"(?m)^registry: .*$", registry if known else f"{registry}\n{mirror}", text)
    for image in lock.images.values():
        entry = rf"(?m)^(  {re.escape(image.name)}:\n(?:    .*\n)*?    digest: ).*$"
        text = re.sub(entry, rf"\g<1>{image.digest}", text)
    write_atomic(lock.path, text)


def kustomization(lock: Lock, names: Sequence[str]) -> str:
    """The kustomize component that puts the locked images in place of `NAME:unresolved`."""
    rows = []
    for name in names:
        repository, _, digest = lock.reference(name).partition("@")
        rows.append({"name": name, "newName": repository, "digest": digest})
    body = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "images": rows}
    return f"# Written by `make images-lock` from {lock.path}.\n" + yaml.safe_dump(body, sort_keys=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """`resolve [--registry R] [--mirror M] [NAME ...]`, `kustomize`, or `reference NAME`, which prints a build argument."""
    parser = argparse.ArgumentParser(prog="python -m raro.pipelines.images")
    parser.add_argument("what", choices=["resolve", "kustomize", "reference"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--registry")
    parser.add_argument("--mirror")
    parser.add_argument("--images", default=LOCK)
    args = parser.parse_args(arguments)
    try:
        lock = read(args.images)
        if args.what == "resolve":
            for image in resolve(lock, args.registry, args.names, args.mirror).images.values():
                print(f"{image.name:<14} {image.digest}")
        elif args.what == "kustomize":
            names = args.names or ["raro-cpu", "raro-tracking", "postgres", "seaweedfs"]
            print(write_atomic(KUSTOMIZATION, kustomization(lock, names)))
        else:
            print("\n".join(lock.reference(name) for name in args.names))
    except RaroError as error:
        print(explained(error), file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
