"""The gate as a table and by its properties; registration and the champion's search on real stores with a real tiny model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from audited import well
from hypothesis import given
from hypothesis import strategies as st
from servers import free_port, give_store, mlflow_server, s3_server

from raro import storage
from raro.config import Config, Gate, parse
from raro.errors import BadInput, GateRefused, ServiceFailed
from raro.registry import bases, gates, log, models, provenance
from raro.registry import desk as desk_module
from raro.registry.audit import audited
from raro.registry.desk import desk_of
from raro.steps import decide, incumbent, preflight, record, register
from raro.steps.claim import claim
from raro.steps.harness import Step
from raro.tracking import server

# ---------------------------------------------------------------------------------------------------------------------- gate


def evaluation(**against: tuple[float, float, float]) -> dict:
    """An evaluation in which the candidate scores 0.5, with (difference, low, high) against each rival."""
    sampled = {"candidate": [0.5, 0.45, 0.55]} | {arm: [0.5 - d, 0.0, 1.0] for arm, (d, _, _) in against.items()}
    paired = {f"candidate-{arm}": {"greedy": list(triple), "sampled": list(triple)} for arm, triple in against.items()}
    found = {"benchmark": "countdown", "n": 2000, "greedy": sampled, "sampled": sampled, "paired": paired}
    return found | well(*against)


CLEAR, MAYBE, WORSE = (0.10, 0.05, 0.15), (0.02, -0.01, 0.05), (-0.03, -0.06, 0.01)


@pytest.mark.parametrize(
    ("against", "gate", "decision"),
    [
        ({"base": CLEAR, "warmstart": CLEAR}, {}, "promote"),
        ({"base": CLEAR, "warmstart": CLEAR, "champion": CLEAR}, {}, "promote"),
        ({"base": CLEAR, "warmstart": CLEAR, "champion": MAYBE}, {}, "hold"),
        ({"base": CLEAR, "warmstart": CLEAR, "champion": WORSE}, {}, "reject"),
        ({"base": WORSE, "warmstart": CLEAR, "champion": CLEAR}, {}, "reject"),
        ({"base": CLEAR, "warmstart": MAYBE}, {}, "hold"),
        ({"base": CLEAR, "warmstart": MAYBE}, {"hold_gain": 0.02}, "reject"),
        ({"base": CLEAR, "warmstart": CLEAR}, {"min_gain": 0.05}, "hold"),
        ({"base": CLEAR, "warmstart": CLEAR}, {"min_gain": 0.049}, "promote"),
        ({"base": CLEAR, "warmstart": CLEAR}, {"require_approval": True}, "hold"),
        ({"base": CLEAR, "warmstart": WORSE}, {"require_approval": True}, "reject"),
        ({"base": CLEAR, "warmstart": CLEAR, "sft": WORSE}, {}, "promote"),
        ({"base": CLEAR, "warmstart": (float("nan"),) * 3}, {}, "reject"),
        ({"base": CLEAR, "warmstart": (0.0, 0.0, 0.0)}, {}, "reject"),
    ],
)
def test_the_gate_as_a_table(against, gate, decision):
    decided, reasons, evidence = gates.decide(evaluation(**against), Gate(**gate))
    assert decided == decision
    assert set(evidence["sampled"]) == set(against) - {"sft"}
    assert all(reason.endswith(".") and "\n" not in reason for reason in reasons)


def test_reasons_carry_the_figures_in_percent_what_failed_first():
    _, reasons, _ = gates.decide(evaluation(base=CLEAR, warmstart=MAYBE, champion=WORSE), Gate())
    assert reasons == [
        "The candidate's sampled score of 50.0 % is 2.0 points above the warm start's 48.0 % (95 % interval -1.0 to +5.0), "
        "and the low end does not pass the 0.0 required.",
        "The candidate's sampled score of 50.0 % is 3.0 points below the champion's 53.0 % (95 % interval -6.0 to +1.0), "
        "and the low end does not pass the 0.0 required.",
        "The candidate's sampled score of 50.0 % is 10.0 points above the base's 40.0 % (95 % interval +5.0 to +15.0), "
        "and the low end passes the 0.0 required.",
        "It is rejected, and nothing is registered.",
    ]
    assert "There is no champion to compare with yet." in gates.decide(evaluation(base=CLEAR, warmstart=CLEAR), Gate())[1]


@pytest.mark.parametrize("missing", ["base", "warmstart", "champion"])
def test_a_rival_that_was_not_compared_is_an_error(missing):
    found = evaluation(base=CLEAR, warmstart=CLEAR, champion=CLEAR)
    del found["paired"][f"candidate-{missing}"]
    with pytest.raises(BadInput, match="does not compare"):
        gates.decide(found, Gate())


SHARES = st.floats(min_value=-1, max_value=1)


@given(
    st.lists(st.tuples(SHARES, SHARES, SHARES).map(lambda t: tuple(sorted(t))), min_size=3, max_size=3),
    SHARES,
    SHARES,
    st.booleans(),
)
def test_what_each_decision_implies(triples, min_gain, hold_gain, approval):
    against = {arm: (d, low, high) for arm, (low, d, high) in zip(gates.RIVALS, triples, strict=True)}
    gate = Gate(min_gain=min_gain, hold_gain=hold_gain, require_approval=approval)
    decision, _, _ = gates.decide(evaluation(**against), gate)
    passes = all(low > min_gain for _, low, _ in against.values())
    if decision == "promote":
        assert passes
        assert not approval
    elif decision == "hold":
        assert passes or all(d > hold_gain for d, _, _ in against.values())
    else:
        assert not passes
    if passes:
        assert decision == ("hold" if approval else "promote")


# ----------------------------------------------------------------------------------------------------------------- registering


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A real transformers model of a few kilobytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    shape = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def configured(tiny: Path, **changes) -> Config:
    return parse({"base": {"uri": str(tiny)}, "registry": {"model": "tiny"}} | changes)


DATA = {"digest": "cd" * 32, "rows": 100, "kept": 99, "splits": {"train": 80, "test": 19}}


def upstream(config: Config, run: Path, tiny: Path, scale: float = 1.0, **against) -> None:
    """What the steps before the decision leave, written through the harness itself. scale: makes this run's weights its own.
    against: as `evaluation` takes it; the champion that stands is beaten clearly."""
    from safetensors.torch import load_file, save_file

    with Step("ingest", config, run) as step:
        storage.write_json(step.folder / "data.json", DATA)
        step.outputs["verdict"] = "proceed"
    with Step("train", config, run) as step:
        step.input("ingest")
        shutil.copytree(tiny, step.folder / "model")
        weights = {name: scale * tensor for name, tensor in load_file(tiny / "model.safetensors").items()}
        save_file(weights, step.folder / "model" / "model.safetensors", metadata={"format": "pt"})
    met = incumbent.given(incumbent.found(config, run), config, run)
    with Step("evaluate", config, run, given=lambda: met) as step:
        step.input("train")
        beaten = {"champion": CLEAR} if met["champion"] else {}
        storage.write_json(step.folder / "evaluation.json", evaluation(**against, **beaten))


def whole_run(config: Config, run: Path, tiny: Path, scale: float = 1.0, **against) -> dict:
    """From the upstream steps to the registration, or to the record of a rejection."""
    claim(config, run)
    if not config.tracking.uri:
        give_store(run)
    upstream(config, run, tiny, scale, **(against or {"base": CLEAR, "warmstart": CLEAR}))
    decided = decide.run(config, run)["decision"]
    return (record if decided == "reject" else register).run(config, run) | {"decision": decided}


def test_a_promoted_candidate_is_registered_whole_and_loads_again(tiny, tmp_path, monkeypatch):
    import torch
    from mlflow.artifacts import download_artifacts
    from transformers import AutoModelForCausalLM

    config, run = configured(tiny), tmp_path / "run"
    outputs = whole_run(config, run, tiny, scale=0.5)
    assert (outputs["decision"], outputs["alias"], outputs["version"]) == ("promote", "champion", "1")
    told = storage.read_json(run / models.REGISTRATION)
    uri = server.sqlite(run)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    folder = Path(download_artifacts("models:/tiny@champion", dst_path=str(tmp_path / "down")))
    listing = storage.read_json(folder / storage.MANIFEST)
    storage.verify(folder, listing)
    assert listing["root"] == told["root"] == outputs["root"]
    assert {"config.json", "model.safetensors", "README.md"} <= {file["path"] for file in listing["files"]}
    ours, theirs = (AutoModelForCausalLM.from_pretrained(path) for path in (run / "train" / "model", folder))
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)
    card = (folder / "README.md").read_text()
    assert "50.0 (45.0 to 55.0)" in card
    assert DATA["digest"] in card
    client = server.connect(uri)
    version = client.get_model_version_by_alias("tiny", "champion")
    assert version.run_id == told["run_id"]
    from mlflow.models import ModelSignature

    called = ModelSignature.from_dict(json.loads(version.tags["raro.signature"]))
    assert (called.inputs.input_names(), called.outputs.input_names()) == (["messages"], ["text"])
    assert version.tags["raro.licence.base"] == config.base.licence
    assert version.tags["raro.config_digest"] == config.digest
    assert version.tags["raro.data_digest"] == DATA["digest"]
    assert version.tags["raro.base_digest"] == storage.manifest(tiny)["root"]
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert {metric.key: metric.value for metric in logged.metrics}["sampled/candidate"] == 0.5
    assert client.get_run(told["run_id"]).outputs.model_outputs[0].model_id == logged.model_id
    assert storage.read_json(run / "evaluation.json")["decision"] == "promote"
    assert not [name for name in os.listdir(run) if name.startswith((".register", ".verify"))]


def test_registering_again_gives_the_same_version(tiny, tmp_path):
    config, run = configured(tiny), tmp_path / "run"
    first = whole_run(config, run, tiny)
    told = storage.read_json(run / models.REGISTRATION)
    shutil.rmtree(run / "register")  # as if the pod had gone after the registry had answered
    (run / ".verify-1").mkdir()  # or while it read the files back
    assert register.run(config, run) == {key: first[key] for key in ("model", "version", "alias", "root")}
    assert not (run / ".verify-1").exists()
    assert storage.read_json(run / models.REGISTRATION) == told
    client = server.connect(server.sqlite(run))
    assert len(client.search_model_versions("name = 'tiny'")) == 1
    # And cut off earlier: the files were uploaded, the version was not made.
    client.delete_model_version("tiny", "1")
    shutil.rmtree(run / "register")
    assert register.run(config, run)["version"] == "2" and models.champion(config, run).version == "2"
    experiment = client.get_experiment_by_name("raro").experiment_id
    assert len(client.search_logged_models([experiment])) == 1


def test_a_held_candidate_waits_as_challenger(tiny, tmp_path):
    config, run = configured(tiny, gate={"require_approval": True}), tmp_path / "run"
    assert whole_run(config, run, tiny)["alias"] == "challenger"
    assert models.champion(config, run) is None
    assert desk_of(config, run).aliases() == {"challenger": "1"}


def test_a_rejected_candidate_leaves_its_reasons_only(tiny, tmp_path):
    config, run = configured(tiny), tmp_path / "run"
    assert whole_run(config, run, tiny, base=CLEAR, warmstart=WORSE)["outcome"] == "reject"
    record = storage.read_json(run / "record" / "record.json")
    assert record["reasons"][-1] == "It is rejected, and nothing is registered."
    assert models.champion(config, run) is None
    desk = desk_of(config, run)
    assert [r.action for r in log.whole(desk.place(), "tiny")] == ["rejected"], "the first candidate of all"
    assert desk.client.search_model_versions("name = 'tiny'") == []
    with pytest.raises(GateRefused, match="not registered"):
        register.run(config, run)
    assert not (run / "register").exists()


def test_nothing_new_is_recorded(tiny, tmp_path):
    config, run = configured(tiny), tmp_path / "run"
    claim(config, run)
    give_store(run)
    with Step("ingest", config, run) as step:
        storage.write_json(step.folder / "data.json", DATA)
        step.outputs["verdict"] = "nothing-new"
    assert record.run(config, run) == {"outcome": "nothing-new"}


def test_a_folder_as_store_holds_the_weights_once(tiny, tmp_path):
    config, run = configured(tiny, registry={"model": "tiny", "store": str(tmp_path / "shelf")}), tmp_path / "run"
    root = whole_run(config, run, tiny)["root"]
    assert storage.manifest(tmp_path / "shelf" / "models" / root)["root"] == root
    assert {path.name for path in (run / "mlartifacts").rglob("*") if path.is_file()} >= {"README.md", "manifest.json"}
    assert not list((run / "mlartifacts").rglob("*.safetensors"))
    assert models.champion(config, run).path == tmp_path / "shelf" / "models" / root


def test_a_store_s_log_is_of_one_mlflow(tiny, tmp_path):
    """Each MLflow counts from 1. By default each run has one: a second run's version 1 is not the first one's."""
    config, shelf = configured(tiny, registry={"model": "tiny", "store": str(tmp_path / "shelf")}), tmp_path / "shelf"
    first, second = tmp_path / "first", tmp_path / "second"
    desk_module.check_log(config, first)
    whole_run(config, first, tiny)
    before = storage.manifest(shelf)
    line = r"audit/tiny' is the audit log of another MLflow: 'sqlite:.*second/mlflow.db' knows no log of this model"
    for run in (tmp_path / "fresh" / "second", second):  # before anything costly, and however late another was first
        with pytest.raises(BadInput, match=line):
            desk_module.check_log(config, run) if run != second else whole_run(config, run, tiny, scale=0.5)
        assert storage.manifest(shelf) == before, "nothing was uploaded, and nothing entered"
    with pytest.raises(BadInput, match=line):
        desk_module.check_log(config, second)
    server.connect(server.sqlite(second)).create_registered_model("tiny")  # by hand: it has the name, and no log
    with pytest.raises(BadInput, match=line):
        desk_module.check_log(config, second)
    with audited(desk_of(config, first), "champion") as made:
        assert made.whole
    shared = dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, uri=server.sqlite(first)))
    desk_module.check_log(shared, tmp_path / "third")
    assert whole_run(shared, tmp_path / "third", tiny, scale=0.5)["version"] == "2"
    with audited(desk_of(shared, tmp_path / "third"), "champion") as made:
        assert (made.whole, made.number) == (True, "2")


@pytest.mark.parametrize("on_outage", ["continue", "stop"])
def test_an_outage_before_the_training_leaves_the_question_to_registration(tiny, tmp_path, monkeypatch, on_outage):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry, tracking = (
        {"model": "tiny", "store": str(tmp_path / "shelf")},
        {"uri": "http://127.0.0.1:9", "on_outage": on_outage},
    )
    stops = pytest.raises(ServiceFailed) if on_outage == "stop" else contextlib.nullcontext()
    with stops:
        desk_module.check_log(configured(tiny, registry=registry, tracking=tracking), tmp_path / "run")


def test_a_log_that_two_mlflows_came_to_share_takes_no_second_version_of_a_number(tiny, tmp_path):
    config = configured(tiny, registry={"model": "tiny", "store": str(tmp_path / "shelf")})
    whole_run(config, tmp_path / "first", tiny)
    own = desk_of(config, tmp_path / "first").registered().tags
    claim(config, tmp_path / "second")
    give_store(tmp_path / "second")
    server.connect(server.sqlite(tmp_path / "second")).create_registered_model("tiny", own)
    with pytest.raises(BadInput, match="the audit log of 'tiny' has another version 1 already"):
        whole_run(config, tmp_path / "second", tiny, scale=0.5)
    with audited(desk_of(config, tmp_path / "first"), "champion") as made:
        assert made.whole


# -------------------------------------------------------------------------------------------------------------------- finding


def test_a_later_run_meets_the_champion_of_an_earlier_one(tiny, tmp_path):
    config = configured(tiny)
    later = tmp_path / "later"
    assert models.champion(config, later) is None
    first = whole_run(config, tmp_path / "first", tiny, scale=0.5)
    found = models.champion(config, later)
    assert (found.root, found.version, found.data_digest) == (first["root"], "1", DATA["digest"])
    storage.verify(found.path, storage.read_json(found.path / storage.MANIFEST))
    base = bases.base_digest(config, later)
    assert models.unchanged(found, config, DATA["digest"], base)
    assert not models.unchanged(found, config, "ef" * 32, base)
    assert not models.unchanged(found, dataclasses.replace(config, seed=1), DATA["digest"], base)
    assert not models.unchanged(found, config, DATA["digest"], "ef" * 32)
    assert not models.unchanged(None, config, DATA["digest"], base)
    second = whole_run(config, tmp_path / "a-second", tiny, scale=0.25)
    assert models.champion(config, later).root == second["root"] != first["root"], "the newest wins, whatever its name"
    assert models.champion(configured(tiny, registry={"model": "other"}), later) is None
    other = tmp_path / "base"
    shutil.copytree(tiny, other)
    (other / "generation_config.json").write_text("{}")
    elsewhere = dataclasses.replace(config, base=dataclasses.replace(config.base, uri=str(other)))
    assert bases.base_digest(elsewhere, later) != base


def based(at: str, licence: str = "MIT", **more) -> Config:
    return parse({"base": {"uri": f"models:/{at}", "licence": licence}, "registry": {"model": "tiny"}} | more)


def test_a_registered_version_is_a_base_whose_alias_is_settled_once(tiny, tmp_path):
    first = whole_run(configured(tiny, base={"uri": str(tiny), "licence": "MIT"}), tmp_path / "first", tiny, scale=0.5)
    config, run = based("tiny@champion"), tmp_path / "run"
    assert bases.base_folder(config, run, keep=False) and not (run / bases.SETTLED).exists()
    folder = bases.base_folder(config, run)
    assert bases.base_digest(config, run) == first["root"] == storage.manifest(folder)["root"]
    kept = {"uri": "models:/tiny/1", "root": first["root"], "licence": "MIT"}
    assert storage.read_json(run / bases.SETTLED) == kept
    second = whole_run(configured(tiny, base={"uri": str(tiny), "licence": "MIT"}), tmp_path / "second", tiny, scale=0.25)
    assert bases.base_digest(config, tmp_path / "later") == second["root"], "the alias has moved"
    with pytest.raises(BadInput, match="version 1 of 'tiny' is another one in each of"):
        bases.base_digest(based("tiny/1"), tmp_path / "later")
    shutil.rmtree(tmp_path / "second")
    assert bases.base_folder(based("tiny/1"), tmp_path / "later") == folder


def test_what_a_registered_base_is_made_into_names_its_version(tiny, tmp_path):
    first = whole_run(configured(tiny, base={"uri": str(tiny), "licence": "MIT"}), tmp_path / "first", tiny, scale=0.5)
    config, run = based("tiny@champion", registry={"model": "child"}), tmp_path / "run"
    bases.base_folder(config, run)
    (run / bases.SETTLED).rename(tmp_path / bases.SETTLED)  # a run's folder is claimed before anything lies in it
    run.rmdir()
    claim(config, run)
    (tmp_path / bases.SETTLED).rename(run / bases.SETTLED)
    whole_run(config, run, tiny, scale=0.25)
    folder = models.champion(config, run).path
    stated = storage.read_json(folder / "provenance.json")["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert stated == {
        "name": "base",
        "uri": "models:/tiny/1",
        "digest": {"sha256": first["root"]},
        "annotations": {"licence": "MIT"},
    }


def test_the_provenance_names_what_trained_and_not_what_registers(tiny, tmp_path, monkeypatch):
    """On a cluster preflight and registration run in the cpu image, on nodes without a GPU."""
    light, heavy = (f"registry.example.org/raro-{kind}@sha256:" + digit * 64 for kind, digit in (("cpu", "1"), ("cuda", "2")))
    monkeypatch.setenv("RARO_IMAGE", light)
    checked = {"image": light, "python": "3.12.3", "packages": {"torch": "2.9.0+cpu"}, "device": "cpu", "git": "ab12-dirty"}
    storage.write_json(tmp_path / "preflight" / "environment.json", checked)
    trained = {"image": heavy, "python": "3.12.4", "packages": {"torch": "2.9.0+cu128"}, "device": "NVIDIA H100"}
    for name in provenance.EVIDENCE:
        storage.write_json(tmp_path / name, {})
    storage.write_json(tmp_path / "train" / "train.json", {"machine": trained})
    stated = provenance.statement(configured(tiny), tmp_path, tiny, {"digest": "ab" * 32}, "cd" * 32, "run", "")
    definition = stated["predicate"]["buildDefinition"]
    assert definition["internalParameters"] == {key: trained[key] for key in ("python", "packages", "device")}
    found = {one["name"]: one["digest"] for one in definition["resolvedDependencies"]}
    assert (found["image"], found["source"]) == ({"sha256": "2" * 64}, {"gitCommit": "ab12"})
    storage.write_json(tmp_path / "train" / "train.json", {"machine": trained | {"image": ""}})
    stated = provenance.statement(configured(tiny), tmp_path, tiny, {"digest": "ab" * 32}, "cd" * 32, "run", "")
    assert "image" not in {one["name"] for one in stated["predicate"]["buildDefinition"]["resolvedDependencies"]}


def test_a_registered_base_that_cannot_be_is_one_clear_line(tiny, tmp_path):
    whole_run(configured(tiny, base={"uri": str(tiny), "licence": "MIT"}), tmp_path / "first", tiny)
    run = tmp_path / "run"
    for at, line in (
        ("tiny@nobody", "no registered version of 'tiny' is found at 'nobody'"),
        ("tiny/7", "found at '7'"),
        ("other@champion", "no registered version of 'other'"),
        ("tiny", "names no registered version"),
        ("tiny@", "names no registered version"),
    ):
        with pytest.raises(BadInput, match=line):
            bases.base_folder(based(at), run)
    with pytest.raises(BadInput, match="base.licence is 'unknown', and the licence of base 'models:/tiny@champion' is 'MIT'"):
        bases.base_folder(based("tiny@champion", licence="unknown"), run)
    with pytest.raises(BadInput, match="no tokenizer"):
        preflight.check_base(based("tiny@champion"), run)
    weights = next((tmp_path / "first" / "mlartifacts").rglob("*.safetensors"))
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(GateRefused, match="bytes, its manifest says"):
        bases.base_folder(based("tiny@champion"), run)


def test_a_moved_run_folder_is_still_read(tiny, tmp_path):
    config = configured(tiny)
    whole_run(config, tmp_path / "here" / "run", tiny)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert models.champion(config, tmp_path / "there" / "next").path.is_relative_to(tmp_path / "there")


def test_a_changed_champion_is_refused(tiny, tmp_path):
    config, run = configured(tiny), tmp_path / "run"
    whole_run(config, run, tiny)
    path = models.champion(config, run).path
    weights = path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(GateRefused, match=r"model.safetensors' was changed"):
        models.champion(config, run)
    # A manifest made to fit does not help: the registry remembers the root.
    storage.write_json(path / storage.MANIFEST, storage.manifest(path))
    with pytest.raises(GateRefused, match="not those that were registered"):
        models.champion(config, run)
    (path / storage.MANIFEST).write_text("[]")
    with pytest.raises(BadInput, match="manifest.json' is not the manifest of a model"):
        models.champion(config, run)
    shutil.rmtree(path)
    with pytest.raises(GateRefused, match="are not at"):
        models.champion(config, run)
    desk = desk_of(config, run)
    desk.client.delete_logged_model(desk.version("1").source.removeprefix("models:/"))
    with pytest.raises(GateRefused, match="'tiny' version 1 are gone: their logged model was deleted"):
        models.champion(config, run)  # and no outage, in which a run would go on


def test_what_comes_through_a_server_lies_in_a_cache_of_its_owner_s_alone(tmp_path, monkeypatch):
    """The demonstrations come to lie there, too; and of a download that was killed half-way nothing stays."""
    import mlflow.artifacts

    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "config.json").write_text("{}")
    storage.write_json(tmp_path / "made" / storage.MANIFEST, listing := storage.manifest(tmp_path / "made"))
    cache, downloads = tmp_path / "cache", []

    def download(dst_path: str, **_: str) -> str:
        downloads.append(dst_path)
        return shutil.copytree(tmp_path / "made", Path(dst_path) / "artifacts")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    monkeypatch.setenv("RARO_CACHE", str(cache))
    client = SimpleNamespace(get_logged_model=lambda _: SimpleNamespace(artifact_location="mlflow-artifacts:/1/models/m-1"))
    version = SimpleNamespace(name="tiny", version="1", source="models:/m-1", tags={"raro.root": listing["root"]})
    for _ in range(2):
        found = models.files(client, "http://localhost", version, tmp_path, None)
        assert found == cache / "models" / listing["root"] and len(downloads) == 1
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    (killed := Path(downloads[0])).mkdir()
    (found / "config.json").unlink()
    assert models.files(client, "http://localhost", version, tmp_path, None) == found
    assert (found / "config.json").exists() and not killed.exists()


@pytest.mark.check
def test_a_tracking_server_keeps_the_champion_for_every_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "cache"))
    with mlflow_server(tmp_path, free_port()) as address:
        config = configured(tiny, tracking={"uri": address})
        assert models.champion(config, tmp_path / "x" / "run") is None
        first = whole_run(config, tmp_path / "x" / "run", tiny, scale=0.5)
        assert first["version"] == "1"
        found = models.champion(config, tmp_path / "y" / "run")
        assert found.path == tmp_path / "cache" / "models" / first["root"]
        (found.path / "config.json").write_text(json.dumps({}))
        assert models.champion(config, tmp_path / "y" / "run").root == first["root"], "a damaged cache is fetched again"
        second = whole_run(config, tmp_path / "y" / "run", tiny, scale=0.25)
        assert second["version"] == "2"
        assert models.champion(config, tmp_path / "x" / "run").root == second["root"]
        assert not (tmp_path / "x" / "run" / "mlflow.db").exists()


@pytest.mark.check
def test_weights_on_s3_are_the_versions_own_source(tiny, tmp_path, monkeypatch):
    (tmp_path / "weed").mkdir()
    monkeypatch.setenv("RARO_CACHE", str(tmp_path / "cache"))
    with s3_server(tmp_path / "weed") as client, mlflow_server(tmp_path, free_port()) as address:
        config = configured(tiny, tracking={"uri": address}, registry={"model": "tiny", "store": "s3://models/shelf"})
        root = whole_run(config, tmp_path / "run", tiny)["root"]
        found = models.champion(config, tmp_path / "next")
        assert found.uri == f"s3://models/shelf/models/{root}"
        assert found.path.is_relative_to(tmp_path / "cache" / "s3")
        client.put_object(Bucket="models", Key=f"shelf/models/{root}/config.json", Body=b"{}")
        with pytest.raises(GateRefused, match="config.json"):
            models.champion(config, tmp_path / "next")
