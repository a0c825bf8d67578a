"""Settings that an older release took and this one refuses together: what was made by them is still read, told, audited, served
and answers; only training by them is refused."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from audited import whole_run
from made_run import make
from servers import give_store

from raro.cli import main
from raro.config import parse, stored
from raro.errors import BadInput
from raro.report import page
from raro.storage import read_json, write_json
from raro.terminal import summary

TOGETHER = {"verdict": "expected", "updates": 2}
LINE = "raro.verdict is expected, and raro.updates is above 1"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Holds `one`, the run of a registered miniature that waits as challenger."""
    place = tmp_path_factory.mktemp("older")
    give_store(place)
    base = Path(str(resources.files("raro.models") / "countdown-mini"))
    told = {
        "base": {"uri": str(base), "licence": "Apache-2.0"},
        "demonstrations": {"licence": "CC0-1.0"},
        "raro": TOGETHER,
        "tracking": {"uri": f"sqlite:///{place / 'mlflow.db'}"},
        "registry": {"model": "mini", "store": str(place / "shelf")},
    }
    with pytest.raises(BadInput, match=LINE):
        parse(told)
    whole_run(stored(told), place / "one", base, 1.0, low=-0.02)
    return place


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


def test_what_is_registered_is_audited_promoted_looked_through_and_answers(capsys):
    assert main(["audit", "verify", "mini@challenger", "--run", "one"]) == 0
    assert main(["promote", "mini@challenger", "--run", "one", "--approver", "Ada", "--reason", "it holds"]) == 0
    assert main(["gc", "mini", "--run", "one"]) == 0
    assert main(["chat", "mini@1", "--run", "one", "--ask", "Make 12 from 3, 4, 5."]) == 0
    capsys.readouterr()
    assert main(["serve", "mini@1", "--run", "one", "--image", f"registry.example.org/raro@sha256:{'ab' * 32}"]) == 2
    assert "where no pod reads them" in capsys.readouterr().err  # its place is asked for, as any version's


def test_the_steps_that_train_nothing_go_on():
    assert [main(["step", step, "--output", "one"]) for step in ("decide", "register")] == [0, 0]


@pytest.mark.parametrize("command", ["run", "step preflight", "step warmstart", "step train"])
def test_training_by_them_is_refused(capsys, command):
    write_json(Path("new/config.json"), read_json(Path("one/config.json")))
    assert main([*command.split(), "--output", "new"]) == 2
    assert f"raro: {LINE}\n  remedy: an expectation is learnt from once" in capsys.readouterr().err


def test_training_them_again_is_refused_with_where_it_can_be_done(capsys):
    assert main(["reproduce", "mini@1", "--run", "one", "--output", "again"]) == 2
    said = capsys.readouterr().err
    assert LINE in said and "remedy: check out the revision that provenance names" in said and not Path("again").exists()


def test_a_run_is_told_and_reported(tmp_path):
    run = make(tmp_path / "run")
    told = read_json(run / "config.json")
    told["raro"] |= TOGETHER
    (run / "config.json").write_text(json.dumps(told))
    summary(run)
    assert page.write(run).is_file()
