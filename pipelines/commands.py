"""`raro compile`, `raro submit` and `raro schedule`: their arguments, and what they say. kfp is imported when one is called."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from . import images
from . import profile as profiles

PROFILE = "gpu"


def placed_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the pipeline is to run, for every command that compiles it."""
    known = f"packaged profile of a cluster, or your own YAML file (default: {PROFILE})"
    parser.add_argument("--profile", metavar="NAME", default=PROFILE, help=known)
    locked = f"lock of the images (default: {images.LOCK})"
    parser.add_argument("--images", metavar="FILE", default=str(images.LOCK), help=locked)


def compile_arguments(parser: argparse.ArgumentParser) -> None:
    target = "where to write (default: retraining.yaml)"
    parser.add_argument("--output", metavar="FILE", default="retraining.yaml", help=target)
    parser.add_argument("--release", action="store_true", help="images by digest, from the lock; refused while one lacks it")
    parser.add_argument("--resources", metavar="NAMESPACE", help="as custom resources Pipeline and PipelineVersion, for GitOps")
    placed_arguments(parser)


def compile(args: argparse.Namespace) -> int:
    from raro.storage import writing

    from .retraining import compile_to

    profile = profiles.read(args.profile)
    reference = images.read(args.images).reference if args.release else images.unresolved
    with tempfile.TemporaryDirectory(prefix="raro-") as scratch:  # a refusal half-way leaves nothing behind
        text = compile_to(Path(scratch) / "pipeline.yaml", profile, reference, args.resources).read_text(encoding="utf-8")
    with writing(args.output):
        path = Path(args.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(path)
    return 0
