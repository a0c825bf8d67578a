"""The commands on registered models: their arguments, and what each does with them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..commands import at_least, named
from ..errors import BadInput
from ..text import listed
from .finding import meant, model_arguments

Arguments = argparse.Namespace
WHAT = ("verify", "show", "export", "folder", "fetch")
OF = {
    "anchor": WHAT[:3],
    "json": ("verify",),
    "html": ("show",),
    "output": ("export", "fetch"),
    "without_weights": ("export",),
    "root": WHAT[3:],
}
"""Which WHAT takes an option of `raro audit`: passed over, it would seem to have been looked at."""


def audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="WHAT", choices=WHAT,
        help="verify: check everything; show: its history; export: one archive; folder DIR, fetch URI: check by root digest",
    )  # fmt: skip
    model_arguments(parser)
    parser.add_argument("--anchor", metavar="SEQ:HASH", type=named, help="verify, show, export: a log head kept elsewhere")
    parser.add_argument("--json", action="store_true", help="verify: print JSON")
    parser.add_argument("--html", metavar="FILE", type=named, help="show: write a page")
    parser.add_argument("--output", metavar="PATH", type=named, help="export: the archive to write; fetch: the folder")
    parser.add_argument("--without-weights", action="store_true", help="export: leave the weights out")
    parser.add_argument("--root", metavar="DIGEST", type=named, help="folder, fetch: the root digest to expect")


def audit(args: Arguments) -> int:
    from ..registry.audit import audited
    from . import show

    for option, takers in OF.items():
        if getattr(args, option) and args.what not in takers:
            line = f"`raro audit {args.what}` takes no --{option.replace('_', '-')}"
            raise BadInput(line, f"it is an option of raro audit {listed(takers)}")
    if args.what in ("folder", "fetch"):
        return _files(args)
    desk, alias = meant(args)
    with audited(desk, alias, args.anchor or "") as made:
        if args.what == "verify":
            print(json.dumps(show.as_json(made)) if args.json else f"{show.tree(made)}\n{show.verdict(made)}")
        elif args.what == "show" and args.html:
            from . import page

            print(page.write(made, Path(args.html)))
        elif args.what == "show":
            print(show.story(made))
        else:
            from .export import export

            target = Path(args.output or f"{desk.model}-{made.number}-audit.tar")
            print(export(made, target, weights=not args.without_weights))
            print(show.verdict(made))
        return 0 if made.whole else 3


def _files(args: Arguments) -> int:
    """Files by their root digest alone, where no registry is reached: an init container, an auditor's machine."""
    from . import files

    if not args.model or not args.root:
        raise BadInput(
            f"`raro audit {args.what}` needs what to check and --root", f"raro audit {args.what} WHERE --root DIGEST"
        )
    if args.what == "fetch":
        if not args.output:
            raise BadInput("`raro audit fetch` needs --output", "name the folder to put the files into")
        print(files.fetch(args.model, Path(args.output), args.root, args.policy))
    else:
        print(files.check(Path(args.model), args.root, args.policy))
    return 0


def promote_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument("--approver", metavar="NAME", required=True, help="who decides; kept in the log")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; kept in the log")
    parser.add_argument("--key", metavar="REF", type=named, help="the approver's key: file:PATH, env:NAME or exec:COMMAND")


def promote(args: Arguments) -> int:
    from ..registry.keys import signing_key
    from ..registry.promotion import promote as promoted

    desk, alias = meant(args, "challenger")
    done = promoted(desk, alias, args.approver, args.reason, signing_key(args.key) if args.key else None)
    if done.champion:
        print(
            f"{desk.model} version {done.version} is champion; approved by {', '.join(done.approved) or 'nobody but the gate'}"
        )
    else:
        left = done.needed - len(done.approved)
        print(
            f"{desk.model} version {done.version} has {len(done.approved)} of {done.needed} approvals; {left} more must promote"
        )
    print(f"head of the log: {done.head}")
    return 0


def rollback_arguments(parser: argparse.ArgumentParser) -> None:
    promote_arguments(parser)
    parser.add_argument("--to", metavar="VERSION", type=named, help="a former champion (default: the previous one)")


def rollback(args: Arguments) -> int:
    from ..registry.keys import signing_key
    from ..registry.promotion import rollback as rolled_back

    desk, _ = meant(args)
    done = rolled_back(desk, args.approver, args.reason, signing_key(args.key) if args.key else None, args.to or "")
    print(f"{desk.model} version {done.version} is champion again")
    print(f"head of the log: {done.head}")
    return 0


def reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument("--output", metavar="DIR", type=named, help="folder of the second run (default: runs/reproduce-...)")


def reproduce(args: Arguments) -> int:
    from .reproduce import reproduce as again

    desk, alias = meant(args)
    return again(desk, alias, Path(args.output) if args.output else None)


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument("--output", metavar="FILE", type=named, help="where to write (default: the terminal)")
    parser.add_argument("--namespace", metavar="NAME", type=named, help="namespace of the InferenceService")
    parser.add_argument(
        "--image", metavar="REF", type=named, help="image of raro that verifies, by digest (default: the lock's)"
    )
    parser.add_argument(
        "--gpus", metavar="N", type=at_least(0), default=1, help="GPUs of the model server (default: 1; 0: CPU)"
    )
    parser.add_argument(
        "--secret", metavar="NAME", default="raro-store", help="Secret with the store's keys (default: raro-store; '': none)"
    )
    parser.add_argument("--service-account", metavar="NAME", type=named, help="of the pod: its role and image pull rights")
    parser.add_argument(
        "--authority",
        metavar="NAME",
        type=named,
        help="ConfigMap whose ca.crt the store is checked by (default: the image's own)",
    )
    parser.add_argument(
        "--artifacts-destination", metavar="URI", type=named, help="the MLflow server's, if it proxies artifacts: s3://bucket"
    )


def serve(args: Arguments) -> int:
    from ..pipelines.images import read
    from ..storage import write_atomic
    from .serving import Place, render

    desk, alias = meant(args)
    image = args.image or read(instead="name the image with --image REF@sha256:...").reference("raro-cpu")
    place = Place(
        namespace=args.namespace or "",
        gpus=args.gpus,
        secret=args.secret,
        account=args.service_account or "",
        authority=args.authority or "",
        destination=args.artifacts_destination or "",
    )
    text = render(desk, alias, image, place)
    if args.output:
        print(write_atomic(args.output, text))
    else:
        print(text, end="")
    return 0


def chat_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument(
        "--best-of", metavar="N", type=int, default=1, help="answers from which the critic chooses (default: 1)"
    )
    parser.add_argument("--ask", metavar="TEXT", action="append", help="a question (default: read them line by line)")
    parser.add_argument("--show-thoughts", action="store_true", help="show the thought before each answer too")
    parser.add_argument("--temperature", metavar="T", type=float, help="for sampling (default: the run's; 0 is greedy)")


def chat(args: Arguments) -> int:
    from .chat import main

    desk, alias = meant(args)
    return main(desk, alias, args.ask, args.best_of, args.show_thoughts, args.temperature)


def gc_arguments(parser: argparse.ArgumentParser) -> None:
    model_arguments(parser)
    parser.add_argument("--delete", action="store_true", help="really delete (default: only say what would go)")
    parser.add_argument(
        "--older-than",
        metavar="DAYS",
        type=at_least(0),
        default=30,
        help="delete versions older than this, without an alias (default: 30)",
    )
    parser.add_argument(
        "--keep", metavar="N", type=at_least(0), default=3, help="newest versions to keep in any case (default: 3)"
    )
    parser.add_argument(
        "--erase", metavar="VERSION", action="append", default=[], help="an erasure request: this version must go"
    )
    parser.add_argument("--hold", metavar="VERSION", action="append", default=[], help="a legal hold: this version must stay")
    parser.add_argument("--release", metavar="VERSION", action="append", default=[], help="end a legal hold")
    parser.add_argument("--approver", metavar="NAME", default="", help="who decides; kept in the log")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept in the log")
    parser.add_argument("--key", metavar="REF", type=named, help="the approver's key")


def gc(args: Arguments) -> int:
    from .retention import main

    desk, _ = meant(args)
    return main(desk, args)
