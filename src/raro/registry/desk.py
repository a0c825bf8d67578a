"""One registered model, where it is registered: the client, the audit log's place, the anchor in MLflow's tags, what stands.

The log is the authority on what stands at `champion` and `challenger`; MLflow's aliases follow it (`settle`). Whoever was cut
off in between, or lost a race, repeats the command, and the aliases are made to agree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config
from ..errors import BadInput, GateRefused, ServiceFailed
from ..tracking import server
from . import log
from .keys import Key, signing_key
from .models import lookup
from .places import MLFLOW, Bucket, Folder, Parameters, Place
from .policy import Policy, policy_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

ANCHOR, LOG, LOCK = "raro.audit_head", "raro.audit_log", "raro.audit_lock_days"
BESIDE = "beside the store"  # the tag's value for a log in the folder of a SQLite store, which may be moved
STANDINGS = ("champion", "challenger")
KEY_VARIABLE = "RARO_SIGNING_KEY"
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Desk:
    """client: None where the store is not there yet. model: registered name. home: the run's folder where the store is that
    run's own. config: of the run, where known. policy: whose keys count."""

    client: MlflowClient | None
    uri: str
    model: str
    home: Path
    config: Config | None
    policy: Policy

    # ------------------------------------------------------------------------------------------------------------- MLflow

    def registered(self) -> RegisteredModel | None:
        """The registered model; None where there is none. Raises ServiceFailed."""
        if self.client is None:
            return None
        with server.speaking(self.uri):
            return lookup(self.client.get_registered_model, self.model)

    def version(self, number: str) -> ModelVersion | None:
        """A version; None where there is none."""
        if not number.isdecimal():
            return None
        with server.speaking(self.uri):
            return lookup(self.client.get_model_version, self.model, number)

    def aliases(self) -> dict[str, str]:
        """{alias: version}."""
        found = self.registered()
        return {alias: str(number) for alias, number in found.aliases.items()} if found else {}

    # ---------------------------------------------------------------------------------------------------------------- log

    def expected(self) -> str:
        """Where the configuration would have the log: the tag's value."""
        if self.config and self.config.registry.store:
            store = self.config.registry.store
            store = store if "://" in store else str(Path(store).resolve())
            return f"{store.removeprefix('file://').rstrip('/')}/audit/{self.model}"
        return BESIDE if server.local(self.uri) else MLFLOW

    @property
    def knows_the_log(self) -> bool:
        """Whether the configuration says where the log lies, from whatever folder it is read."""
        store = self.config.registry.store if self.config else ""
        return self.config is not None and (not store or "://" in store or Path(store).is_absolute())

    def place(self) -> Place | None:
        """Where the log lies, as the registered model's tag says; None where none was begun."""
        found = self.registered()
        address = found.tags.get(LOG) if found else None
        if address and not (days := found.tags.get(LOCK, "0")).isdecimal():
            raise GateRefused(f"the tag {LOCK} of '{self.model}' is '{days[:40]}', no number of days", "set it to what it was")
        return self._opened(address, int(days)) if address else None

    def log_place(self) -> Place:
        """The same, where there must be one. Raises BadInput."""
        if (place := self.place()) is None:
            raise BadInput(f"'{self.model}' has no audit log", "register a version first: raro run")
        return place

    def begin(self, experiment: str) -> Place:
        """The log's place, made where there is none. The registered model's name is unique, and the one who makes it says
        where its log lies. Raises BadInput where another MLflow's log lies there."""
        from mlflow.exceptions import MlflowException

        if place := self.place():
            return place
        self.check_own()
        address = self.expected()
        with server.speaking(self.uri):
            if address == MLFLOW:
                address += self._log_run(experiment)
            try:
                self.client.create_registered_model(self.model, {LOG: address} | self._lock())
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        found = self.registered()
        if found and LOG not in found.tags:  # registered by something else, or by a version without a log
            with server.speaking(self.uri):
                for tag, value in {LOG: address, **self._lock()}.items():
                    self.client.set_registered_model_tag(self.model, tag, value)
        place = self.place()
        if place is None:
            raise ServiceFailed(f"MLflow at '{server.shown(self.uri)}' does not keep '{self.model}'", "try again")
        return place

    def check_own(self) -> None:
        """Raises BadInput where this MLflow knows no log of the model, and the model's log has begun all the same. Each MLflow
        counts versions from 1: what one log says of two of them would be true of neither. Raises GateRefused as `sound` does.
        """
        if place := self.place():
            self.sound(place)
            return
        address = self.expected()
        if address == MLFLOW:
            return
        other = self._opened(address, 0)
        if other.lines() and self.place() is None:  # nor has it been told meanwhile; it is before the first record is written
            raise BadInput(
                f"'{other.address}' is the audit log of another MLflow: '{server.shown(self.uri)}' knows no log of this model",
                "name the MLflow that began it as tracking.uri, for all runs; or another registry.store or registry.model",
            )

    def _log_run(self, experiment: str) -> str:
        """The id of a run that will hold the log's records; one that a try made which was cut off is still empty."""
        tags = {"raro.role": "audit log", "raro.model": self.model}
        mine = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        run = server.created(
            lambda: next((one for one in self.client.search_runs([experiment], mine) if not one.data.params), None),
            lambda: self.client.create_run(experiment, tags=tags, run_name=f"audit log of {self.model}"),
        )
        if run.info.status == "RUNNING":
            self.client.set_terminated(run.info.run_id)
        return run.info.run_id

    def _lock(self) -> dict[str, str]:
        """The tag by which a promotion knows, without the run's configuration, how long its record is locked."""
        days = self.config.registry.lock_days if self.config else 0
        return {LOCK: str(days)} if days else {}

    def _opened(self, address: str, lock_days: int) -> Place:
        if address == BESIDE:
            return Folder(server.file_of(self.uri).parent / "audit" / self.model)
        if address.startswith(MLFLOW):
            return Parameters(self.client, self.uri, address.removeprefix(MLFLOW))
        if address.startswith("s3://"):
            return Bucket(address, self.config.registry.lock_days if self.config else lock_days)
        return Folder(Path(address))

    def append(self, drafted: Callable[[Sequence[log.Record]], log.Draft | None], key: Key | None) -> list[log.Record]:
        """Adds to the log. Raises BadInput where there is no log, or the policy requires a key or does not accept this one,
        GateRefused as `sound` does."""
        place = self.log_place()
        if key is None and self.policy.required:
            raise BadInput("the policy requires signatures, and no key is given", "set registry.signing_key, or give --key")
        return log.append(place, self.model, drafted, key, lambda: self.sound(place), self.policy)

    def sound(self, place: Place) -> list[log.Record]:
        """The log. Raises GateRefused where it is broken, or nothing may rest on it (log.unfit): what is added would hide that
        it was cut off, and an alias would follow what nobody signed."""
        head = self.anchor()  # before the log, which is written first
        records = log.whole(place, self.model)
        if wrong := log.unfit(records, head, self.policy):
            line = f"the audit log of '{self.model}' cannot be continued: {wrong}"
            raise GateRefused(line, "raro audit verify tells more; restore what is missing, or take away what is too much")
        return records

    def anchor(self) -> str:
        """The head in MLflow's tag, SEQ:HASH; empty where there is none."""
        found = self.registered()
        return found.tags.get(ANCHOR, "") if found else ""

    def settle(self) -> list[log.Record]:
        """Makes aliases and anchor what the log says, and looks again until nothing has changed meanwhile. A version that
        MLflow has lost gets no alias: the audit tells of it, and another can be promoted. Raises GateRefused as `sound` does.
        """
        place = self.log_place()
        for _ in range(ROUNDS):
            records = self.sound(place)
            found, head = self.aliases(), records[-1].head if records else ""
            wanted = self._wanted(records, found)
            if all(found.get(alias, "") == number for alias, number in wanted.items()) and self.anchor() == head:
                return records
            with server.speaking(self.uri):
                for alias, number in wanted.items():
                    if number and found.get(alias) != number:
                        self.client.set_registered_model_alias(self.model, alias, number)
                    elif not number and alias in found:
                        self.client.delete_registered_model_alias(self.model, alias)
                if head:
                    self.client.set_registered_model_tag(self.model, ANCHOR, head)
        raise ServiceFailed(f"the aliases of '{self.model}' keep changing", "see who else is registering, and try again")

    def _wanted(self, records: Sequence[log.Record], found: Mapping[str, str]) -> dict[str, str]:
        """`standing`, without versions that are not there. found: the aliases, of which each has its version."""

        def there(alias: str, number: str) -> bool:
            return found.get(alias) == number or self.version(number) is not None

        return {alias: number if number and there(alias, number) else "" for alias, number in standing(records).items()}


def standing(records: Sequence[log.Record]) -> dict[str, str]:
    """{alias: version, empty for none} as the log has it; an alias that it never mentions is left out."""
    found: dict[str, str] = {}
    for record in records:
        if record.action == "held":
            found["challenger"] = record.version
        elif record.action in ("promoted", "rolled back"):
            found["champion"] = record.version
            if found.get("challenger") == record.version:
                found["challenger"] = ""
        elif record.action == "deleted":
            found |= {alias: "" for alias, number in found.items() if number == record.version}
    return found


def check_log(config: Config, run: Path, policy: Policy | None = None) -> None:
    """For preflight: `check_own`. Where MLflow is away and a run goes on in an outage (tracking.on_outage), registration asks
    again; else raises ServiceFailed. It is not imported for a store that is not there yet."""
    uri = server.address(config, run)
    fresh = server.local(uri) and not server.file_of(uri).exists()
    if fresh or config.registry.store:
        client = None if fresh else server.connect(uri)
        try:
            Desk(client, uri, config.registry.model, run, config, policy or Policy()).check_own()
        except ServiceFailed:
            if config.tracking.on_outage == "stop":
                raise


def desk_of(config: Config, run: Path, policy: str | None = None) -> Desk:
    """The desk of a run's model. Raises BadInput where mlflow is missing or the policy is wrong."""
    uri = server.address(config, run)
    return Desk(server.connect(uri), uri, config.registry.model, run, config, policy_of(config, policy))


def key_of(config: Config | None, given: str | None = None) -> Key | None:
    """The signing key that `given` refers to, else registry.signing_key, else $RARO_SIGNING_KEY; None where none does."""
    reference = given or (config.registry.signing_key if config else "") or os.environ.get(KEY_VARIABLE, "")
    return signing_key(reference) if reference else None


def signer_of(config: Config) -> tuple[Policy, Key | None]:
    """(policy, the pipeline's key or None). Raises BadInput where the policy requires a key and none is given, does not let the
    key sign what the pipeline signs, or names fewer people than must approve: nothing could ever be promoted."""
    policy, key = policy_of(config), key_of(config)
    if policy.out_of_reach:
        line = f"registry.approvals is {policy.approvals}, and '{policy.source}' names {len(policy.people)} who may approve"
        raise BadInput(line, "lower it, or add keys with the role approve to the policy")
    if key is None and policy.required:
        raise BadInput("the policy requires signatures, and registry.signing_key is empty", "name a key: docs/audit.md")
    if key and policy.keys and (lacking := [role for role in ("model", "log") if not policy.holder(key.id, role)]):
        line = f"registry.signing_key is {key.id[:12]}, which has no role '{lacking[0]}' in policy '{policy.source}'"
        raise BadInput(line, "name the pipeline's key, or add this one to the policy with the roles model and log")
    return policy, key


def log_beside_head(desk: Desk, place: Place) -> tuple[list[log.Record], list[str], str, int]:
    """(records, what is wrong with them, the head that MLflow knows, its number), read again for two seconds where the log is
    ahead: a writer may be between the two."""
    for left in reversed(range(8)):
        head = desk.anchor()  # before the log, which is written first
        records, breaks = log.read(place, desk.model, desk.policy)
        number = head.partition(":")[0]
        seq = int(number) if number.isdecimal() else 0
        if breaks or not left or not records or seq >= records[-1].seq:
            return records, breaks, head, seq
        time.sleep(0.25)
    raise AssertionError("the last round returns")
