"""The policy file: whose keys count, for what, and what is demanded. It lies with whoever verifies, not with what is verified.

    signatures: required          # or optional: what is signed must be right, what is not is said
    approvals: 2                  # people who must approve before a version is champion; 0: the pipeline's decision is enough
    keys:
      - {name: pipeline, roles: [model, log], public_key_file: pipeline.pub}
      - {name: Ada Byron, roles: [approve], public_key: "-----BEGIN PUBLIC KEY-----..."}

roles: `model` signs models, `log` the audit log, `approve` approvals and what follows from them. A key file's path is relative
to the policy. Several keys of one name: a key that follows another; what the old one signed stays signed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..config import Config
from ..errors import BadInput
from ..settings.reading import read_yaml
from .keys import PublicKey

VARIABLE = "RARO_POLICY"
ROLES = ("model", "log", "approve")
KNOWN = {"signatures", "approvals", "keys"}


@dataclass(frozen=True, slots=True)
class Trusted:
    """A key that the policy names."""

    name: str
    roles: tuple[str, ...]
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Policy:
    """signatures: whether what is not signed is refused. approvals: how many before a champion. keys: by key id. source: the
    file, empty where there is none."""

    signatures: Literal["required", "optional"] = "optional"
    approvals: int = 0
    keys: tuple[Trusted, ...] = ()
    source: str = ""

    @property
    def required(self) -> bool:
        return self.signatures == "required"

    @property
    def people(self) -> set[str]:
        """Who may approve, by name."""
        return {one.name for one in self.keys if "approve" in one.roles}

    @property
    def out_of_reach(self) -> bool:
        """Whether it wants more approvals than can be given. Where it neither names who may approve nor requires signatures,
        anybody may."""
        return bool(self.people or self.required) and self.approvals > len(self.people)

    def of(self, key_id: str) -> Trusted | None:
        """The key of this id, where the policy names it."""
        return next((one for one in self.keys if one.key.id == key_id), None)

    def holder(self, key_id: str, role: str) -> str | None:
        """The name behind a key, where the policy lets it act in this role."""
        found = self.of(key_id)
        return found.name if found and role in found.roles else None


def policy_of(config: Config | None, given: str | None = None) -> Policy:
    """The policy that `given` names, else registry.policy, else $RARO_POLICY; an empty one where none does. registry.approvals
    can demand more approvals than the file, never fewer. Raises BadInput."""
    named = given or (config.registry.policy if config else "") or os.environ.get(VARIABLE, "")
    found = read(Path(named)) if named else Policy()
    least = config.registry.approvals if config else 0
    return found if found.approvals >= least else Policy(found.signatures, least, found.keys, found.source)


def read(path: Path) -> Policy:
    """Raises BadInput naming the file and what is wrong in it."""
    data = read_yaml(path.expanduser(), f"policy '{path}'", "check registry.policy or --policy; docs/audit.md shows one")
    if not isinstance(data, dict) or (unknown := set(data) - KNOWN):
        what = f"unknown key '{sorted(map(str, unknown))[0]}'" if isinstance(data, dict) else "no mapping"
        raise BadInput(f"policy '{path}': {what}", f"it may hold {', '.join(sorted(KNOWN))}")
    signatures, approvals = data.get("signatures", "optional"), data.get("approvals", 0)
    if signatures not in ("required", "optional"):
        raise BadInput(f"policy '{path}': signatures is '{signatures}'", "write required or optional")
    if not isinstance(approvals, int) or isinstance(approvals, bool) or not 0 <= approvals <= 9:
        raise BadInput(f"policy '{path}': approvals is '{approvals}'", "write a whole number, 0 to 9")
    entries = data.get("keys") or []
    if not isinstance(entries, list):
        raise BadInput(f"policy '{path}': keys is not a list", "docs/audit.md shows one")
    keys = [_trusted(path, entry) for entry in entries]
    owners: dict[str, str] = {}
    for one in keys:
        if owners.setdefault(one.key.id, one.name) != one.name:
            raise BadInput(
                f"policy '{path}': '{owners[one.key.id]}' and '{one.name}' share one key", "give each a key of their own"
            )
    policy = Policy(signatures, approvals, tuple(keys), str(path))
    if policy.out_of_reach:
        line = f"policy '{path}' wants {approvals} approvals and names {len(policy.people)} who may approve"
        raise BadInput(line, "name more keys")
    if signatures == "required" and not keys:
        raise BadInput(f"policy '{path}' requires signatures and names no key", "name the pipeline's, with its roles")
    return policy


def _trusted(path: Path, entry: Any) -> Trusted:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise BadInput(f"policy '{path}': a key has no name", "write {name, roles, public_key or public_key_file}")
    name, roles = " ".join(entry["name"].split()), entry.get("roles")  # as the log has it
    if unknown := set(entry) - {"name", "roles", "public_key", "public_key_file"}:
        raise BadInput(f"policy '{path}': key '{name}' has an unknown '{sorted(map(str, unknown))[0]}'", "remove it")
    if not isinstance(roles, list) or not roles or any(role not in ROLES for role in roles):
        raise BadInput(f"policy '{path}': roles of '{name}' are {roles}", f"write a list of {', '.join(ROLES)}")
    if ("public_key" in entry) == ("public_key_file" in entry):
        raise BadInput(f"policy '{path}': key '{name}' needs public_key or public_key_file", "give one of them")
    pem = entry.get("public_key")
    if pem is None:
        file = path.expanduser().parent / str(entry["public_key_file"])
        try:
            pem = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"policy '{path}': '{file}' of '{name}' cannot be read", "check public_key_file") from None
    return Trusted(name, tuple(roles), PublicKey(str(pem), f"the key of '{name}' in policy '{path}'"))
