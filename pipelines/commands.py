"""`raro compile`, `raro submit` and `raro schedule`: their arguments, and what they say. kfp is imported when one is called."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from pathlib import Path

from raro.commands import config_arguments, configured, named
from raro.errors import BadInput

from . import images
from . import profile as profiles

PROFILE = "gpu"


def placed_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the pipeline is to run, for every command that compiles it."""
    known = f"packaged profile of a cluster, or your own YAML file (default: {PROFILE})"
    parser.add_argument("--profile", metavar="NAME", default=PROFILE, help=known)
    _lock_argument(parser)


def _lock_argument(parser: argparse.ArgumentParser) -> None:
    locked = f"lock of the images (default: {images.LOCK})"
    parser.add_argument("--images", metavar="FILE", default=str(images.LOCK), help=locked)


def compile_arguments(parser: argparse.ArgumentParser) -> None:
    target = "where to write (default: retraining.yaml)"
    parser.add_argument("--output", metavar="FILE", default="retraining.yaml", help=target)
    parser.add_argument("--release", action="store_true", help="images by digest, from the lock; refused while one lacks it")
    parser.add_argument("--resources", metavar="NAMESPACE", help="as custom resources Pipeline and PipelineVersion, for GitOps")
    placed_arguments(parser)


def compile(args: argparse.Namespace) -> int:
    from .retraining import compile_to

    if Path(args.output).is_dir():
        raise BadInput(f"'{args.output}' is a folder", "name a file: --output retraining.yaml")
    if args.resources is not None and not profiles.NAME.fullmatch(args.resources):
        raise BadInput(f"--resources '{args.resources}' cannot be a namespace", "use lower case, digits and dashes")
    profile = profiles.read(args.profile)
    reference = images.read(args.images).reference if args.release else images.unresolved
    with tempfile.TemporaryDirectory(prefix="raro-") as scratch:  # a refusal half-way leaves nothing behind
        text = compile_to(Path(scratch) / "pipeline.yaml", profile, reference, args.resources).read_text(encoding="utf-8")
    _write(args.output, text)
    return 0


def _write(output: str, text: str) -> None:
    """Writes a file whole or not at all, where a link leads, and says so. What is no file (a pipe, a device) is written into,
    and nothing said, since it may be what is printed to; a reader that stops early has what it wants. Raises BadInput,
    ServiceFailed."""
    from raro.storage import write_atomic, writing

    try:
        if os.path.exists(output) and not os.path.isfile(output):
            with writing(output), contextlib.suppress(BrokenPipeError):
                Path(output).write_text(text, encoding="utf-8")
        else:
            write_atomic(os.path.realpath(output), text)
            print(Path(output))
    except OSError as error:  # a socket, a descriptor that is not open
        raise BadInput(f"cannot write '{output}': {error.strerror}", "choose another place") from error


def _server_arguments(parser: argparse.ArgumentParser) -> None:
    place = "Kubeflow Pipelines' address (default: $KF_PIPELINES_ENDPOINT)"
    parser.add_argument("--endpoint", metavar="URL", type=named, help=place)
    within = "of a multi-user Kubeflow (default: $KF_PIPELINES_NAMESPACE, or the pod's)"
    parser.add_argument("--namespace", metavar="NAME", type=named, help=within)


def submit_arguments(parser: argparse.ArgumentParser) -> None:
    config_arguments(parser)
    parser.add_argument("--watch", action="store_true", help="follow the run to its end; the exit code is its outcome")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    parser.add_argument(
        "--resume", metavar="RUN", help="go on in an earlier run's folder: the same configuration, but for memory and speed"
    )
    parser.add_argument("--experiment", metavar="NAME", type=named, default="raro", help="of Kubeflow's (default: raro)")
    account = "the pods' service account (default: Kubeflow's)"
    parser.add_argument("--service-account", metavar="NAME", type=named, help=account)
    _server_arguments(parser)
    placed_arguments(parser)


def submit(args: argparse.Namespace) -> int:
    from .api import Kubeflow
    from .submit import Order
    from .submit import submit as start

    order = Order(
        config=configured(args),
        profile=args.profile,
        lock=args.images,
        experiment=args.experiment,
        account=args.service_account,
        resume=args.resume,
    )
    return start(order, Kubeflow(args.endpoint, args.namespace), args.dry_run, args.watch)


def schedule_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="apply|list|delete", choices=["apply", "list", "delete"])
    parser.add_argument(
        "names", metavar="NAME", nargs="*", default=[], help="delete: the schedules to remove, as the file names them"
    )
    parser.add_argument("--file", metavar="FILE", default="pipelines/schedule.yaml", help="default: pipelines/schedule.yaml")
    parser.add_argument("--dry-run", action="store_true", help="apply: show the difference, and change nothing")
    parser.add_argument("--overwrite", action="store_true", help="apply: what was changed by hand on the server, too")
    anew = "apply: make unchanged ones anew, too: after an upgrade of Kubeflow"
    parser.add_argument("--again", action="store_true", help=anew)
    _lock_argument(parser)
    _server_arguments(parser)


def schedule(args: argparse.Namespace) -> int:
    from . import reconcile, schedules
    from .api import Kubeflow

    if args.what == "delete" and not args.names:
        raise BadInput("`raro schedule delete` needs the names of schedules", "raro schedule delete NAME ...")
    if args.what != "delete" and args.names:
        raise BadInput(f"`raro schedule {args.what}` takes no names", f"raro schedule {args.what}")
    if args.what == "list":
        return reconcile.listed(Kubeflow(args.endpoint, args.namespace))
    file = schedules.read(args.file)  # before the server is asked for anything
    api = Kubeflow(args.endpoint, args.namespace)
    if args.what == "delete":
        return reconcile.delete(api, file.common.owner, args.names)
    return reconcile.apply(api, file, args.images, args.dry_run, args.overwrite, args.again)
