"""Which registered model a command means: MODEL@ALIAS, --run, --tracking-uri."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from ..commands import named
from ..config import Config, Tracking, stored
from ..errors import BadInput
from ..registry.desk import Desk, desk_of
from ..registry.models import REGISTRATION, model_of
from ..registry.policy import policy_of
from ..tracking import server

RUNS = Path("runs")


def model_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL@ALIAS and where it is registered."""
    which = "or MODEL@VERSION (default: the newest run's champion)"
    parser.add_argument("model", metavar="MODEL@ALIAS", nargs="?", type=named, help=which)
    run = "the run that registered it (default: the newest that registered one)"
    parser.add_argument("--run", dest="folder", metavar="DIR", type=named, help=run)
    parser.add_argument("--runs", metavar="DIR", type=named, default=str(RUNS), help=f"folder of the runs (default: {RUNS})")
    parser.add_argument("--tracking-uri", metavar="URI", type=named, help="MLflow server (default: the run's)")
    keys = "file of the accepted keys (default: registry.policy, $RARO_POLICY)"
    parser.add_argument("--policy", metavar="FILE", type=named, help=keys)


def meant(args: argparse.Namespace, otherwise: str = "") -> tuple[Desk, str]:
    """(desk, alias or version). otherwise: the alias where none is named; empty: champion, or challenger where only that
    stands. Raises BadInput where no such model, run or server is known."""
    name, at, alias = (args.model or "").partition("@")
    if at and not alias:
        raise BadInput(f"'{args.model}' names no alias", "write MODEL@champion, MODEL@challenger or MODEL@VERSION")
    address = args.tracking_uri or ("" if args.folder else os.environ.get(server.ADDRESS, ""))
    if address and not args.folder and not name:
        raise BadInput("no model is named", "write MODEL@ALIAS before --tracking-uri")
    if address:
        _check(address)
    if address and not args.folder:
        desk = Desk(server.connect(address), address, name, Path(), None, policy_of(None, args.policy))
    else:
        run = Path(args.folder) if args.folder else _newest(Path(args.runs), name)
        desk = _of_run(run, name, address, args.policy)
    return desk, alias or otherwise or _default(desk)


def _check(address: str) -> None:
    """Raises BadInput for an address at which no server and no store can be."""
    server.check(Config(tracking=Tracking(uri=address)))
    try:
        parts = urlsplit(address)
        wrong = parts.scheme in ("http", "https") and not (parts.hostname and parts.port != 0)
    except ValueError:  # a port that is no number
        wrong = True
    if wrong or server.local(address) and not address.startswith("sqlite:///"):
        remedy = "write http://HOST:PORT, or sqlite:///PATH of a run's mlflow.db"
        raise BadInput(f"'{server.shown(address)}' is not the address of a tracking server", remedy)
    _check_store(address)


def _check_store(address: str) -> None:
    """Raises BadInput where a SQLite store is not there: MLflow would make an empty one."""
    if server.local(address) and not (path := server.file_of(address)).is_file():
        raise BadInput(f"there is no store '{path}': nothing was registered there", "check --tracking-uri, or --run")


def _of_run(run: Path, name: str, address: str, policy: str | None) -> Desk:
    """address: of a server or store that is asked in place of the one in the run's configuration; empty for none."""
    if not (run / "config.json").is_file():
        raise BadInput(f"'{run}' is not a run's folder", "name the folder that `raro run` wrote")
    config = _where((run / "config.json").read_text(encoding="utf-8"))
    if address:
        config = replace(config, tracking=replace(config.tracking, uri=address))
    _check_store(server.address(config, run))
    desk = desk_of(config, run, policy)
    if name and name != desk.model:
        raise BadInput(f"run '{run}' registered model '{desk.model}', not '{name}'", f"write {desk.model}@ALIAS")
    return desk


def _where(text: str) -> Config:
    """Of a run's configuration what says where its model is registered and whose keys count. Another release may name the rest
    otherwise, which is no reason not to audit what it registered."""
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    parts = {key: value for key, value in data.items() if key in ("tracking", "registry")} if isinstance(data, dict) else text
    return stored(parts)


def _newest(runs: Path, name: str) -> Path:
    """The run folder that registered a model of this name last."""
    found = [path for path in runs.glob(f"*/{REGISTRATION}") if name in ("", model_of(path))]
    if not found:
        what = f"a model named '{name}'" if name else "a model"
        raise BadInput(f"no run in '{runs}' has registered {what}", "name the run with --run, or a server with --tracking-uri")
    return max(found, key=lambda path: path.stat().st_mtime).parent.parent


def _default(desk: Desk) -> str:
    aliases = desk.aliases()
    return "challenger" if "champion" not in aliases and "challenger" in aliases else "champion"
