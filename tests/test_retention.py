"""`raro gc` where it is cut off, and what may be typed into the log. The rest: test_registrar.py, test_registry_s3.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from audited import tiny_model, whole_run
from servers import give_store

from raro.cli import main
from raro.config import parse, stored
from raro.errors import GateRefused
from raro.registrar import leftovers, retention
from raro.registry import log, registration, upload
from raro.registry.desk import Desk, desk_of
from raro.storage import read_json


@pytest.fixture
def desk(tmp_path) -> Desk:
    """Two versions without registry.store, the second of which is champion."""
    return two_versions(tmp_path)


def two_versions(place: Path, **registry: str) -> Desk:
    give_store(place)
    base = {"uri": str(tiny_model(place / "base")), "licence": "MIT"}
    told = {"base": base, "registry": {"model": "tiny"} | registry, "tracking": {"uri": f"sqlite:///{place / 'mlflow.db'}"}}
    config = parse(told | {"demonstrations": {"licence": "CC0-1.0"}})
    for n in range(2):
        whole_run(config, place / "runs" / str(n), place / "base", 0.5 + n)
    return desk_of(config, place / "runs" / "0")


def gc(desk: Desk, *more: str, approver: str = "Ada", reason: str = "it is asked") -> int:
    every = ["--keep", "0", "--older-than", "0", "--run", str(desk.home), "--approver", approver, "--reason", reason]
    return main(["gc", "tiny", *every, *more])


def weights(desk: Desk) -> list[Path]:
    return list((desk.home.parent.parent / "mlartifacts" / "models").rglob("*.safetensors"))


WRITES = """
import os, shutil, sys
while True:
    for n in range(30):
        os.makedirs(f"{sys.argv[1]}/{n}")
        open(f"{sys.argv[1]}/{n}/part", "w").close()
    shutil.rmtree(sys.argv[1])
"""


def test_files_that_come_and_go_meanwhile_end_nothing(tmp_path):
    """Somebody uploads beside it: what they write is as young as the look at it."""
    place = tmp_path / "models" / "coming"
    began, looks = time.time(), 0
    with subprocess.Popen([sys.executable, "-c", WRITES, str(place)]) as writer:
        try:
            while time.time() < began + 4:
                size, changed = leftovers.weighed(place)
                assert size >= 0 and changed >= began - 1
                looks += 1
        finally:
            writer.kill()
    assert looks > 10


def test_of_two_who_delete_at_once_both_end_well(desk, capsys):
    """Each looked before the other deleted."""
    (fate,) = (one for one in fates(desk) if one.number == "1")
    for _ in range(2):
        retention.delete(desk, fate, "Ada", "it is asked", None)
    assert desk.version("1") is None
    assert [record.action for record in desk.settle() if record.version == "1"][-1] == "deleted"
    assert [record.action for record in desk.settle()].count("deleted") == 1


def fates(desk: Desk) -> list[retention.Fate]:
    versions = desk.client.search_model_versions("name = 'tiny'")
    return retention.plan(versions, desk.settle(), desk.aliases(), 0, 0)


@pytest.mark.parametrize(("place", "name"), [(upload, "_measured"), (registration, "_keep_evidence"), (registration, "judged")])
def test_a_registration_that_goes_on_loses_nothing(tmp_path, monkeypatch, place, name):
    """`raro gc --older-than 0 --keep 0 --delete` between the upload and the version, the version and the log, and before the
    decision is in the log."""
    desk, real, looked = two_versions(tmp_path, store=str(tmp_path / "shelf")), getattr(place, name), []

    def meanwhile(*given):
        looked.append(gc(desk, "--delete"))
        return real(*given)

    monkeypatch.setattr(place, name, meanwhile)
    config = stored(read_json(tmp_path / "runs" / "0" / "config.json"))
    assert whole_run(config, tmp_path / "runs" / "late", tmp_path / "base", 3.0)["alias"] == "champion"
    assert looked == [0] and desk.version("3") is not None
    assert main(["audit", "verify", "tiny@champion", "--run", str(desk.home)]) == 0


def test_a_candidate_whose_version_was_deleted_meanwhile_does_not_become_champion(tmp_path, monkeypatch):
    desk, judged = two_versions(tmp_path), registration.judged

    def meanwhile(*given):
        gone = {"reason": "asked", "source": desk.version("3").source}
        desk.append(lambda _: log.Draft("deleted", "3", "Grace", gone), None)
        return judged(*given)

    monkeypatch.setattr(registration, "judged", meanwhile)
    config = stored(read_json(tmp_path / "runs" / "0" / "config.json"))
    with pytest.raises(GateRefused, match="version 3 was deleted meanwhile"):
        whole_run(config, tmp_path / "runs" / "late", tmp_path / "base", 3.0)
    assert desk.aliases() == {"champion": "2"}


@pytest.mark.parametrize("cut", ["_remove_logged", "every_version"])
def test_a_deletion_that_is_cut_off_is_completed_by_the_next(desk, monkeypatch, capsys, cut):
    """Whatever was asked for, and whatever is asked now: the log says that it is gone, and no file may be left of it."""

    def killed(*_):
        raise KeyboardInterrupt

    both = len(weights(desk))
    with monkeypatch.context() as patched:
        patched.setattr(retention, cut, killed)
        assert gc(desk, "--erase", "1", "--delete") == 130
    assert len(weights(desk)) == both
    assert main(["gc", "tiny", "--run", str(desk.home)]) == 0
    assert "version 1   goes" in capsys.readouterr().out
    assert gc(desk, "--delete") == 0
    assert len(weights(desk)) == both // 2
    assert desk.version("1") is None
    assert main(["audit", "verify", "tiny@champion", "--run", str(desk.home)]) == 0


def test_files_that_nobody_let_it_remove_are_not_said_to_be_gone(tmp_path, monkeypatch, capsys):
    """The version stays, so that the next gc completes it; and what is no folder goes, too, whatever its name would do to a
    terminal."""
    desk = two_versions(tmp_path, store=str(tmp_path / "shelf"))
    files, stray = Path(desk.version("1").source), tmp_path / "shelf" / "models" / "stray\x1b[2J"
    stray.write_text("half a file")
    os.utime(stray, (0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(retention, "shutil", SimpleNamespace(rmtree=lambda *_, **__: None))
        assert gc(desk, "--erase", "1", "--delete") == 2
    said = capsys.readouterr()
    assert f"'{files}' cannot be removed" in said.err and "deleted:" not in said.out
    assert r"models/stray\x1b[2J" in said.out and "\x1b" not in said.out
    assert files.is_dir() and desk.version("1") is not None
    assert gc(desk, "--delete") == 0
    assert not files.exists() and not stray.exists() and desk.version("1") is None


def test_nothing_is_said_to_be_deleted_whose_files_would_stay(tmp_path, capsys):
    """By its server alone a model's store is not known; and one that is written as file:// is a folder like any other."""
    desk = two_versions(tmp_path, store=f"file://{tmp_path / 'shelf'}")
    files = Path(desk.version("1").source.removeprefix("file://"))
    person = ["--approver", "Ada", "--reason", "it is asked"]
    assert main(["gc", "tiny", "--tracking-uri", desk.uri, "--erase", "1", "--delete", *person]) == 2
    assert "is not in the registry.store known here" in capsys.readouterr().err
    assert files.is_dir() and desk.version("1") is not None
    assert [record.action for record in desk.settle()][-1] == "erasure", "it is asked for, and not done"
    assert gc(desk, "--delete") == 0
    assert not files.exists() and desk.version("1") is None


@pytest.mark.parametrize(
    ("approver", "reason", "named"),
    [
        ("pipeline", "asked", "'pipeline' is not a person"),
        (" ", "asked", "no approver is given"),
        ("Ada", "", "no reason is given"),
        ("Ada", "x" * 1001, "1001 characters"),
        ("Ada", "asked\x1b[2K", "cannot be shown"),
    ],
)
def test_what_may_not_stand_in_the_log_is_not_entered(desk, capsys, approver, reason, named):
    assert gc(desk, "--hold", "1", approver=approver, reason=reason) == 2
    assert named in capsys.readouterr().err
    assert not any(record.action == "legal hold" for record in desk.settle())


def test_a_reason_of_several_lines_is_one(desk):
    """It would stand in `raro audit show` as a record of its own."""
    forged = "asked\n    9  2026-01-01T00:00:00Z  version 2 was approved, by Ada"
    assert gc(desk, "--hold", "1", reason=forged) == 0
    assert desk.settle()[-1].body["reason"] == "asked 9 2026-01-01T00:00:00Z version 2 was approved, by Ada"
