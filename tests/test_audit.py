"""The audit: every manipulation is found and named, and nothing else is; the log under many writers; who may promote what."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from audited import DATA, World, decided, new_key, new_policy, whole_run

from raro import storage
from raro.config import parse
from raro.errors import BadInput, GateRefused, ServiceFailed
from raro.registrar.show import story
from raro.registry import log, signature
from raro.registry.audit import audited
from raro.registry.desk import ANCHOR, LOCK, LOG, Desk, desk_of, key_of, signer_of, standing
from raro.registry.keys import PublicKey, encoded, signing_key
from raro.registry.places import Folder, Parameters
from raro.registry.policy import Policy, read
from raro.registry.promotion import promote, rollback
from raro.steps import record, register
from raro.steps.claim import claim
from raro.steps.harness import Step


def breaks(world: World, at: str = "champion", anchor: str = "") -> list[str]:
    with audited(world.desk, at, anchor) as made:
        return made.breaks


# ------------------------------------------------------------------------------------------------------------------ tampering


def byte_in(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def shards(world: World) -> list[Path]:
    return sorted(world.model.glob("*.safetensors"))


def swapped_shards(world: World) -> None:
    first, second = (path.read_bytes() for path in shards(world)[:2])
    shards(world)[0].write_bytes(second)
    shards(world)[1].write_bytes(first)


def manifest_made_to_fit(world: World) -> None:
    byte_in(shards(world)[0])
    storage.write_json(world.model / "manifest.json", storage.manifest(world.model))


def manifest_and_tag_made_to_fit(world: World) -> None:
    manifest_made_to_fit(world)
    tag(world, "raro.root", storage.manifest(world.model)["root"])


def tag(world: World, key: str, value: str, number: str = "1") -> None:
    world.desk.client.set_model_version_tag("tiny", number, key, value)


def edited_manifest(world: World) -> None:
    listing = storage.read_json(world.model / "manifest.json")
    listing["files"][0]["size"] += 1
    storage.write_json(world.model / "manifest.json", listing)


def linked(world: World) -> None:
    target = world.place / "elsewhere.json"
    (world.model / "tokenizer.json").replace(target)
    (world.model / "tokenizer.json").symlink_to(target)


def swapped_version(world: World) -> None:
    shutil.rmtree(world.model)
    shutil.copytree(world.other, world.model)


def swapped_version_and_tag(world: World) -> None:
    swapped_version(world)
    tag(world, "raro.root", world.desk.version("2").tags["raro.root"])


def source_moved(world: World) -> None:
    query(world, "UPDATE model_versions SET source = ? WHERE version = 1", str(world.other))


def query(world: World, text: str, *values: object) -> None:
    with sqlite3.connect(world.place / "mlflow.db") as store:
        assert store.execute(text, values).rowcount, "the store has another layout than this test knows"


def replayed_signature(world: World) -> None:
    shutil.copy(world.other / "model.sig", world.model / "model.sig")


def signed_by_mallory(world: World) -> None:
    signature.sign(world.model, storage.read_json(world.model / "manifest.json"), world.key("Mallory"))


def signed_by_ada(world: World) -> None:
    signature.sign(world.model, storage.read_json(world.model / "manifest.json"), world.key("Ada"))


def edited_provenance(world: World) -> None:
    path = world.model / "provenance.json"
    path.write_text(path.read_text().replace("cd" * 32, "ef" * 32))


def evidence(world: World, name: str) -> Path:
    run_id = world.desk.version("1").run_id
    return next(path for path in (world.place / "mlartifacts").rglob(name) if run_id in path.parts)


def folder_for_provenance(world: World) -> None:
    (world.model / "provenance.json").unlink()
    (world.model / "provenance.json").mkdir()


def replaced_data(world: World) -> None:
    path = evidence(world, "data.json")
    storage.write_json(path, storage.read_json(path) | {"rows": 90})


def replaced_config(world: World) -> None:
    path = evidence(world, "config.json")
    path.write_text(path.read_text().replace('"seed":0', '"seed":1'))


def replaced_evaluation(world: World) -> None:
    path = evidence(world, "evaluation.json")
    path.write_text(path.read_text().replace("0.55", "0.95"))


def replaced_decision(world: World) -> None:
    path = evidence(world, "decision.json")
    path.write_text(path.read_text().replace("promote", "hold", 1))


def better_metrics(world: World) -> None:
    world.desk.client.log_metric(world.desk.version("1").run_id, "sampled/candidate", 0.9)


def other_runs_metrics(world: World) -> None:
    version = world.desk.version("1")
    query(world, "UPDATE logged_model_metrics SET metric_value = 0.7 WHERE model_id = ?", version.tags["raro.model_id"])


def other_run(world: World) -> None:
    query(world, "UPDATE model_versions SET run_id = ? WHERE version = 1", world.desk.version("2").run_id)


def deleted_run(world: World) -> None:
    world.desk.client.delete_run(world.desk.version("1").run_id)


def alias_moved(world: World) -> None:
    world.desk.client.set_registered_model_alias("tiny", "champion", "2")


def alias_removed(world: World) -> None:
    world.desk.client.delete_registered_model_alias("tiny", "challenger")


def records(world: World) -> list[Path]:
    return sorted(world.log.glob("*.jsonl"))


def line(path: Path, **changes) -> dict:
    data = json.loads(path.read_text()) | changes
    path.write_text(storage.canonical(data) + "\n")
    return data


def record_edited(world: World) -> None:
    line(records(world)[2], actor="nobody")


def rehashed(path: Path, **changes) -> log.Record:
    """A record rewritten with a hash that fits."""
    record = log.Record(**(json.loads(path.read_text()) | changes))
    fitting = log.Record(
        **{name: getattr(record, name) for name in (*log.SIGNED, "signatures")}, hash=storage.digest_text(record.content)
    )
    path.write_bytes(fitting.line)
    return fitting


def record_rehashed(world: World) -> None:
    rehashed(records(world)[2], body={"root": "00" * 32, "reasons": []})


def rewritten_from_the_middle(world: World) -> None:
    """Record 2 changed, every hash after it made to fit, and MLflow's tag, too."""
    before = rehashed(records(world)[1], body={"benchmark": "countdown", "metrics": "", "sampled": {}})
    for path in records(world)[2:]:
        before = rehashed(path, previous=before.hash)
    world.desk.client.set_registered_model_tag("tiny", ANCHOR, before.head)


def last_rewritten_and_anchored(world: World) -> None:
    record = rehashed(records(world)[-1], actor="Ada")
    world.desk.client.set_registered_model_tag("tiny", ANCHOR, record.head)


def truncated(world: World) -> None:
    records(world)[-1].unlink()


def emptied(world: World) -> None:
    shutil.rmtree(world.log)


def hole(world: World) -> None:
    records(world)[3].unlink()


def reordered(world: World) -> None:
    third, fourth = records(world)[2:4]
    kept = third.read_bytes()
    third.write_bytes(fourth.read_bytes())
    fourth.write_bytes(kept)


def renumbered(world: World) -> None:
    """A record taken out and the others moved up."""
    paths = records(world)
    for earlier, later in zip(paths[2:], paths[3:], strict=False):
        later.replace(earlier)


def forge(world: World, key_name: str | None, action: str = "approved", actor: str = "Ada", number: str = "2", **body) -> None:
    """A record added by someone who writes to store and MLflow, with the key of `key_name`."""
    place = Folder(world.log)
    found, _ = log.read(place, "tiny")
    root = world.desk.version(number).tags["raro.root"]
    key = world.key(key_name) if key_name else None
    made = log.append(place, "tiny", lambda _: log.Draft(action, number, actor, {"root": root, **body}), key)
    world.desk.client.set_registered_model_tag("tiny", ANCHOR, made[-1].head)
    assert len(made) == len(found) + 1


def unsigned_record(world: World) -> None:
    forge(world, None)


def forged_approver(world: World) -> None:
    forge(world, "Mallory")


def grace_as_ada(world: World) -> None:
    forge(world, "Grace", actor="Ada")


def pipeline_approves(world: World) -> None:
    forge(world, "pipeline", actor="pipeline", reason="fine")


def pipeline_promotes(world: World) -> None:
    """By one who holds the pipeline's key, without the two approvals."""
    forge(world, "pipeline", action="promoted", actor="pipeline")
    world.desk.client.set_registered_model_alias("tiny", "champion", "2")


def pipeline_rolls_back(world: World) -> None:
    """By one who holds the pipeline's key, in a person's name."""
    promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
    promote(world.desk, "challenger", "Grace", "fine", world.key("Grace"))
    forge(world, "pipeline", action="rolled back", number="1", before="2")
    world.desk.client.set_registered_model_alias("tiny", "champion", "1")


def pipeline_ends_a_hold(world: World) -> None:
    forge(world, "Ada", action="legal hold", number="1", on=True)
    forge(world, "pipeline", action="legal hold", number="1", on=False)


def pipeline_promotes_as_ada(world: World) -> None:
    promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
    forge(world, "Grace", actor="Grace")
    forge(world, "pipeline", action="promoted")


def unsigned_promotion(world: World) -> None:
    forge(world, None, action="promoted", actor="Ada")
    world.desk.client.set_registered_model_alias("tiny", "champion", "2")


def signature_of_another_record(world: World) -> None:
    approvals = [path for path in records(world) if '"approved"' in path.read_text()]
    kept = json.loads(approvals[0].read_text())["signatures"]
    forge(world, None)
    line(records(world)[-1], signatures=kept)


def never_champion(world: World) -> None:
    forge(world, "Ada", action="rolled back", actor="Ada")
    world.desk.client.set_registered_model_alias("tiny", "champion", "2")


def log_elsewhere(world: World) -> None:
    fork = world.place / "shelf" / "fork" / "tiny"
    shutil.copytree(world.log, fork)
    world.desk.client.set_registered_model_tag("tiny", LOG, str(fork))


def anchored(world: World, head: str) -> None:
    world.desk.client.set_registered_model_tag("tiny", ANCHOR, head)


def anchor_removed(world: World) -> None:
    world.desk.client.delete_registered_model_tag("tiny", ANCHOR)


def locked_for_no_time(world: World) -> None:
    world.desk.client.set_registered_model_tag("tiny", LOCK, "abc")


def shown(world: World) -> Path:
    """The card of the champion's LoggedModel, which is what MLflow shows."""
    return next((world.place / "mlartifacts" / "models" / world.desk.version("1").tags["raro.model_id"]).rglob("README.md"))


MANIPULATIONS: dict[str, tuple[Callable[[World], None], str]] = {
    "one byte in the weights": (lambda w: byte_in(shards(w)[0]), r"files: .*safetensors' was changed"),
    "one byte and a manifest that fits": (manifest_made_to_fit, r"manifest: .*its root is not the version's tag"),
    "and a root tag that fits": (manifest_and_tag_made_to_fit, r"manifest: .*its root is not the log's"),
    "shards swapped": (swapped_shards, r"files: .*safetensors'"),
    "a shard removed": (lambda w: shards(w)[1].unlink(), r"files: .*is missing"),
    "a file added": (lambda w: (w.model / "chat_template.jinja").write_text("{{}}"), r"files: .*not in the manifest"),
    "tokenizer changed": (
        lambda w: (w.model / "tokenizer.json").write_text('{"version": "2.0"}'),
        r"tokenizer.json' was changed",
    ),
    "generation settings changed": (lambda w: (w.model / "config.json").write_text("{}"), r"files: .*config.json"),
    "card rewritten": (lambda w: (w.model / "README.md").write_text("better"), r"files: .*README.md"),
    "the card that MLflow shows rewritten": (lambda w: shown(w).write_text("better"), r"files: README.md of the logged model"),
    "the card that MLflow shows removed": (lambda w: shown(w).unlink(), r"files: README.md of the logged model .* is gone"),
    "a symbolic link": (linked, r"files: 'tokenizer.json'.*symbolic link"),
    "a pickle": (lambda w: (w.model / "optimizer.pt").write_bytes(b"\x80\x04K\x01."), r"files: .*is a pickle"),
    "manifest edited": (edited_manifest, r"manifest: .*own root digest"),
    "manifest removed": (lambda w: (w.model / "manifest.json").unlink(), r"manifest: .*not at"),
    "another version's files": (swapped_version, r"manifest: .*version's tag"),
    "another version's files and tag": (swapped_version_and_tag, r"manifest: .*the log's"),
    "the version's source moved": (source_moved, r"registry: the version's source was changed"),
    "signature removed": (lambda w: (w.model / "model.sig").unlink(), r"signature: model.sig is gone"),
    "signature of another version replayed": (replayed_signature, r"signature: .*is not valid"),
    "signed again by a stranger": (signed_by_mallory, r"signature: signed by .*policy does not name"),
    "signed again by an approver": (signed_by_ada, r"signature: 'Ada' may not sign models"),
    "signature damaged": (lambda w: (w.model / "model.sig").write_text("{}"), r"signature: .*is not a signature"),
    "provenance that is no file": (folder_for_provenance, r"provenance: provenance.json is not there"),
    "provenance edited": (edited_provenance, r"provenance: .*demonstrations is not"),
    "tag edited": (lambda w: tag(w, "raro.data_digest", "ef" * 32), r"registry: tag raro.data_digest .*changed"),
    "tag added": (lambda w: tag(w, "raro.approved_by", "Ada"), r"registry: tag raro.approved_by .*added"),
    "tag removed": (lambda w: w.desk.client.delete_model_version_tag("tiny", "1", "raro.decision"), r"raro.decision .*removed"),
    "description rewritten": (lambda w: w.desk.client.update_model_version("tiny", "1", "+20"), r"registry: .*description"),
    "alias moved": (alias_moved, r"registry: alias 'champion' stands at version 2, the log says 1"),
    "alias removed": (alias_removed, r"registry: alias 'challenger' is gone"),
    "data manifest replaced": (replaced_data, r"run: ingest/data.json of the run was replaced"),
    "configuration replaced": (replaced_config, r"run: config.json of the run was replaced"),
    "evaluation replaced": (replaced_evaluation, r"run: evaluation.json of the run was replaced"),
    "decision replaced": (replaced_decision, r"run: decide/decision.json of the run was replaced"),
    "evidence removed": (lambda w: evidence(w, "data.json").unlink(), r"run: the run holds no ingest/data.json"),
    "better metrics": (better_metrics, r"evaluation: the run's metric sampled/candidate"),
    "another run's metrics": (other_runs_metrics, r"evaluation: the logged model's metric"),
    "another run": (other_run, r"registry: the version's run was changed"),
    "run deleted": (deleted_run, r"run: .*was deleted"),
    "record edited": (record_edited, r"log: record 3 was changed: its hash"),
    "record rewritten with a fitting hash": (record_rehashed, r"log: record 4 does not follow"),
    "log rewritten and anchored again": (
        rewritten_from_the_middle,
        r"log: record 2: the signature of 'pipeline' is not of this",
    ),
    "newest record rewritten and anchored": (last_rewritten_and_anchored, r"log: record \d+: the signature of"),
    "a folder for a record": (lambda w: (w.log / "00000010.jsonl").mkdir(), r"log: record 10 cannot be read"),
    "log cut off": (truncated, r"log: the log was cut off"),
    "log emptied": (emptied, r"log: the log was cut off: MLflow knows record"),
    "record missing": (hole, r"log: record 4 is missing"),
    "records reordered": (reordered, r"log: where record 3 should stand.*order was changed"),
    "record taken out, others moved up": (renumbered, r"log: where record 3 should stand"),
    "record without a signature": (unsigned_record, r"log: record \d+: the approval of 'Ada' is not signed"),
    "forged approver": (forged_approver, r"log: record \d+ is signed by a key that the policy does not name"),
    "one approver as another": (grace_as_ada, r"log: record \d+ names 'Ada' and is signed by 'Grace'"),
    "the pipeline approves": (pipeline_approves, r"log: record \d+: 'pipeline' may not sign 'approved'"),
    "the pipeline promotes alone": (pipeline_promotes, r"decision: record \d+ promotes with 0 approvals, 2 are needed"),
    "the pipeline rolls back as a person": (pipeline_rolls_back, r"log: record \d+: 'pipeline' may not sign 'rolled back'"),
    "the pipeline ends a hold as a person": (pipeline_ends_a_hold, r"log: record \d+: 'pipeline' may not sign 'legal hold'"),
    "the pipeline promotes as a person": (pipeline_promotes_as_ada, r"log: record \d+ names 'Ada' and is signed by 'pipeline'"),
    "promotion without a signature": (unsigned_promotion, r"log: record \d+ is not signed"),
    "another record's signature": (
        signature_of_another_record,
        r"log: record \d+: the signature of 'Ada' is not of this record",
    ),
    "back to what was never champion": (never_champion, r"decision: record \d+ rolls back to a version that was never"),
    "log pointed elsewhere": (log_elsewhere, r"log: the tag raro.audit_log names another place"),
    "log pointed at a run that is not there": (
        lambda w: w.desk.client.set_registered_model_tag("tiny", LOG, "mlflow:" + "0" * 32),
        r"log: the log was cut off",
    ),
    "anchor removed": (anchor_removed, r"log: MLflow holds no head"),
    "lock of no number": (locked_for_no_time, r"log: the tag raro.audit_lock_days of 'tiny' is 'abc', no number"),
    "anchor of no number": (lambda w: anchored(w, "²:" + "0" * 64), r"log: record 0 is not the one that MLflow's tag names"),
}


@pytest.mark.parametrize("what", MANIPULATIONS)
def test_a_manipulation_is_found_and_named(world, what):
    tamper, named = MANIPULATIONS[what]
    tamper(world)
    at = "2" if what in ("the pipeline promotes alone", "back to what was never champion") else "1"
    found = breaks(world, at)
    assert any(re.search(named, one) for one in found), found


@pytest.mark.check
def test_no_false_alarm_in_a_hundred_verifications(world):
    assert [breaks(world, at) for at in ("champion", "challenger") * 50] == [[]] * 100


def test_a_whole_version_is_whole_and_says_what_it_rests_on(world):
    with audited(world.desk, "champion") as made:
        assert made.breaks == []
        assert {check.state for check in made.checks} == {"ok"}
        assert made.found["said"]["dependencies"]["base"]["sha256"] == storage.manifest(world.place / "base")["root"]
        assert made.found["said"]["config"] == json.loads(world.config.canonical())
    assert breaks(world, "challenger") == []
    assert breaks(world, "1", anchor=log.read(Folder(world.log), "tiny")[0][4].head) == []


def test_a_log_put_back_with_its_anchor_is_found_only_by_a_head_kept_elsewhere(world):
    """The documented limit of signatures: an older signed head is a true one."""
    promoted = [record for record in log.read(Folder(world.log), "tiny")[0] if record.action == "promoted"][0]
    head = log.read(Folder(world.log), "tiny")[0][-1].head
    for path in records(world)[promoted.seq :]:
        path.unlink()
    world.desk.client.set_registered_model_tag("tiny", ANCHOR, promoted.head)
    world.desk.client.delete_registered_model_alias("tiny", "challenger")
    assert breaks(world) == []
    (found,) = breaks(world, anchor=head)
    assert "does not hold the head that was kept elsewhere" in found


# -------------------------------------------------------------------------------------------------------------- OpenSSF's tool


def test_openssf_s_own_tool_accepts_the_signature(world):
    command = [Path(sys.executable).parent / "model_signing", "verify", "key", world.model]
    command += ["--public_key", world.keys / "pipeline.pub", "--signature", world.model / "model.sig"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    byte_in(shards(world)[0])
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode != 0
    assert shards(world)[0].name in done.stdout + done.stderr


def test_the_bill_of_materials_is_valid_by_cyclonedx_s_own_schema(world):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (world.model / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told = json.loads(text)
    assert told["metadata"]["component"]["type"] == "machine-learning-model"
    kinds = {component["bom-ref"]: component["type"] for component in told["components"]}
    assert (kinds["base"], kinds["demonstrations"]) == ("machine-learning-model", "data")
    assert told["components"][0]["licenses"]


def test_the_provenance_is_a_statement_and_a_predicate_by_in_toto_s_own_library(world):
    from google.protobuf.json_format import MessageToDict, ParseDict
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Told

    told = json.loads((world.model / "provenance.json").read_text())
    statement = Statement.copy_from_pb(ParseDict(told, Told()))  # refuses a field that it does not know
    statement.validate()
    assert {path.name for path in shards(world)} <= {one.name for one in statement.pb.subject}
    predicate = ParseDict(told["predicate"], Provenance())
    definition, details = predicate.build_definition, predicate.run_details
    for one in [*definition.resolved_dependencies, *details.byproducts]:
        ResourceDescriptor.copy_from_pb(one).validate()
    # What SLSA requires: https://slsa.dev/spec/v1.0/provenance#schema
    assert definition.build_type.startswith("https://") and details.builder.id.startswith("https://")
    assert definition.external_parameters["config"]["registry"]["model"] == "tiny"
    assert details.metadata.started_on.seconds <= details.metadata.finished_on.seconds
    assert MessageToDict(predicate) == told["predicate"], "nothing of it means something else to others"


# ------------------------------------------------------------------------------------------------------------------------- keys


def test_a_key_is_referred_to_by_file_variable_or_command(tmp_path, monkeypatch):
    path = new_key(tmp_path / "key.pem")
    monkeypatch.setenv("KEY", path.read_text())
    hook = tmp_path / "hook"
    hook.write_text(
        f"#!/bin/sh\ncase $1 in public) cat {path.with_suffix('.pub')};; sign) openssl dgst -sha256 -sign {path};; esac\n"
    )
    hook.chmod(0o755)
    message = encoded("x", b"something")
    keys = [signing_key(reference) for reference in (f"file:{path}", "env:KEY", f"exec:{hook}")]
    assert len({key.id for key in keys}) == 1
    for key in keys:
        assert keys[0].public.signed(key.sign(message), message)
        assert not keys[0].public.signed(key.sign(message), message + b"!")


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("key.pem", "not a reference"),
        ("file:nowhere.pem", "cannot be read"),
        ("env:NOT_SET_ANYWHERE", "is empty"),
        ("hunter2", "not a reference"),
        ("env:-----BEGIN hunter2", "not a reference"),
        ("file:-----BEGIN PRIVATE KEY-----\nhunter2", "not a reference"),
        ("exec: ", "not a reference"),
        ("file:{rsa}", "not an elliptic curve key"),
        ("file:{text}", "not an unencrypted private key"),
        ("exec:{liar}", "not a signature by its own key"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_without_showing_it(tmp_path, reference, named):
    subprocess.run(["openssl", "genrsa", "-out", tmp_path / "rsa", "1024"], check=True, capture_output=True)
    (tmp_path / "text").write_text("hunter2")
    good = new_key(tmp_path / "good.pem")
    (tmp_path / "liar").write_text(f"#!/bin/sh\ncase $1 in public) cat {good.with_suffix('.pub')};; sign) echo no;; esac\n")
    (tmp_path / "liar").chmod(0o755)
    with pytest.raises(BadInput, match=named) as error:
        key = signing_key(reference.format(**{name: tmp_path / name for name in ("rsa", "text", "liar")}))
        key.sign(b"message")
    assert error.value.remedy
    assert "hunter2" not in str(error.value)


def test_a_hook_that_fails_is_worth_another_try(tmp_path):
    with pytest.raises(ServiceFailed, match="the key hook 'false public' failed with exit code 1"):
        signing_key("exec:false")


@pytest.mark.parametrize("how", ["fails", "is slow", "prints no key"])
def test_what_a_hook_says_is_shown_on_a_terminal_alone(tmp_path, monkeypatch, how):
    """Its words, and what it is given, may be secrets; a run's failure is recorded, and sent to MLflow."""
    hook, run = tmp_path / "hook", tmp_path / "run"
    ends = {"fails": "exit 3", "is slow": "exec sleep 9", "prints no key": "echo hunter2"}[how]
    hook.write_text(f"#!/bin/sh\necho 'the password hunter2 is wrong' >&2\n{ends}\n")
    hook.chmod(0o755)
    monkeypatch.setenv("RARO_SIGNING_KEY", f"exec:{hook} hunter2")
    monkeypatch.setattr("raro.registry.keys.TIMEOUT", 1)
    code = "from raro.registry import keys; import sys; keys.TIMEOUT = 1; from raro.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "step", "preflight", "--output", str(run)]
    small = ["--set", "rollout.policy_tokens=64", "--set", "rollout.critic_tokens=64"]
    done = subprocess.run([*command, *small], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (2 if how == "prints no key" else 4), done.stderr
    failure = (run / "failure.json").read_text()
    told = {"fails": "public' failed with exit code 3", "is slow": "does not answer: TimeoutExpired"}
    assert f"'{hook}" in failure and told.get(how, "printed is not a public key") in failure
    texts = [done.stdout, done.stderr, *(path.read_text(errors="replace") for path in run.rglob("*") if path.is_file())]
    assert not [text for text in texts if "hunter2" in text]


def test_on_a_terminal_a_hook_is_heard(tmp_path):
    import pty

    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\necho 'touch the key' >&2\nexit 3\n")
    hook.chmod(0o755)
    ours, theirs = pty.openpty()
    code = f"from raro.registry.keys import signing_key; signing_key('exec:{hook}')"
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs)
    os.close(theirs)
    assert done.returncode == 1 and "touch the key" in os.read(ours, 65536).decode()
    os.close(ours)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[", "not valid YAML"),
        ("- a", "no mapping"),
        ("signature: required", "unknown key 'signature'"),
        ("signatures: yes please", "signatures is"),
        ("approvals: two", "approvals is"),
        ("approvals: -1", "approvals is"),
        ("keys: {a: 1}", "keys is not a list"),
        ("keys: [{roles: [log]}]", "has no name"),
        ("keys: [{name: A, roles: [boss], public_key: x}]", "roles of 'A'"),
        ("keys: [{name: A, roles: [log]}]", "needs public_key"),
        ("keys: [{name: A, roles: [log], public_key: x}]", "not a public key in PEM"),
        ("keys: [{name: A, roles: [log], public_key_file: nowhere}]", "cannot be read"),
        ("signatures: required\napprovals: 1", "names 0 who may approve"),
        ("signatures: required", "requires signatures and names no key"),
    ],
)
def test_a_policy_that_cannot_hold_is_refused(tmp_path, text, named):
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(BadInput, match=named) as error:
        read(tmp_path / "policy.yaml")
    assert error.value.remedy


def test_more_approvals_than_people_are_refused_before_anything_is_paid_for(tmp_path):
    with pytest.raises(BadInput, match="wants 3 approvals and names 2 who may approve"):
        read(new_policy(tmp_path, approvals=3, signatures="optional"))
    policy = new_policy(tmp_path)
    policy.write_text(policy.read_text().replace("name: Ada", "name: ' Ada  Byron'"))
    asked = {"policy": str(policy), "signing_key": f"file:{tmp_path / 'pipeline.pem'}"}
    assert signer_of(parse({"registry": asked}))[0].people == {"Ada Byron", "Grace"}, "as the log has a name"
    with pytest.raises(BadInput, match=r"registry.approvals is 3, and '.*policy.yaml' names 2 who may approve"):
        signer_of(parse({"registry": asked | {"approvals": 3}}))


def test_two_people_cannot_have_one_key(tmp_path):
    path = new_policy(tmp_path)
    shutil.copy(tmp_path / "Ada.pub", tmp_path / "Grace.pub")
    with pytest.raises(BadInput, match="'Ada' and 'Grace' share one key"):
        read(path)


# -------------------------------------------------------------------------------------------------------------------- promotion


def test_two_approvals_make_a_champion_and_a_rollback_unmakes_it(world):
    desk = world.desk
    first = promote(desk, "challenger", "Ada", "it holds on the ward's own cases", world.key("Ada"))
    assert (first.champion, first.approved, first.needed) == (False, ("Ada",), 2)
    assert desk.aliases() == {"champion": "1", "challenger": "2"}
    with pytest.raises(GateRefused, match="'Ada' has already approved version 2"):
        promote(desk, "challenger", "Ada", "again", world.key("Ada"))
    second = promote(desk, "challenger", "Grace", "agreed", world.key("Grace"))
    assert (second.champion, second.approved) == (True, ("Ada", "Grace"))
    assert desk.aliases() == {"champion": "2"}
    assert breaks(world) == []
    back = rollback(desk, "Ada", "a patient's file was misread", world.key("Ada"))
    assert (back.version, back.champion) == ("1", True)
    assert desk.aliases() == {"champion": "1"}
    assert breaks(world) == []
    # What approved it then does not approve it again.
    assert not promote(desk, "2", "Grace", "mended", world.key("Grace")).champion
    assert promote(desk, "2", "Ada", "mended", world.key("Ada")).champion
    assert breaks(world) == []
    before = len(records(world))
    assert promote(desk, "champion", "Ada", "once more", world.key("Ada")).champion
    assert len(records(world)) == before, "what is done is not done again"


@pytest.mark.parametrize(
    ("approver", "key", "reason", "named"),
    [
        ("Ada", "Ada", " ", "no reason"),
        ("", "Ada", "fine", "no approver"),
        ("Ada", None, "fine", "no key is given"),
        ("Ada", "Grace", "fine", "is not 'Ada''s"),
        ("Mallory", "Mallory", "fine", "is not 'Mallory''s"),
        ("pipeline", "pipeline", "fine", "not a person"),
        ("Ada", "Ada", "x" * 1001, "1001 characters"),
    ],
)
def test_who_may_not_promote_changes_nothing(world, approver, key, reason, named):
    before = [path.read_bytes() for path in records(world)]
    with pytest.raises(BadInput, match=named):
        promote(world.desk, "challenger", approver, reason, world.key(key) if key else None)
    assert [path.read_bytes() for path in records(world)] == before
    assert world.desk.aliases() == {"champion": "1", "challenger": "2"}


def test_without_the_policy_of_a_version_nothing_is_entered(world):
    """By who names the server alone: what is not signed would break the log for all who have the policy."""
    before, desk = records(world), dataclasses.replace(world.desk, config=None, policy=Policy())
    with pytest.raises(BadInput, match=f"version 2 was registered under policy '{world.policy}', and none is given"):
        promote(desk, "challenger", "Ada", "fine", None)
    assert records(world) == before


def test_the_approvals_that_a_run_asked_for_are_asked_for_without_its_settings(world):
    """By who names the server alone, and another policy, or none."""
    settings = json.loads(world.config.canonical())
    config = parse(settings | {"registry": settings["registry"] | {"policy": "", "approvals": 2}})
    number = whole_run(config, world.place / "runs" / "asks-for-two", world.place / "base", 0.4)["version"]
    desk = dataclasses.replace(world.desk, config=None, policy=Policy())
    assert promote(desk, number, "Ada", "fine", None).needed == 2
    forge(world, None, action="promoted", actor="pipeline", number=number)
    desk.settle()
    with audited(desk, number) as made:
        assert made.breaks == ["decision: record 14 promotes with 1 approvals, 2 are needed"]


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("Ada", "names 'Grace' and is signed by 'Ada'"),
        ("Mallory", "is signed by a key that the policy does not name"),
        ("pipeline", "'pipeline' may not sign 'approved'"),
    ],
)
def test_a_signature_that_would_break_the_log_is_not_entered(world, key, named):
    """As of a person whom a policy without approvers lets promote, and who signs all the same."""
    before = records(world)
    with pytest.raises(BadInput, match=f"nothing was entered, for record 10.*{named}"):
        world.desk.append(lambda _: log.Draft("approved", "2", "Grace", {}), world.key(key))
    assert records(world) == before


def test_what_is_not_whole_is_not_promoted(world):
    byte_in(next(world.other.glob("*.safetensors")))
    with pytest.raises(GateRefused, match="version 2 of 'tiny' is not whole: files: "):
        promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
    with pytest.raises(BadInput, match="has no version at 'staging'"):
        promote(world.desk, "staging", "Ada", "fine", world.key("Ada"))
    with pytest.raises(BadInput, match="has no version 7"):
        promote(world.desk, "7", "Ada", "fine", world.key("Ada"))
    with pytest.raises(BadInput, match="versions that were champion before: none"):
        rollback(world.desk, "Ada", "back", world.key("Ada"))


def test_a_moved_challenger_alias_does_not_choose_what_is_approved(world):
    world.desk.client.set_registered_model_alias("tiny", "challenger", "1")
    made = promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
    assert made.version == "2", "the log says who is challenger"


def test_an_interrupted_promotion_is_completed_by_repeating_it(world):
    desk = world.desk
    promote(desk, "challenger", "Ada", "fine", world.key("Ada"))
    root = desk.version("2").tags["raro.root"]
    for action in ("approved", "promoted"):  # as if the process had gone before the aliases followed
        desk.append(lambda _, action=action: log.Draft(action, "2", "Grace", {"root": root, "before": "1"}), world.key("Grace"))
    assert desk.aliases()["champion"] == "1"
    assert any("log goes on after record" in one for one in breaks(world))
    desk.client.delete_registered_model_alias("tiny", "challenger")  # so far it had come
    assert promote(desk, "challenger", "Grace", "fine", world.key("Grace")).champion
    assert desk.aliases() == {"champion": "2"}
    assert breaks(world) == []


@pytest.mark.parametrize("to", ["", "2"])
def test_an_interrupted_rollback_is_completed_by_repeating_it_and_goes_no_further_back(world, monkeypatch, to):
    """Version 3 is champion after 2 after 1, and MLflow goes away between the log and the alias."""
    settings = json.loads(world.config.canonical())
    config = parse(settings | {"registry": settings["registry"] | {"policy": ""}})
    promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
    promote(world.desk, "challenger", "Grace", "fine", world.key("Grace"))
    whole_run(config, world.place / "runs" / f"third{to}", world.place / "base", 0.6)

    def away(desk: Desk) -> None:
        raise ServiceFailed("MLflow does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Desk, "settle", away)
        with pytest.raises(ServiceFailed):
            rollback(world.desk, "Ada", "a fault", world.key("Ada"), to)
    assert world.desk.aliases() == {"champion": "3"}
    back = rollback(world.desk, "Ada", "a fault", world.key("Ada"), to)
    assert (back.version, back.champion) == ("2", True) and world.desk.aliases() == {"champion": "2"}
    assert [record.action for record in world.desk.settle()].count("rolled back") == 1
    assert rollback(world.desk, "Ada", "a fault there, too", world.key("Ada")).version == "1"


# ----------------------------------------------------------------------------------------------------------------- many writers


def crowd(place, writers: int = 8, each: int = 5) -> list[log.Record]:
    """Records that many threads add at once, each its own."""

    def write(name: int) -> None:
        for n in range(each):
            log.append(place, "m", lambda _, n=n: log.Draft("held", str(n), f"writer {name}", {}), None)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, wrong = log.read(place, "m")
    assert wrong == []
    assert len(found) == writers * each, "no record is lost and none is written twice"
    assert {(r.actor, r.version) for r in found} == {(f"writer {w}", str(n)) for w in range(writers) for n in range(each)}
    return found


def test_many_writers_lose_nothing(tmp_path):
    crowd(Folder(tmp_path / "log"))
    assert not list((tmp_path / "log").glob(".*"))


def test_a_log_in_mlflow_is_written_once_too(world):
    client = world.desk.client
    run = client.create_run(client.get_experiment_by_name("raro").experiment_id)
    place = Parameters(client, world.desk.uri, run.info.run_id)
    crowd(place, writers=3, each=2)
    assert not place.create(1, b'{"other": 1}\n')
    with pytest.raises(BadInput, match="does not fit into MLflow"):
        place.create(99, b"x" * 6001)


def test_two_pipelines_that_promote_at_once_leave_one_champion_that_the_log_knows(world):
    config = parse(
        json.loads(world.config.canonical()) | {"registry": json.loads(world.config.canonical())["registry"] | {"policy": ""}}
    )
    done: list[str] = []

    def one(name: str, scale: float) -> None:
        done.append(whole_run(config, world.place / "runs" / name, world.place / "base", scale)["version"])

    threads = [threading.Thread(target=one, args=(f"racing-{i}", 0.1 + i / 10)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["3", "4"]
    desk = desk_of(config, world.run)
    found, wrong = log.read(desk.place(), "tiny")
    assert wrong == []
    assert desk.aliases()["champion"] == standing(found)["champion"]
    assert desk.anchor() == found[-1].head
    with audited(desk, "champion") as made:
        assert made.breaks == []


@pytest.mark.parametrize("met", ["", "ab" * 32])
def test_a_candidate_that_did_not_meet_the_champion_waits_for_a_person(world, met):
    """Another run was first, or somebody moved the alias while the candidate was evaluated: it may be the worse of the two."""
    told = json.loads(world.config.canonical())
    config = parse(told | {"registry": told["registry"] | {"policy": ""}})
    late = whole_run(config, world.place / "runs" / f"late-{met[:2]}", world.place / "base", 0.7, rival=met)
    assert late["alias"] == "challenger" and world.desk.aliases() == {"champion": "1", "challenger": "3"}
    last = log.whole(world.desk.place(), "tiny")[-1]
    assert last.action == "held"
    assert "version 1 is the champion, and it was not compared with that one" in last.body["reasons"][-1]
    root = world.desk.version("1").tags["raro.root"]
    met_it = whole_run(config, world.place / "runs" / f"met-{met[:2]}", world.place / "base", 0.8, rival=root)
    assert met_it["alias"] == "champion"


@pytest.mark.parametrize(("place", "name"), [(Desk, "anchor"), (log, "read")])
def test_who_writes_while_the_log_is_read_makes_no_false_alarm(world, monkeypatch, place, name):
    """Between the look at MLflow's head and the look at the log, a record is added and the head follows it."""
    real = getattr(place, name)

    def meanwhile(*given):
        monkeypatch.setattr(place, name, real)
        promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
        return real(*given)

    monkeypatch.setattr(place, name, meanwhile)
    assert breaks(world) == []


def test_a_clock_set_back_is_noted_and_breaks_nothing(world, monkeypatch):
    monkeypatch.setattr(log, "now", lambda: datetime.now(UTC) - timedelta(days=400))
    promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
    last = log.read(Folder(world.log), "tiny")[0][-1]
    assert last.body["clock_behind_s"] > 86400 * 399
    assert breaks(world) == []


# ----------------------------------------------------------------------------------------------------------------- registering


def test_a_policy_that_requires_signatures_refuses_to_register_without_a_key(world):
    settings = json.loads(world.config.canonical())
    config = parse(settings | {"registry": settings["registry"] | {"signing_key": ""}})
    for low in (0.05, -0.2):  # one that would be registered, one that would be rejected
        with pytest.raises(BadInput, match="registry.signing_key is empty"):
            whole_run(config, world.place / "runs" / f"no-key-{low}", world.place / "base", 0.9, low)


def test_a_version_trained_under_a_policy_that_was_mended_since_is_whole(world, tmp_path):
    """The evidence holds the settings that it was registered by; the training's manifest, those that it was made by."""
    wrong = dataclasses.replace(world.config, registry=dataclasses.replace(world.config.registry, policy="nowhere.yaml"))
    claim(wrong, tmp_path / "run")
    with Step("ingest", wrong, tmp_path / "run") as step:
        storage.write_json(step.folder / "data.json", DATA)
    made = whole_run(world.config, tmp_path / "run", world.place / "base", 0.125)
    digests = [storage.read_json(tmp_path / "run" / name / "manifest.json")["config_digest"] for name in ("ingest", "register")]
    assert digests == [wrong.digest, world.config.digest]
    with audited(world.desk, made["version"]) as found:
        assert found.breaks == []
        assert found.found["config"]["registry"]["policy"] == str(world.policy)


def test_a_rejected_candidate_is_in_the_log_once_and_nowhere_else(world, capsys):
    run = world.place / "runs" / "rejected"
    head = whole_run(world.config, run, world.place / "base", 0.7, low=-0.2)["audit_head"]
    found, wrong = log.read(Folder(world.log), "tiny", world.desk.policy)
    assert wrong == []
    assert (found[-1].action, found[-1].version, found[-1].head) == ("rejected", "", head)
    assert found[-1].body["root"] == storage.manifest(run / "train" / "model")["root"]
    assert found[-1].body["reasons"][-1] == "It is rejected, and nothing is registered."
    assert found[-1].body["sampled"]["candidate"] == [0.5, 0.45, 0.55]
    shutil.rmtree(run / "record")
    assert record.run(world.config, run)["audit_head"] == head == world.desk.anchor()
    assert world.desk.aliases() == {"champion": "1", "challenger": "2"}
    assert len(world.desk.client.search_model_versions("name = 'tiny'")) == 2
    assert breaks(world) == breaks(world, "challenger") == []
    with audited(world.desk, "champion") as made:
        assert f"the candidate of run {found[-1].body['run_id'][:8]} was rejected, and is not registered" in story(made)


def test_what_an_audit_could_not_read_again_is_not_registered(world):
    run = world.place / "runs" / "lost"
    assert decided(world.config, run, world.place / "base", 0.8) == "promote"
    (run / "evaluation.json").unlink()
    with pytest.raises(GateRefused, match="lost/evaluation.json', which an audit reads again, is not there") as refused:
        register.run(world.config, run)
    assert refused.value.remedy.endswith(f"raro run --output {run} --from decide")
    assert len(world.desk.client.search_model_versions("name = 'tiny'")) == 2


def test_a_model_with_a_pickle_or_a_link_is_not_registered(world, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(world.place / "base", base)
    (base / "extra.pt").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(GateRefused, match="extra.pt.*is a pickle"):
        whole_run(world.config, world.place / "runs" / "pickle", base, 0.9)
    assert len(world.desk.client.search_model_versions("name = 'tiny'")) == 2
    assert os.path.exists(base / "extra.pt")


def test_without_policy_and_keys_it_is_unsigned_and_says_so(world):
    settings = json.loads(world.config.canonical())
    config = parse(settings | {"registry": {"model": "plain", "store": ""}})
    whole_run(config, world.place / "runs" / "plain", world.place / "base", 0.6)
    desk = desk_of(config, world.place / "runs" / "plain")
    assert desk.policy == Policy()
    assert key_of(config) is None
    with audited(desk, "champion") as made:
        assert made.breaks == []
        assert {check.name for check in made.checks if check.state == "absent"} == {"signature"}
    desk.client.delete_logged_model(desk.version("1").source.removeprefix("models:/"))
    with audited(desk, "champion") as made:
        assert "manifest: the files of 'plain' version 1 are gone: their logged model was deleted from MLflow" in made.breaks


def test_a_public_key_has_one_spelling(tmp_path):
    path = new_key(tmp_path / "key.pem")
    text = path.with_suffix(".pub").read_text()
    assert PublicKey(text.replace("\n", "\r\n"), "it").id == PublicKey(text, "it").id == signing_key(f"file:{path}").id
