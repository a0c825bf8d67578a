"""A small registry to tamper with: real files, a real MLflow store, real keys, two versions, one of them champion."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import give_store

from raro import storage
from raro.config import Config, parse
from raro.registry.desk import Desk, desk_of, key_of
from raro.registry.promotion import promote
from raro.steps.claim import claim
from raro.steps.harness import Step

NAMES = ("pipeline", "Ada", "Grace", "Mallory")
DATA = {"digest": "cd" * 32, "rows": 100, "kept": 99, "splits": {"train": 80, "test": 19}, "sources": [{"uri": "a.jsonl"}]}


def new_key(path: Path) -> Path:
    """A P-256 key in `path`, its public half in `path`.pub."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def new_policy(place: Path, approvals: int = 2, signatures: str = "required") -> Path:
    """Keys of everyone in NAMES, and a policy that names all but Mallory."""
    place.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        new_key(place / f"{name}.pem")
    roles = {"pipeline": "[model, log]", "Ada": "[approve]", "Grace": "[approve]"}
    keys = "".join(f"  - {{name: {n}, roles: {r}, public_key_file: {n}.pub}}\n" for n, r in roles.items())
    path = place / "policy.yaml"
    path.write_text(f"signatures: {signatures}\napprovals: {approvals}\nkeys:\n{keys}")
    return path


def tiny_model(folder: Path) -> Path:
    """A real transformers model of a few kilobytes, in two shards, with a tokenizer's file."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
    )
    LlamaForCausalLM(shape).save_pretrained(folder, max_shard_size="12KB")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    return folder


def well(*rivals: str) -> dict:
    """What an evaluation holds beside its comparisons, nothing of it a reason against the candidate."""
    return {
        "tests": {"sampled": {rival: {"p": 0.001, "p_holm": 0.001} for rival in rivals}},
        "well_formed": dict.fromkeys(("candidate", *rivals), 1.0),
        "strata": {},
        "general": {"n": 50, "talks": True, "paired": {"candidate-base": (0.0, 0.0, 0.0)}, "refusals": {"kept": 6, "of": 6}},
    }


def scored(low: float = 0.05, champion: bool = False) -> dict:
    """An evaluation with the candidate .1 above its rivals; low: the low end of that. Far below 0 the candidate is worse."""
    rivals = ("base", "warmstart", *(["champion"] if champion else []))
    against = [min(0.1, low + 0.05), low, 0.15]
    sampled = {"candidate": [0.5, 0.45, 0.55]} | dict.fromkeys(rivals, [0.4, 0.3, 0.5])
    paired = {f"candidate-{arm}": {"greedy": against, "sampled": against} for arm in rivals}
    found = {"benchmark": "countdown", "n": 2000, "greedy": sampled, "sampled": sampled, "paired": paired}
    return found | well(*rivals)


def decided(config: Config, run: Path, base: Path, scale: float, low: float = 0.05, rival: str | None = None) -> str:
    """Made-up upstream steps, written through the harness itself, up to the gate's decision, which is returned. rival: root of
    the champion that the evaluation says it was compared with; None: of the one that stands."""
    from safetensors.torch import load_file, save_file

    from raro.steps import decide, incumbent

    claim(config, run)
    with Step("ingest", config, run) as step:
        storage.write_json(step.folder / "data.json", DATA)
    with Step("train", config, run) as step:
        step.input("ingest")
        shutil.copytree(base, step.folder / "model")
        for shard in (step.folder / "model").glob("*.safetensors"):
            save_file({name: scale * value for name, value in load_file(shard).items()}, shard, metadata={"format": "pt"})
    standing = incumbent.given(incumbent.found(config, run), config, run)
    given = standing if rival is None else standing | {"champion": rival}
    with Step("evaluate", config, run, given=lambda: given) as step:
        step.input("train")
        storage.write_json(step.folder / "evaluation.json", scored(low, bool(given["champion"])))
    return decide.run(config, run)["decision"]


def whole_run(config: Config, run: Path, base: Path, scale: float, low: float = 0.05, rival: str | None = None) -> dict:
    """The same to the registration, or to the record of a rejection."""
    from raro.steps import record, register

    rejected = decided(config, run, base, scale, low, rival) == "reject"
    return (record if rejected else register).run(config, run)


@dataclass
class World:
    """place: everything. keys: of NAMES. run: the champion's run. shelf: where files and log lie."""

    place: Path
    config: Config
    run: Path
    keys: Path
    policy: Path

    @property
    def desk(self) -> Desk:
        return desk_of(self.config, self.run)

    @property
    def shelf(self) -> Path:
        return self.place / "shelf"

    @property
    def log(self) -> Path:
        return self.shelf / "audit" / "tiny"

    @property
    def model(self) -> Path:
        """The champion's files."""
        return Path(self.desk.version("1").source)

    @property
    def other(self) -> Path:
        """The challenger's files."""
        return Path(self.desk.version("2").source)

    def key(self, name: str):
        return key_of(None, f"file:{self.keys / name}.pem")

    def save(self, kept: Path) -> None:
        """Copies files and store to `kept`."""
        for part in ("shelf", "mlartifacts"):
            shutil.copytree(self.place / part, kept / part)
        with sqlite3.connect(self.place / "mlflow.db") as store, sqlite3.connect(kept / "mlflow.db") as copy:
            store.backup(copy)

    def restore(self, kept: Path) -> None:
        """Puts back what `save` kept; the store through its open file, as MLflow's engine has it open."""
        for part in ("shelf", "mlartifacts"):
            shutil.rmtree(self.place / part)
            shutil.copytree(kept / part, self.place / part)
        with sqlite3.connect(kept / "mlflow.db") as copy, sqlite3.connect(self.place / "mlflow.db") as store:
            copy.backup(store)


def new_world(place: Path) -> World:
    """Version 1 is champion by two approvals, version 2 waits as challenger."""
    policy = new_policy(place / "keys")
    give_store(place)
    base = tiny_model(place / "base")
    config = parse(
        {
            "base": {"uri": str(base), "licence": "Apache-2.0"},
            "demonstrations": {"licence": "CC0-1.0"},
            "tracking": {"uri": f"sqlite:///{place / 'mlflow.db'}"},
            "registry": {
                "model": "tiny",
                "store": str(place / "shelf"),
                "policy": str(policy),
                "signing_key": f"file:{place / 'keys' / 'pipeline.pem'}",
            },
        }
    )
    world = World(place, config, place / "runs" / "one", place / "keys", policy)
    whole_run(config, world.run, base, 0.5)
    promote(world.desk, "challenger", "Ada", "the figures hold", world.key("Ada"))
    promote(world.desk, "1", "Grace", "agreed", world.key("Grace"))
    whole_run(config, place / "runs" / "two", base, 0.25)
    return world


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> tuple[World, Path]:
    """A world, and where it is kept as it was made."""
    place = tmp_path_factory.mktemp("world")
    world = new_world(place)
    world.save(place / "kept")
    return world, place / "kept"


@pytest.fixture
def world(golden) -> World:
    """The world as it was made, whatever the test before did to it."""
    made, kept = golden
    made.restore(kept)
    return made
