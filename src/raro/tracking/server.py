"""The one door to MLflow: where it is, a client that talks to that place only, and its errors in our words.

MLflow is imported inside functions: it takes seconds, and a step runs without it. The address is passed each time; MLflow's
global one is set only where MLflow looks at no other (`everywhere`), and put back.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
import socket
import ssl
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..config import Config
from ..errors import BadInput, ServiceFailed, shown
from ..s3_client import RENEW, unsaid

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
LONGEST = 200  # letters of a model's or an experiment's name, of which folders are called too
ADDRESS = "MLFLOW_TRACKING_URI"
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
TRIES = 3  # MLflow's client asks as often with the two retries that `connect` sets
UNANSWERED = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")  # how MLflow calls a lost connection, 500 and 503
Made = TypeVar("Made")
ACCOUNT = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
BEYOND = {"MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"}  # ways to say who asks that are MLflow's client's own
TRUSTED = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # by its client: the first one set
UNKNOWN = "asks for an account, and MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are not both set"
_EVERYWHERE = threading.RLock()
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


def address(config: Config, run: str | Path) -> str:
    """The tracking URI: the config's, else the one Kubeflow's MLflow plugin put into the environment, else SQLite in RUN."""
    if config.tracking.uri:
        return config.tracking.uri
    if os.environ.get("MLFLOW_RUN_ID") and os.environ.get(ADDRESS):
        return os.environ[ADDRESS]
    return sqlite(run)


def sqlite(run: str | Path) -> str:
    """The address of the store inside a run folder."""
    return f"sqlite:///{(Path(run) / DATABASE).resolve()}"


def local(uri: str) -> bool:
    """Whether the address is a SQLite file of this machine."""
    return uri.startswith("sqlite:")


def ui_command(config: Config, run: str | Path) -> str:
    """What to type, or where to go, to look at the run in MLflow."""
    uri = address(config, run)
    if uri.startswith("http"):
        return shown(uri)
    store = f"sqlite:///{os.path.relpath(uri.removeprefix('sqlite:///'))}" if local(uri) else shown(uri)
    return f"mlflow ui --backend-store-uri {shlex.quote(store)}"


def file_of(uri: str) -> Path:
    """The file of a `local` address; what stands behind a `?` says how it is opened."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def wanted() -> bool:
    """Whether runs are tracked: not with RARO_TRACKING=off in the environment (a study has many, no pipeline's)."""
    return os.environ.get("RARO_TRACKING") != "off"


def installed() -> bool:
    """Whether mlflow is wanted and can be imported, which is not done to find out."""
    return wanted() and importlib.util.find_spec("mlflow") is not None


def check(config: Config) -> None:
    """For preflight, without importing mlflow. Raises BadInput for an address that can never work, ServiceFailed for a server
    that does not answer and must (tracking.on_outage: stop)."""
    uri, store, name = config.tracking.uri, config.registry.store, config.registry.model
    if not name.strip(" .") or not name.isprintable() or len(name) > LONGEST or set(name) & set("/:@'\"%\\"):
        remedy = f"use letters, digits, dashes and dots, {LONGEST} of them at most"
        raise BadInput(f"registry.model '{name[:40]}' cannot name a model", remedy)
    experiment = config.tracking.experiment
    if not experiment.strip() or not experiment.isprintable() or len(experiment) > LONGEST:
        line = f"tracking.experiment '{experiment[:40]}' cannot name an experiment"
        raise BadInput(line, f"use letters, digits and dashes, {LONGEST} of them at most")
    if not uri:
        return
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in _SCHEMES:
        raise BadInput(f"tracking.uri '{shown(uri)}' is not a tracking server", "write http://HOST:PORT or leave it empty")
    if scheme in ("http", "https"):
        if store and not store.startswith("s3://"):
            raise BadInput(
                f"registry.store '{store}' is a folder: a tracking server takes only s3://", "give s3:// or leave it empty"
            )
        if config.tracking.on_outage == "stop":
            try:
                urlopen(f"{uri.rstrip('/')}/health", timeout=10, context=_trusting(uri)).close()
            except (OSError, HTTPException) as error:
                remedy = "start it, or correct tracking.uri; an authority of the house's own is named in REQUESTS_CA_BUNDLE"
                raise ServiceFailed(f"MLflow at '{shown(uri)}' does not answer: {error}", remedy) from error
        _check_account(uri)


def _check_account(uri: str) -> None:
    """Raises BadInput where the server answers and does not know who asks, before a training is paid for whose model could not
    be registered. What else it answers, and whether it does, is for others to judge; so is a server that it leads on to, which
    is not told who asks."""
    name, word, token = _account()
    known = bool(name and word)
    if BEYOND & set(os.environ) or not (known or token) and Path("~/.mlflow/credentials").expanduser().is_file():
        return
    request = Request(f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
    if known or token:
        said = f"Basic {b64encode(f'{name}:{word}'.encode()).decode()}" if known else f"Bearer {token}"
        request.add_unredirected_header("Authorization", said)
    try:
        urlopen(request, timeout=10, context=_trusting(uri)).close()
    except HTTPError as refusal:
        if refusal.code == 401 and refusal.url == request.full_url:
            why = f"refuses the account '{name}'" if known else "refuses MLFLOW_TRACKING_TOKEN" if token else UNKNOWN
            remedy = "give the name and password of an account that it knows; on a cluster, in the secret raro-mlflow"
            raise BadInput(f"MLflow at '{shown(uri)}' {why}", remedy) from None
    except (OSError, HTTPException):
        pass


def _trusting(uri: str) -> ssl.SSLContext | None:
    """Whom MLflow's client trusts: requests looks at other variables than urllib does, and not at the system's authorities.
    Raises OSError for files that are no certificates."""
    if not uri.startswith("https:"):
        return None
    import certifi

    place = next(filter(None, map(os.environ.get, TRUSTED)), certifi.where())
    context = ssl.create_default_context(**{"capath" if Path(place).is_dir() else "cafile": place})
    if own := os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        context.load_cert_chain(own)
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _account() -> list[str]:
    """Name, password and token, by which MLflow's client says who asks. Raises BadInput for what no header may hold: a library
    that is given it says it back, and the secret would be recorded with the failure."""
    found = [os.environ.get(variable, "") for variable in ACCOUNT]
    for variable, value in zip(ACCOUNT, found, strict=True):
        if not value.isprintable() or variable.endswith("TOKEN") and not value.isascii():
            line = f"{variable} holds a line's end or another sign that no header may hold"
            raise BadInput(line, "give it without: a secret from a file that `printf %s` wrote")
    return found


def connect(uri: str) -> MlflowClient:
    """A client of that address for tracking and registry. Raises BadInput where mlflow is not installed, or an account cannot
    be sent."""
    if not installed():
        raise BadInput("mlflow is not installed, and the model registry needs it", "pip install 'raro-pipelines[tracking]'")
    if uri.startswith("http"):
        _account()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault(RETRIES, "2")  # an outage is buffered: better soon than after minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")  # large files in parts where the server can
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with speaking(uri):
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except ModuleNotFoundError as error:
        raise BadInput(f"MLflow at '{shown(uri)}' needs the Python package '{error.name}'", "install it") from error


@contextmanager
def speaking(uri: str) -> Iterator[None]:
    """Around calls to MLflow and its artifact store: what goes wrong there becomes ServiceFailed with one line."""
    from mlflow.exceptions import MlflowException

    kinds: tuple[type[Exception], ...] = (MlflowException, OSError)
    for module, name in (
        ("sqlalchemy.exc", "SQLAlchemyError"),
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("boto3.exceptions", "Boto3Error"),
    ):
        if module in sys.modules:  # only who was imported can raise
            kinds += (getattr(sys.modules[module], name),)
    try:
        yield
    except kinds as error:
        if type(error).__name__ == "CredentialRetrievalError":  # of the artifact store
            line = f"MLflow at '{shown(uri)}' failed: no credentials for its artifact store: {unsaid(error)}"
            raise ServiceFailed(line, RENEW) from None
        line = _unanswered(error) or shown(" ".join(str(error).split()))[:300]
        raise ServiceFailed(
            f"MLflow at '{shown(uri)}' failed: {line}", "see that the server and its artifact store answer"
        ) from error


def _unanswered(error: BaseException | None) -> str:
    """What the system says of a server that cannot be reached, below MLflow's, requests' and urllib3's own words; "" of all
    else, as of an artifact store."""
    word, named = "", str(error).startswith("API request to")
    while named and error is not None:
        if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)) and error.strerror:
            word = f"it cannot be reached: {error.strerror}"
        error = error.__cause__ or error.__context__
    return word


def created(find: Callable[[], Made | None], make: Callable[[], Made]) -> Made:
    """What `find` finds, else what `make` creates.

    MLflow's client sends a request again whose answer was lost, and has then created two. Here each is sent once, and `find`
    looks whether it arrived before it is sent again. Raises MlflowException.
    """
    from mlflow.exceptions import MlflowException

    for left in reversed(range(TRIES)):
        if (found := find()) is not None:
            return found
        try:
            with _sent_once():
                return make()
        except MlflowException as error:
            if error.error_code not in UNANSWERED or not left:
                raise
    raise AssertionError("the last try returns or raises")


@contextmanager
def _sent_once() -> Iterator[None]:
    """MLflow's own retries are off for the block."""
    before = os.environ.get(RETRIES)
    os.environ[RETRIES] = "0"
    try:
        yield
    finally:
        os.environ.pop(RETRIES) if before is None else os.environ.update({RETRIES: before})


@contextmanager
def everywhere(uri: str) -> Iterator[None]:
    """Makes the address MLflow's global one for the block: its SQL registry resolves `models:/m-...` by that alone.

    Both places where MLflow looks, the process's own setting and the environment, are left as they were found. One thread at a
    time: the address is the whole process's.
    """
    import mlflow

    with _EVERYWHERE:
        found = os.environ.pop(ADDRESS, None)
        before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)  # which writes the environment too
            os.environ.pop(ADDRESS, None) if found is None else os.environ.update({ADDRESS: found})
