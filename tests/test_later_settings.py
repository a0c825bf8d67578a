"""Settings that a release adds: runs of older ones go on where the default does what was done before; where it does not the
refusal says what they lack."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import MappingProxyType

import pytest

from raro.config import Rollout, load, stored
from raro.errors import BadInput
from raro.steps.claim import claim
from raro.steps.harness import Step, finished
from raro.storage import digest_text, write_json

RELEASED = Path(__file__).parent / "fixtures" / "config-0.1.0.json"
ADDED = "importance_cap"
"""Stands for a setting that a release has added: at 0 samples are weighted as they were without it."""


def written_before(run: Path) -> str:
    """A run of a release that knew no such setting, one of its steps done. Returns its configuration."""
    told = json.loads(load("countdown-mini").canonical())
    told["rollout"].pop(ADDED, None)
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    run.mkdir()
    (run / "config.json").write_text(text + "\n", encoding="utf-8")
    return text


@pytest.fixture
def later(monkeypatch):
    """The release that has added it says that its default does what was done before."""
    (field,) = [one for one in dataclasses.fields(Rollout) if one.name == ADDED]
    monkeypatch.setattr(field, "metadata", MappingProxyType({**field.metadata, "later": True}))


def test_what_a_release_wrote_is_read_as_it_was_written():
    """Where this fails a setting was added, renamed or taken away since. Added: say `later=True` in its `doc` where its default
    does what was done without it, and in the sections of PACE and OPERATIONS always. Else runs under way cannot go on: write
    the file again, and say so in CHANGELOG.md."""
    text = RELEASED.read_text(encoding="utf-8").rstrip("\n")
    assert stored(text).canonical() == text


def test_a_run_goes_on_under_a_release_that_has_added_a_setting(later, tmp_path):
    text = written_before(tmp_path / "run")
    config = stored(text)
    assert config == load("countdown-mini") and config.canonical() == text and config.digest == digest_text(text)
    with Step("ingest", config, tmp_path / "run") as step:
        (step.folder / "rows").write_text("1")
    assert finished(tmp_path / "run", "ingest", config.identity)
    claim(config, tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_text(encoding="utf-8") == text + "\n", "nothing is written anew"
    with pytest.raises(BadInput, match="holds another run|knew no rollout.importance_cap"):
        claim(load("countdown-mini", ["rollout.importance_cap=2"]), tmp_path / "run")


def test_what_cannot_go_on_is_told_what_it_lacks_and_with_which_release_it_can(tmp_path):
    written_before(tmp_path / "run")
    environment = {"packages": {"raro-pipelines": "0.0.9"}, "git": "0123456789abcdef"}
    (tmp_path / "run" / "preflight").mkdir()
    write_json(tmp_path / "run" / "preflight" / "environment.json", environment)
    with pytest.raises(BadInput) as told:
        claim(load("countdown-mini"), tmp_path / "run")
    assert "holds a run of another release, which knew no rollout.importance_cap" in told.value.line
    assert "go on with that release (raro-pipelines 0.0.9, commit 0123456789ab)" in told.value.remedy
    with pytest.raises(BadInput, match=r"holds another run \(rollout.importance_cap: none, now 0.0; seed: 0, now 3\)"):
        claim(load("countdown-mini", ["seed=3"]), tmp_path / "run")
