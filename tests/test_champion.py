"""A champion that cannot be compared with, in a real store: a clear line or a person, never a promotion."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from audited import scored, tiny_model, whole_run
from servers import give_store
from test_evidence import SMALL, made

from raro.config import Config, load, parse
from raro.errors import BadInput, GateRefused, ServiceFailed
from raro.registry.models import champion
from raro.rollout.models import open_model, save_model
from raro.steps import decide, evaluate, incumbent, ingest, register
from raro.steps.harness import Step
from raro.storage import fetch, read_json, write_json

CONFIG = load("countdown-mini", [])


def crowned(place: Path, model: Path | None = None) -> tuple[Config, Path]:
    """(a configuration, the registered champion's own files): a run whose candidate was promoted. model: of that candidate."""
    give_store(place)
    more = [f"tracking.uri=sqlite:///{place / 'mlflow.db'}", f"registry.store={place / 'shelf'}", "gate.min_items=10"]
    config, run = made(place / "runs" / "one", *more), place / "runs" / "one"
    if model:
        shutil.rmtree(run / "train")
        with Step("train", config, run) as step:
            step.input("ingest")
            shutil.copytree(model, step.folder / "model")
    with Step("evaluate", config, run, given=lambda: incumbent.given(None, config, run)) as step:
        step.input("train")
        write_json(step.folder / "evaluation.json", scored())
    assert decide.run(config, run)["decision"] == "promote"
    register.run(config, run)
    return config, champion(config, run).path


def challenged(config: Config, place: Path) -> Path:
    """A second run, up to its evaluation."""
    run = place / "runs" / "two"
    made(run, *(f"{key}={value}" for key, value in settings(config).items()))
    return run


def settings(config: Config) -> dict[str, object]:
    return {
        "tracking.uri": config.tracking.uri,
        "registry.store": config.registry.store,
        "gate.min_items": config.gate.min_items,
    }


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Config, Path, Path, Path]:
    """(configuration, second run, champion's files, the same as they were)."""
    place = tmp_path_factory.mktemp("champion")
    config, files = crowned(place)
    run = challenged(config, place)
    shutil.copytree(files, place / "kept")
    return config, run, files, place / "kept"


def weights_lost(files: Path) -> None:
    next(files.glob("*.safetensors")).unlink()


def weights_changed(files: Path) -> None:
    path = next(files.glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def tokenizer_replaced(files: Path) -> None:
    (files / "tokenizer.json").write_text("{}")


def listing_broken(files: Path) -> None:
    (files / "manifest.json").write_text('{"root": ')


def nothing_left(files: Path) -> None:
    shutil.rmtree(files)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (weights_lost, "is missing, but its manifest names it"),
        (weights_changed, "was changed: its sha256 is not the manifest's"),
        (tokenizer_replaced, "bytes, its manifest says"),
        (listing_broken, "is not valid JSON"),
        (nothing_left, "does not exist|are not at"),
    ],
)
def test_files_that_are_not_the_registered_ones_end_the_evaluation(kept, damage, told):
    config, run, files, copy = kept
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree(copy, files)
    damage(files)
    with pytest.raises(GateRefused, match=f"^the champion of 'countdown-mini' cannot be used: .*({told})"):
        evaluate.run(config, run)
    failure = read_json(run / "failure.json")
    assert (failure["stage"], failure["code"], failure["permanent"]) == ("evaluate", 3, True)
    assert "champion" in failure["remedy"] and not (run / "evaluate").exists()


def test_a_run_whose_registration_was_cut_off_does_not_meet_itself(tmp_path, monkeypatch):
    """The alias has moved, and MLflow failed after it: the same folder started again compared the candidate with itself."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    base, set_tag = tiny_model(tmp_path / "base"), MlflowClient.set_tag

    def failing(client: MlflowClient, run_id: str, key: str, *more: object, **others: object) -> None:
        if key == "raro.registered":
            raise MlflowException("away")
        set_tag(client, run_id, key, *more, **others)

    give_store(tmp_path)
    told = {"tracking": {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}"}, "demonstrations": {"licence": "MIT"}}
    config, run = parse(told | {"base": {"uri": str(base), "licence": "MIT"}}), tmp_path / "run"
    monkeypatch.setattr(MlflowClient, "set_tag", failing)
    with pytest.raises(ServiceFailed, match="away"):
        whole_run(config, run, base, 0.5, rival="")
    assert champion(config, run) is not None and not (run / "register").exists()
    assert incumbent.found(config, run) is None
    assert incumbent.given(None, config, run) == read_json(run / "evaluate" / "manifest.json")["given"]
    write_json(run / "train" / "manifest.json", read_json(run / "train" / "manifest.json") | {"root": "another"})
    assert incumbent.found(config, run) is not None, "another candidate of this run meets the first"


def test_an_evaluation_beside_one_mlflow_s_champion_decides_nothing_beside_another_s(kept, tmp_path):
    """By single steps: the pipeline evaluates again by itself."""
    config, run = made(tmp_path, f"tracking.uri=sqlite:///{tmp_path / 'empty.db'}", "gate.min_items=10"), tmp_path
    with Step("evaluate", config, run, given=lambda: incumbent.given(incumbent.found(config, run), config, run)) as step:
        step.input("train")
        write_json(step.folder / "evaluation.json", scored())
    other = load("countdown-mini", [*SMALL, "gate.min_items=10", f"tracking.uri={kept[0].tracking.uri}"])
    with pytest.raises(BadInput, match=r"beside the champion of another tracking\.uri"):
        decide.run(other, run)
    assert decide.run(config, run)["decision"] == "promote"


def test_they_are_missed_before_the_training(kept, tmp_path):
    config, _, files, copy = kept
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree(copy, files)
    listing_broken(files)
    with pytest.raises(GateRefused, match="^the champion of 'countdown-mini' cannot be used: .*is not valid JSON"):
        ingest.run(config, tmp_path)
    assert not (tmp_path / "ingest").exists()


def with_more_words(folder: Path) -> None:
    """A tokenizer with words that the model has no place for."""
    speaker = open_model(folder, CONFIG)
    speaker.tokenizer.add_tokens(["one-more", "and-another"])
    speaker.tokenizer.save_pretrained(folder)


def with_a_tensor_less(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    del weights[next(name for name in sorted(weights) if "mlp" in name)]
    save_file(weights, path, metadata={"format": "pt"})


def with_other_architecture(folder: Path) -> None:
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"model_type": "unheard-of"}))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (with_more_words, "the tokenizer in .* knows .* tokens, the model"),
        (with_a_tensor_less, "the weights in .* lack '.*mlp"),
        (with_other_architecture, "unheard-of"),
    ],
)
def test_a_champion_that_does_not_load_ends_the_evaluation(tmp_path, spoil, told):
    shutil.copytree(fetch("package://countdown-mini"), tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(GateRefused, match=f"^the champion of 'countdown-mini' cannot be used: .*{told}"):
        incumbent.opened(tmp_path / "model", CONFIG)


@pytest.mark.check
def test_a_champion_that_speaks_otherwise_leaves_the_word_to_a_person(tmp_path):
    """It loads and answers, yet nothing that this run can read: to beat it shows nothing."""
    speaker = open_model(fetch("package://countdown-mini"), CONFIG)
    for weights in speaker.model.parameters():
        weights.data.zero_()
    save_model(speaker, tmp_path / "mute")
    config, _ = crowned(tmp_path, tmp_path / "mute")
    run = challenged(config, tmp_path)
    evaluate.run(config, run)
    assert read_json(run / "evaluate" / "evaluation.json")["well_formed"]["champion"] < 0.5
    assert decide.run(config, run)["decision"] != "promote"
    rules = {one["rule"]: one["outcome"] for one in read_json(run / "decide" / "decision.json")["evidence"]["rules"]}
    assert rules["champion"] == "hold"
