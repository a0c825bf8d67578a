#!/bin/sh
# Builds the images that are named (default: all), each on the base that docker/images.lock.yaml names by digest.
# `make images` calls it. A release: make images-lock ONLY="python vllm postgres seaweedfs"; make images; push them;
# make images-lock REGISTRY=registry.example.org/raro, which leaves the bases at what was built on. ENGINE: docker or podman,
# whichever is there. TORCH_CPU_INDEX: the index of torch's CPU builds, for raro-cpu; without it pip's own configuration
# decides, and a public index gives a CUDA build of several GB.
set -eu
cd "$(dirname "$0")/.."
engine=${ENGINE:-$(command -v docker || command -v podman || true)}
[ -n "$engine" ] || { echo "raro: images are built with docker or podman, and neither is installed" >&2; exit 2; }
python=${PYTHON:-.venv/bin/python}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git describe --always --dirty --abbrev=40)

for name in ${*:-raro-cpu raro-cuda raro-tracking raro-vllm}; do
    if [ "$name" = raro-vllm ]; then
        base="VLLM_IMAGE=$("$python" -m raro.pipelines.images reference vllm)"
        file=docker/Dockerfile.vllm target=
    else
        base="PYTHON_IMAGE=$("$python" -m raro.pipelines.images reference python)"
        file=docker/Dockerfile target="--target ${name#raro-}"
    fi
    torch=; [ "$name" = raro-cpu ] && torch=${TORCH_CPU_INDEX:-}
    # shellcheck disable=SC2086
    "$engine" build -f "$file" $target --build-arg "$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
        ${torch:+--build-arg "TORCH_INDEX=$torch"} -t "$name:$version" .
done
