"""The warm start as a task: a model that speaks the format, made of what ingest handed on and of nothing else."""

import json

import pytest
import torch
from kfp import dsl
from safetensors.torch import load_file

from raro.storage import fetch, read_json


def test_it_teaches_the_base(before):
    begun = before("warmstart")
    begun.task("warmstart")
    taught = load_file(begun.folder / "warmstart" / "model" / "model.safetensors")
    base = load_file(fetch("package://countdown-mini") / "model.safetensors")
    assert any(not torch.equal(taught[name], weight) for name, weight in base.items())
    assert read_json(begun.handed["manifest"].path)["inputs"].keys() == {"ingest"}


def test_other_data_than_was_handed_on_is_refused(before, capsys):
    begun = before("warmstart")
    path = begun.folder / "ingest" / "manifest.json"
    handed = path.rename(begun.folder / "handed.json")
    path.write_text(json.dumps(read_json(handed) | {"root": "0" * 64}), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        begun.task("warmstart", ingest=dsl.Artifact(uri=str(handed)))
    assert ended.value.code == 3 and "one pipeline at a time" in capsys.readouterr().err
    assert not (begun.folder / "warmstart").exists()
