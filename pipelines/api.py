"""Kubeflow Pipelines' API (v2beta1), through its own generated client, with its errors in our words.

Where and who: --endpoint or $KF_PIPELINES_ENDPOINT; a token in the file that $KF_PIPELINES_SA_TOKEN_PATH names, read again at
each request, since Kubernetes renews it; the certificate authority of $SSL_CERT_FILE; the proxy of $HTTPS_PROXY. In a pod of
the cluster the token's usual place is found by itself.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from raro.errors import BadInput, RaroError, ServiceFailed, shown
from raro.settings.reading import host_of

TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
SECONDS = 60.0  # for one request
PAGE = 100
REMEDIES = {
    401: "renew the token that $KF_PIPELINES_SA_TOKEN_PATH names",
    403: "ask for the role raro-submitter (k8s/base/rbac.yaml)",
}


class NoEntry(BadInput):
    """Who asks is not let in: a token that has expired, a role that lacks, a page to log in. Who goes on asking may be let in
    again."""


class Kubeflow:
    """One API server, and one namespace of it. Every method raises BadInput for a request that is refused, ServiceFailed where
    the server does not answer."""

    def __init__(self, endpoint: str | None = None, namespace: str | None = None):
        import kfp_server_api as api
        import urllib3

        address = (endpoint or os.environ.get("KF_PIPELINES_ENDPOINT") or "").rstrip("/")
        self.endpoint = shown(address)  # as it is told
        if not host_of(address):
            line = f"'{self.endpoint}' is not Kubeflow's address" if address else "where Kubeflow Pipelines is, is not known"
            raise BadInput(line, "give --endpoint https://HOST/pipeline, or set KF_PIPELINES_ENDPOINT")
        self.namespace = namespace or os.environ.get("KF_PIPELINES_NAMESPACE") or _text(NAMESPACE) or None
        settings = api.Configuration(host=address)
        settings.api_key_prefix = {"authorization": "Bearer"}
        settings.refresh_api_key_hook = _take_token
        _take_token(settings)
        settings.ssl_ca_cert = os.environ.get("SSL_CERT_FILE") or None
        settings.proxy = _proxy(address)
        # What was certainly not executed is sent again: a run that is created twice trains twice.
        settings.retries = urllib3.Retry(connect=2, read=2, status=2, status_forcelist=(502, 503, 504), backoff_factor=0.3)
        client = api.ApiClient(settings)
        self._api = api
        self._pipelines, self._uploads = api.PipelineServiceApi(client), api.PipelineUploadServiceApi(client)
        self._experiments, self._runs = api.ExperimentServiceApi(client), api.RunServiceApi(client)
        self._schedules = api.RecurringRunServiceApi(client)

    # ------------------------------------------------------------------------------------------------------------- pipelines

    def pipeline(self, name: str) -> str | None:
        """Id of a pipeline by its name; None where there is none."""
        get, namespace = self._pipelines.pipeline_service_get_pipeline_by_name, self.namespace or ""
        with self._speaking(f"pipeline '{name}'", answers=(404,)):
            return get(name, namespace=namespace, _request_timeout=SECONDS).pipeline_id
        return None

    def version(self, pipeline: str, name: str) -> str | None:
        """Id of a pipeline's version by its name; None where there is none."""
        versions = self._all(self._pipelines.pipeline_service_list_pipeline_versions, "pipeline_versions", pipeline)
        return next((version.pipeline_version_id for version in versions if name in (version.name, version.display_name)), None)

    def upload(self, name: str, version: str, package: Path) -> tuple[str, str]:
        """(pipeline, version) of a compiled pipeline; one that is there under these names is taken as it is."""
        body = self._api.V2beta1Pipeline(display_name=name, name=name, namespace=self.namespace)
        create, send = self._pipelines.pipeline_service_create_pipeline, self._uploads.upload_pipeline_version
        pipeline = self._once(
            f"pipeline '{name}'", lambda: self.pipeline(name), lambda: create(body, _request_timeout=SECONDS).pipeline_id
        )
        return pipeline, self._once(
            f"version '{version}'",
            lambda: self.version(pipeline, version),
            lambda: send(str(package), name=version, pipelineid=pipeline, _request_timeout=SECONDS).pipeline_version_id,
        )

    # ------------------------------------------------------------------------------------------------------ experiments, runs

    def experiment(self, name: str, create: bool = True) -> str | None:
        """Id of an experiment by its name, made where there is none and `create` says so."""

        def known() -> str | None:
            listed = self._experiments.experiment_service_list_experiments
            every = self._all(listed, "experiments", namespace=self.namespace or "")
            return next((one.experiment_id for one in every if one.display_name == name), None)

        if not create:
            return known()
        body, make = self._api.V2beta1Experiment(display_name=name, namespace=self.namespace), self._experiments
        return self._once(
            f"experiment '{name}'",
            known,
            lambda: make.experiment_service_create_experiment(body, _request_timeout=SECONDS).experiment_id,
        )

    def start(self, **fields: Any) -> str:
        """Starts a run and returns its id. fields: of V2beta1Run."""
        with self._speaking(f"run '{fields['display_name']}'"):
            return self._runs.run_service_create_run(self._api.V2beta1Run(**fields), _request_timeout=SECONDS).run_id

    def run(self, run: str) -> Any:
        """A run as it is now: V2beta1Run."""
        with self._speaking(f"run '{run}'"):
            found = self._runs.run_service_get_run(run, _request_timeout=SECONDS)
            if found.run_id != run:  # of a page to log in the client makes a run without anything
                raise ValueError
            return found

    def runs(self) -> Iterator[Any]:
        """All runs of the namespace, the newest first, read page by page: V2beta1Run."""
        list_runs = self._runs.run_service_list_runs
        return self._all(list_runs, "runs", namespace=self.namespace or "", sort_by="created_at desc")

    # ------------------------------------------------------------------------------------------------------------- schedules

    def schedules(self) -> list[Any]:
        """All recurring runs of the namespace: V2beta1RecurringRun."""
        list_schedules = self._schedules.recurring_run_service_list_recurring_runs
        return list(self._all(list_schedules, "recurring_runs", namespace=self.namespace or ""))

    def create_schedule(self, **fields: Any) -> str:
        """fields: of V2beta1RecurringRun. Returns its id."""
        with self._speaking(f"schedule '{fields['display_name']}'"):
            body = self._api.V2beta1RecurringRun(**fields)
            return self._schedules.recurring_run_service_create_recurring_run(body, _request_timeout=SECONDS).recurring_run_id

    def switch_schedule(self, schedule: str, on: bool) -> None:
        """Enables or disables one."""
        with self._speaking(f"schedule '{schedule}'"):
            word = "enable" if on else "disable"
            getattr(self._schedules, f"recurring_run_service_{word}_recurring_run")(schedule, _request_timeout=SECONDS)

    def delete_schedule(self, schedule: str) -> None:
        """Removes one; one that is gone already is no failure."""
        with self._speaking(f"schedule '{schedule}'", answers=(404,)):
            self._schedules.recurring_run_service_delete_recurring_run(schedule, _request_timeout=SECONDS)

    # ------------------------------------------------------------------------------------------------------------------ below

    def reference(self, pipeline: str, version: str) -> Any:
        """A version's reference, as runs and schedules take it."""
        return self._api.V2beta1PipelineVersionReference(pipeline_id=pipeline, pipeline_version_id=version)

    def runtime(self, **parameters: Any) -> Any:
        """The parameters of a run, as runs and schedules take them."""
        return self._api.V2beta1RuntimeConfig(parameters=parameters)

    def cron(self, text: str) -> Any:
        """A trigger by cron."""
        return self._api.V2beta1Trigger(cron_schedule=self._api.V2beta1CronSchedule(cron=text))

    def _all(self, method: Callable[..., Any], key: str, *arguments: Any, **options: Any) -> Iterator[Any]:
        token = ""
        while token is not None:
            with self._speaking(key.replace("_", " ")):
                page = method(*arguments, page_token=token, page_size=PAGE, _request_timeout=SECONDS, **options)
            yield from getattr(page, key) or ()
            token = page.next_page_token or None

    def _once(self, what: str, find: Callable[[], str | None], make: Callable[[], str]) -> str:
        """The id of what `find` finds, else of what `make` makes, else, where another was first, of what that one made."""
        if (found := find()) is not None:
            return found
        with self._speaking(what, answers=(409,)):
            return make()
        if (found := find()) is not None:
            return found
        raise ServiceFailed(f"Kubeflow says that {what} exists, and does not show it", "try again; perhaps it is archived")

    @contextmanager
    def _speaking(self, what: str, answers: Collection[int] = ()) -> Iterator[None]:
        """Around one request: what goes wrong is told in our words. answers: codes that are an answer, for which the block is
        left."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except self._api.ApiException as error:
            if error.status in answers:
                return
            raise self._told(what, error) from error
        except HTTPError as error:
            reason = str(getattr(error, "reason", error) or error).partition(": ")[2] or str(error)
            line = f"Kubeflow at '{self.endpoint}' does not answer: {reason[:160]}"
            raise ServiceFailed(line, "check --endpoint, the network and $SSL_CERT_FILE") from error
        except (TypeError, ValueError, AttributeError, self._api.OpenApiException) as error:
            # A proxy before the API sends people without a session to its page, with code 200.
            line = f"what answers at '{self.endpoint}' is not Kubeflow's API, perhaps a page to log in"
            raise NoEntry(line, "check --endpoint and the token that $KF_PIPELINES_SA_TOKEN_PATH names") from error

    def _told(self, what: str, error: Any) -> RaroError:
        try:
            message = json.loads(error.body)["message"]
        except (TypeError, ValueError, KeyError):
            message = str(error.body or error.reason)
        line = f"Kubeflow refuses {what} ({error.status}): {' '.join(message.split())[:200]}"
        if error.status in (0, 429, *range(500, 600)):  # 0: TLS
            line = f"Kubeflow failed at {what} ({error.status}): {' '.join(message.split())[:200]}"
            return ServiceFailed(line, "try again; if it is the certificate, set $SSL_CERT_FILE")
        if error.status == 401:
            line = f"Kubeflow at '{self.endpoint}' refuses the token: it is missing or has expired"
        kind = NoEntry if error.status in REMEDIES else BadInput
        return kind(line, REMEDIES.get(error.status, "correct what it names"))


def _take_token(settings: Any) -> None:
    """Puts the token that lies in its file now into the client's settings."""
    path = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or TOKEN
    token = _text(path)
    if token is None and path != TOKEN:
        raise NoEntry(f"the token's file '{path}' cannot be read", "correct KF_PIPELINES_SA_TOKEN_PATH")
    settings.api_key = {"authorization": token} if token else {}


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _proxy(endpoint: str) -> str | None:
    parts = urlsplit(endpoint)
    return None if urllib.request.proxy_bypass(parts.hostname or "") else urllib.request.getproxies().get(parts.scheme)
