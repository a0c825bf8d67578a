"""What one who writes to the store alone, or holds the pipeline's key alone, does to the audit log, and what then goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from audited import World, whole_run
from test_audit import anchored, breaks, forge, records

from raro.cli import main
from raro.errors import BadInput, GateRefused
from raro.registry import evidence, log, models, promotion, readiness
from raro.registry.findings import Audit, Check
from raro.registry.places import Folder, Parameters
from raro.registry.promotion import promote
from raro.steps import register
from raro.storage import canonical, digest_file

ARABIC = str.maketrans("0123456789", "".join(map(chr, range(0x660, 0x66A))))


def registered(world: World, name: str) -> dict:
    """A third version by the pipeline, as a schedule makes it."""
    shutil.rmtree(world.place / "runs" / name, ignore_errors=True)
    return whole_run(world.config, world.place / "runs" / name, world.place / "base", 0.125)


def test_a_log_that_was_cut_off_is_not_gone_on_with(world):
    """A next record in the place of the removed one, and a head of it in MLflow: nobody would ever see what is gone."""
    forge(world, "Ada", action="legal hold", number="1", on=True, reason="a suit")
    held = records(world)[-1].read_bytes()
    records(world)[-1].unlink()
    with pytest.raises(GateRefused, match="it does not hold record 10:[0-9a-f]+, which MLflow knows"):
        registered(world, "three")
    with pytest.raises(GateRefused, match="it does not hold record 10"):
        readiness.check(world.config, world.place / "runs" / "three")
    assert len(records(world)) == 9, "the place of what is missing stays free"
    assert any("the log was cut off: MLflow knows record 10" in one for one in breaks(world, "1"))
    (world.log / "00000010.jsonl").write_bytes(held)  # restored from a copy
    assert register.run(world.config, world.place / "runs" / "three")["version"] == "3", "nothing was uploaded before"
    assert breaks(world, "1") == []


def test_what_nobody_signed_moves_no_alias(world):
    """Who may write to the store, and not to MLflow, does not get the pipeline to move an alias for them."""
    root = world.desk.version("2").tags["raro.root"]
    log.append(Folder(world.log), "tiny", lambda _: log.Draft("promoted", "2", "Ada", {"root": root}), None)
    with pytest.raises(GateRefused, match="record 10 is not signed, and the policy requires it"):
        registered(world, "four")
    assert world.desk.version("3") is None
    assert world.desk.aliases() == {"champion": "1", "challenger": "2"}


def test_nor_does_what_is_put_there_while_the_pipeline_writes(world, monkeypatch):
    """Between the look at the log and the record: the pipeline's own would stand behind what nobody signed, and cover it."""
    root, create = world.desk.version("2").tags["raro.root"], Folder.create

    def late(place: Folder, seq: int, line: bytes) -> bool:
        monkeypatch.setattr(Folder, "create", create)
        log.append(place, "tiny", lambda _: log.Draft("promoted", "2", "Ada", {"root": root}), None)
        return create(place, seq, line)

    monkeypatch.setattr(Folder, "create", late)
    before = len(records(world))
    with pytest.raises(GateRefused, match=f"record {before + 1} is not signed, and the policy requires it"):
        world.desk.append(lambda _: log.Draft("held", "2", "pipeline", {"root": root}), world.key("pipeline"))
    assert len(records(world)) == before + 1


def test_what_is_deleted_while_it_is_looked_at_is_not_promoted(world, monkeypatch):
    """`raro gc` of another, between the audit and the record: the log would name a champion that is gone."""
    sound = promotion._sound

    def slow(desk, number):
        root = sound(desk, number)
        gone = {"reason": "asked", "source": desk.version(number).source}
        desk.append(lambda _: log.Draft("deleted", number, "Grace", gone), world.key("Grace"))
        return root

    monkeypatch.setattr(promotion, "_sound", slow)
    before = len(records(world))
    with pytest.raises(GateRefused, match="version 2 was deleted meanwhile"):
        promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))
    assert len(records(world)) == before + 1


@pytest.mark.parametrize("unchecked", [False, True])
def test_a_root_that_is_a_path_writes_nowhere_else(tmp_path, monkeypatch, unchecked):
    """Who may write to MLflow may write any text into the tag; an auditor's machine downloads through the server."""
    import mlflow.artifacts

    def download(artifact_uri: str, dst_path: str, **_: str) -> str:
        (place := Path(dst_path) / "artifacts").mkdir()
        (place / "manifest.json").write_text("{}")
        return str(place)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    client = SimpleNamespace(get_logged_model=lambda _: SimpleNamespace(artifact_location="mlflow-artifacts:/1/models/m-1"))
    tags = {"raro.root": str(tmp_path / "home" / "evil")}
    version = SimpleNamespace(name="tiny", version="1", source="models:/m-1", tags=tags)
    scratch = tmp_path / "scratch"
    if unchecked:
        path = models.files(client, "http://localhost", version, tmp_path, scratch, unchecked=True)
        assert path.is_relative_to(scratch) and (path / "manifest.json").is_file()
    else:
        with pytest.raises(GateRefused, match="'tiny' version 1 was not registered by raro: it has no root digest"):
            models.files(client, "http://localhost", version, tmp_path, scratch)
    assert not (tmp_path / "home").exists()


def test_only_what_a_run_keeps_is_evidence(world):
    """A forged record names another file of the machine: it would be read, and exported under that path."""
    outside = world.place / "outside.json"
    outside.write_text("{}")
    named = {"../../../outside.json": digest_file(outside), str(outside): digest_file(outside)}
    version = world.desk.version("1")
    found = {"facts": {"evidence": named}, "said": {"evidence": named}}
    made = Audit(world.desk, "1", "1", version, [], [], found, world.place, "")
    check = Check("run")
    evidence.run(made, check)
    assert made.found["evidence"] == {} and len(check.breaks) == 2
    assert all(one.endswith("is no evidence of a run") for one in check.breaks)


def test_a_head_that_is_none_is_left_for_the_audit(world):
    anchored(world, "²:" + "0" * 64)
    with pytest.raises(GateRefused, match="version 2 of 'tiny' is not whole: log: record 0 is not the one"):
        promote(world.desk, "challenger", "Ada", "fine", world.key("Ada"))


def test_a_champion_that_somebody_removed_from_mlflow_hinders_no_other(world):
    """By hand, past the log: no alias can stand at it again, and the next one is promoted all the same."""
    world.desk.client.delete_model_version("tiny", "1")
    assert registered(world, "next")["alias"] == "challenger"
    assert world.desk.aliases() == {"challenger": "3"} and world.desk.anchor() == log.whole(Folder(world.log), "tiny")[-1].head
    assert "registry: alias 'champion' is gone, the log says it stands at version 1" in breaks(world, "3")
    promote(world.desk, "challenger", "Ada", "the other is lost", world.key("Ada"))
    assert promote(world.desk, "challenger", "Grace", "agreed", world.key("Grace")).champion
    assert world.desk.aliases() == {"champion": "3"} and breaks(world, "3") == []


@pytest.mark.parametrize("body", [{}, {"root": None}, {"root": [], "run_id": 3}])
def test_a_record_that_says_nothing_of_its_version_is_told_in_a_line(world, body):
    forge(world, "pipeline", action="registered", actor="pipeline", number="2", **({"root": None} | body))
    place = Folder(world.log)
    log.append(place, "tiny", lambda _: log.Draft("registered", "3", "pipeline", body), world.key("pipeline"))
    with pytest.raises(BadInput, match="has another version 3 already, of run"):
        registered(world, "nothing")
    assert breaks(world, "2")


@pytest.mark.parametrize("signatures", [[["key", "sig"]], [{"key": 1, "sig": "x"}], [{"key": "x"}], [None], "x"])
def test_signatures_of_another_shape_are_told_in_a_line(world, signatures):
    written = json.loads(records(world)[-1].read_text()) | {"signatures": signatures}
    records(world)[-1].write_text(canonical(written) + "\n")
    assert f"log: record {written['seq']} cannot be read" in breaks(world, "1")
    with pytest.raises(GateRefused, match="is not whole: log: record"):
        promote(world.desk, "2", "Ada", "fine", world.key("Ada"))


def test_a_record_of_another_shape_is_shown_and_hinders_nobody(world, tmp_path, capsys):
    """By who holds the pipeline's key, or another release."""
    body = {"root": 5, "run_id": 3, "reasons": 7, "approved": [1], "sampled": []}
    place, key = Folder(world.log), world.key("pipeline")
    for wrong in (body, {}):
        made = log.append(place, "tiny", lambda _, body=wrong: log.Draft("rejected", "", "pipeline", body), key)
    anchored(world, made[-1].head)
    show = ["audit", "show", "tiny@champion", "--run", str(world.run)]
    assert main(show) == main([*show, "--html", str(tmp_path / "page.html")]) == 0
    assert "the candidate of run 3 was rejected" in capsys.readouterr().out
    assert "what it rests on cannot be read" in (tmp_path / "page.html").read_text()
    assert whole_run(world.config, world.place / "runs" / "worse", world.place / "base", 0.7, low=-0.2)["audit_head"]


def test_a_record_has_one_name(world):
    """Other scripts have digits too: a record under such a name is read in nobody's place, where the first is locked even."""
    first = records(world)[0]
    (world.log / first.name.translate(ARABIC)).write_bytes(b"forged")
    assert Folder(world.log).lines()[1] == first.read_bytes()
    run = world.desk.client.create_run(world.desk.client.get_run(world.desk.version("1").run_id).info.experiment_id)
    place = Parameters(world.desk.client, world.config.tracking.uri, run.info.run_id)
    assert place.create(1, b"record\n")
    world.desk.client.log_param(run.info.run_id, "00000001".translate(ARABIC), "forged")
    assert place.lines() == {1: b"record\n"}
