"""The links of the audit's chain up to the model and what it says of itself: log, registry, manifest, files, signature,
provenance. Each reads one thing again, compares it with what else speaks of it, and names every break. evidence.py goes on.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import GateRefused
from ..storage import MANIFEST, SIGNATURE, canonical, digest_file, digest_text, read_json, verify
from ..tracking import server
from . import folder, log, models
from . import provenance as provenances
from . import signature as signatures
from .desk import LOG, STANDINGS, log_beside_head, standing
from .findings import Audit, Check
from .places import MLFLOW
from .registration import registered_facts
from .upload import SPOKEN

TAGS = {"config": "raro.config_digest", "demonstrations": "raro.data_digest", "base": "raro.base_digest"}


def log_chain(made: Audit, check: Check) -> None:
    desk = made.desk
    place = desk.place()
    if place is None:
        check.breaks.append("there is no audit log: the version was not registered by raro, or the log's tag was removed")
        return
    tag = desk.registered().tags[LOG]
    if desk.knows_the_log and tag != (wanted := desk.expected()) and not (wanted == MLFLOW and tag.startswith(MLFLOW)):
        check.breaks.append(f"the tag {LOG} names another place than the configuration: '{tag}', not '{wanted}'")
    made.records, breaks, head, seq = log_beside_head(desk, place)
    check.breaks += breaks
    last = made.records[-1] if made.records else None
    check.detail = f"{len(made.records)} records, head {last.head[:19] if last else 'none'}"
    if last and not last.signatures:
        check.detail += ", unsigned"
    if kept := place.kept():
        check.detail += f"; {kept}"
    if not head:
        check.breaks.append("MLflow holds no head of the log: its tag was removed")
    elif not last or seq > last.seq:
        check.breaks.append(f"the log was cut off: MLflow knows record {seq}, the log ends with {last.seq if last else 0}")
    elif all(record.head != head for record in made.records):
        check.breaks.append(f"record {seq} is not the one that MLflow's tag names: the log was rewritten, or the tag changed")
    elif seq < last.seq:
        check.breaks.append(
            f"the log goes on after record {seq}, the last that MLflow knows: repeat an interrupted command, or others wrote it"
        )
    if breaks and (none := log.surplus(place, desk.model, desk.policy, head)):
        known = f"up to record {seq}, which MLflow knows, the log is whole, but what is numbered {none[0]} is not part of it"
        check.remedy = f"{known}: {place.away(none[0])}, keep it as evidence, and verify again (--anchor: a head that you kept)"
    if made.anchor and all(record.head != made.anchor for record in made.records):
        kept = f"the head that was kept elsewhere ({made.anchor[:19]})"
        check.breaks.append(f"the log does not hold {kept}: it was put back or rewritten")
    mine = [record for record in made.records if record.version == made.number]
    registered = [record for record in mine if record.action == "registered"]
    if len(registered) != 1:
        check.breaks.append(f"version {made.number} is registered {len(registered)} times in the log, not once")
    if any(record.action == "deleted" for record in mine):
        check.breaks.append(f"the log says that version {made.number} was deleted")
    if registered:
        made.found["facts"] = registered[0].body


def registry(made: Audit, check: Check) -> None:
    version, facts = made.version, made.found.get("facts", {})
    check.detail = f"version {made.number}, {version.source}"
    if "raro.root" not in version.tags:
        check.breaks.append("the version has no root digest: it was not registered by raro, or its tag was removed")
    stands = standing(made.records)
    for alias, number in made.desk.aliases().items():
        if alias in stands and number != stands[alias]:
            check.breaks.append(
                f"alias '{alias}' stands at version {number}, the log says {stands[alias] or 'at none'}: it was moved"
            )
        elif alias not in stands and made.records and alias in STANDINGS:
            check.breaks.append(f"alias '{alias}' stands at version {number}, and the log knows nothing of it: it was moved")
    for alias, number in stands.items():
        if number and alias not in made.desk.aliases():
            check.breaks.append(f"alias '{alias}' is gone, the log says it stands at version {number}")
    if not facts:
        return
    now = registered_facts(version, None)
    for what, kept in (("source", "source"), ("run", "run_id"), ("description", "description")):
        if now[kept] != facts[kept]:
            check.breaks.append(f"the version's {what} was changed since it was registered")
    for tag in sorted({*now["tags"], *facts["tags"]}):
        if now["tags"].get(tag) != facts["tags"].get(tag):
            how = "added" if tag not in facts["tags"] else "removed" if tag not in now["tags"] else "changed"
            check.breaks.append(f"tag {tag} of the version was {how} since it was registered")


def manifest(made: Audit, check: Check) -> None:
    desk, version = made.desk, made.version
    with server.speaking(desk.uri):
        path = models.files(desk.client, desk.uri, version, desk.home, made.scratch, unchecked=True)
    if not (path / MANIFEST).is_file():
        raise GateRefused(f"the files of version {made.number} are not at '{version.source}'")
    listing = read_json(path / MANIFEST)
    made.found |= {"path": path, "listing": listing}
    check.detail = f"{len(listing['files'])} files, root {listing['root'][:12]}"
    if digest_text(canonical(listing["files"])) != listing["root"]:
        check.breaks.append("manifest.json does not match its own root digest: it was changed")
    if listing["root"] != version.tags.get("raro.root"):
        check.breaks.append("manifest.json is not the one that was registered: its root is not the version's tag")
    if (facts := made.found.get("facts")) and listing["root"] != facts["root"]:
        check.breaks.append("manifest.json is not the one that was registered: its root is not the log's")


def _files(made: Audit) -> Path:
    """Where the files lie. Raises GateRefused where the link before has not found them."""
    if "path" not in made.found:
        raise GateRefused("the version's files are not there, or have no manifest that can be read")
    return made.found["path"]


def files(made: Audit, check: Check) -> None:
    path, listing = _files(made), made.found["listing"]
    folder.inspect(path)
    verify(path, listing)
    check.breaks += _shown(made)
    check.detail = f"{sum(file['size'] for file in listing['files']) / 2**20:,.1f} MiB as the manifest says, no pickle, no link"


def _shown(made: Audit) -> list[str]:
    """What MLflow itself shows of a version whose files lie elsewhere: the card and what else was copied to the LoggedModel."""
    model_id, path, desk = made.version.tags.get("raro.model_id"), made.found["path"], made.desk
    if not model_id or made.version.source.startswith("models:/"):
        return []
    with server.speaking(desk.uri):
        copies = models.copies(desk.client, desk.uri, model_id, SPOKEN, desk.home, made.scratch / "shown")
    of = f"of the logged model {model_id}, which MLflow shows,"
    told = [f"{name} {of} is gone" for name in SPOKEN if (path / name).is_file() and name not in copies]
    return told + [
        f"{name} {of} is not the version's: it was changed"
        for name, copy in copies.items()
        if not (path / name).is_file() or digest_file(copy) != digest_file(path / name)
    ]


def signature(made: Audit, check: Check) -> None:
    path, policy = _files(made), made.desk.policy
    key_id = signatures.signer(path)
    kept = made.found.get("facts", {}).get("tags", {}).get("raro.signed_by", "")
    if key_id is None:
        if kept:
            check.breaks.append(f"{SIGNATURE} is gone; the log says that {kept[:12]} had signed")
        elif policy.required:
            check.breaks.append("the model is not signed, and the policy requires it")
        check.absent, check.detail = True, "unsigned: the digests tell that nothing was changed by accident, not who made it"
        return
    if kept and kept != key_id:
        check.breaks.append(f"{SIGNATURE} names the key {key_id[:12]}, the log {kept[:12]}: it was signed again by another")
    trusted = policy.of(key_id)
    if trusted is None:
        if policy.keys:
            check.breaks.append(f"signed by {key_id[:12]}, a key that the policy does not name")
        check.absent, check.detail = True, f"signed by {key_id[:12]}; not checked, no policy names keys (--policy)"
        return
    check.detail = f"by {trusted.name}, OpenSSF model signing"
    if "model" not in trusted.roles:
        check.breaks.append(f"'{trusted.name}' may not sign models")
    signatures.verify(path, made.found["listing"], trusted.key)


def provenance(made: Audit, check: Check) -> None:
    path, version = _files(made), made.version
    if not (path / provenances.FILE).is_file():
        raise GateRefused(f"{provenances.FILE} is not there")
    said = provenances.parts(read_json(path / provenances.FILE))
    made.found["said"] = said
    listed = {file["path"]: file["sha256"] for file in made.found["listing"]["files"]}
    check.detail = f"{len(said['subject'])} subjects, {', '.join(said['dependencies'])}"
    if not said["subject"] or not set(said["subject"].items()) <= set(listed.items()):
        check.breaks.append("the statement is of other files than the manifest's")
    if said["run_id"] != version.run_id:
        check.breaks.append(f"the statement is of run {said['run_id']}, the version's is {version.run_id}")
    said_digests = {name: digest.get("sha256") for name, digest in said["dependencies"].items()} | {
        "config": said["config_digest"]
    }
    for name, tag in TAGS.items():
        if said_digests.get(name) != version.tags.get(tag):
            check.breaks.append(f"the statement's digest of the {name} is not the version's tag {tag}")
