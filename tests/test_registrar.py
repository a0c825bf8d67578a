"""The commands on registered models, as a person types them, on a real registry."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from audited import World, whole_run
from manifests import KUBECTL, PRODUCTION, named, selects
from test_audit import byte_in

from raro import storage
from raro.benchmarks import tournament
from raro.cli import main
from raro.config import load, parse
from raro.errors import BadInput
from raro.pipelines import profile
from raro.registrar import chat, leftovers, retention, serving
from raro.registrar import offline as script
from raro.registry import log, promotion
from raro.registry.desk import ANCHOR, desk_of
from raro.registry.places import Folder

IMAGE = "registry.example.org/raro-cpu@sha256:" + "ab" * 32


def raro(world: World, command: str, *more: str, run: str = "one") -> int:
    """A command on the world's model; `command` is split at blanks."""
    return main([*command.split(), *more, "--run", str(world.place / "runs" / run)])


# ----------------------------------------------------------------------------------------------------------------- verify, show


def test_verify_prints_a_tick_for_each_link_and_ends_with_3_where_one_is_broken(world, capsys):
    assert raro(world, "audit verify tiny@champion") == 0
    said = capsys.readouterr().out
    assert said.count("✓") == 11
    assert said.endswith("whole: every link holds\n")
    byte_in(world.model / "tokenizer.json")
    assert raro(world, "audit verify tiny@champion") == 3
    said = capsys.readouterr().out
    assert "✗ files" in said
    assert "tokenizer.json' was changed" in said
    assert said.endswith("BROKEN: 1 breaks, in files\n")
    assert raro(world, "audit verify tiny@champion --json") == 3
    told = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in told["checks"] if check["state"] == "broken"] == ["files"]
    assert raro(world, "audit verify tiny@challenger") == 0


@pytest.mark.parametrize(
    ("command", "named", "remedy"),
    [
        ("audit verify tiny@staging", "no version at 'staging'", "challenger (version 2), champion (version 1)"),
        ("audit verify tiny@9", "no version 9", "never registered"),
        ("audit verify tiny@", "names no alias", "MODEL@champion"),
        ("audit verify other@champion", "registered model 'tiny', not 'other'", "tiny@ALIAS"),
        ("audit verify tiny@champion --anchor 5", "'5' is not SEQ:HASH", "raro audit show"),
        ("audit verify tiny@champion --policy nowhere.yaml", "policy 'nowhere.yaml' cannot be read", "--policy"),
        ("audit watch tiny@champion", "there is no WHAT 'watch'", "--help"),
        ("audit verify tiny@champion --root {keys}", "takes no --root", "raro audit folder and fetch"),
        ("audit show tiny@champion --without-weights", "takes no --without-weights", "raro audit export"),
        ("audit folder", "needs what to check and --root", "--root DIGEST"),
        ("serve tiny@champion --image raro:latest", "is not named by digest", "sha256"),
        ("chat tiny@champion --best-of 0", "--best-of 0 is out of bounds", "1 to 64"),
        ("gc tiny --delete", "no reason is given", "--approver"),
        ("gc tiny --hold 8 --approver Ada --reason x --key file:{keys}/Ada.pem", "no version 8", "it has: "),
        ("promote tiny --approver Ada --reason x --key file:nowhere", "key 'file:nowhere' cannot be read", "check the path"),
    ],
)
def test_bad_input_is_one_line_with_a_remedy_and_exit_code_2(world, capsys, command, named, remedy):
    before = sorted(path.read_bytes() for path in world.log.iterdir())
    assert raro(world, command.format(keys=world.keys)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert remedy in said
    assert said.count("\n") <= 2
    assert sorted(path.read_bytes() for path in world.log.iterdir()) == before


def test_no_run_and_no_model_is_said_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "verify"]) == 2
    assert "no run in 'runs' has registered a model" in capsys.readouterr().err
    assert main(["audit", "verify", "x@champion", "--run", "nowhere"]) == 2
    assert "'nowhere' is not a run's folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["tiny@champion", "--tracking-uri", "sqlite:///typo.db"], "no store 'typo.db'"),
        (["tiny@champion", "--tracking-uri", "sqlite:///typo.db?timeout=20"], "no store 'typo.db'"),
        (["tiny@champion", "--tracking-uri", "sqlite:typo.db"], "'sqlite:typo.db' is not the address"),
        (["tiny@champion", "--tracking-uri", "nonsense"], "'nonsense' is not a tracking server"),
        (["tiny@champion", "--tracking-uri", "http://"], "'http://' is not the address"),
        (["tiny@champion", "--tracking-uri", "http://localhost:port"], "'http://localhost:port' is not the address"),
        (["--run", "empty"], "empty/mlflow.db': nothing was registered there"),
        (["--run", "list"], "must be a mapping"),
        (["tiny", "--runs", "odd"], "no run in 'odd' has registered a model named 'tiny'"),
    ],
)
def test_what_is_read_only_makes_no_store(tmp_path, monkeypatch, capsys, arguments, named):
    monkeypatch.chdir(tmp_path)
    storage.write_atomic("empty/config.json", load("countdown-mini").canonical())
    storage.write_json("list/config.json", [])
    storage.write_json("odd/one/register/registration.json", [])
    before = sorted(tmp_path.rglob("*"))
    assert main(["audit", "verify", *arguments]) == 2
    said = capsys.readouterr().err
    assert named in said and "remedy: " in said and said.count("\n") == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_an_address_may_say_how_its_store_is_opened(world, capsys):
    store = f"{world.config.tracking.uri}?timeout=20"
    assert main(["audit", "verify", "tiny@champion", "--tracking-uri", store, "--policy", str(world.policy)]) == 0
    assert "whole: every link holds" in capsys.readouterr().out


def test_a_run_s_model_is_asked_for_at_another_address(world, tmp_path, capsys):
    """As through a forwarded port: the run's own configuration says what its server is called inside the cluster."""
    told = json.loads(world.config.canonical())
    storage.write_json(tmp_path / "config.json", told | {"tracking": told["tracking"] | {"uri": "http://mlflow.invalid:5000"}})
    asked = ["audit", "verify", "tiny@champion", "--run", str(tmp_path), "--tracking-uri"]
    assert main([*asked, world.config.tracking.uri]) == 0
    assert "whole: every link holds" in capsys.readouterr().out
    assert main([*asked, "sqlite:///typo.db"]) == 2
    assert "no store 'typo.db'" in capsys.readouterr().err


def test_a_version_has_one_number_however_it_is_written(world, capsys):
    assert raro(world, "audit verify tiny@01") == 0
    assert "tiny@01 is version 1" in capsys.readouterr().out
    assert raro(world, "audit verify tiny@²") == 2
    assert "has no version ²" in capsys.readouterr().err


def test_what_another_release_registered_is_audited_whatever_it_calls_its_settings(world, tmp_path, capsys):
    told = json.loads(world.config.canonical())
    told["guards"]["called_otherwise"] = told["of_a_later_release"] = {}
    (tmp_path / "config.json").write_text(json.dumps(told), encoding="utf-8")
    assert main(["audit", "verify", "tiny@champion", "--run", str(tmp_path)]) == 0
    assert "guards" not in capsys.readouterr().err


def test_show_tells_the_story_and_draws_the_page(world, capsys, tmp_path):
    assert raro(world, "audit show tiny@champion") == 0
    said = capsys.readouterr().out
    assert "version 1 was approved, by Ada: the figures hold" in said
    assert f"head  {log.read(Folder(world.log), 'tiny')[0][-1].head}" in said
    assert raro(world, "audit show tiny@champion --html", str(tmp_path / "page.html")) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    for part in ("Whole", "Demonstrations", "the figures hold", "signed by Ada", "50.0", "Read again on"):
        assert part in page
    assert page.count(">Demonstrations</text>") == 2, "drawn for a wide window and for a narrow one"


def test_a_page_of_a_broken_version_escapes_what_others_wrote(world, tmp_path, capsys):
    key = f"file:{world.keys / 'Ada'}.pem"
    assert raro(world, "promote tiny", "--approver", "Ada", "--reason", "<script>alert(1)</script>", "--key", key) == 0
    byte_in(world.model / "tokenizer.json")
    assert raro(world, "audit show tiny@champion --html", str(tmp_path / "page.html")) == 3
    page = (tmp_path / "page.html").read_text()
    assert "Broken" in page
    assert "tokenizer.json&#39; was changed" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


def test_promote_and_rollback_as_typed(world, capsys):
    for name, said in (
        ("Ada", "1 of 2 approvals; 1 more must promote"),
        ("Grace", "version 2 is champion; approved by Ada, Grace"),
    ):
        key = f"file:{world.keys / name}.pem"
        assert raro(world, "promote tiny@challenger", "--approver", name, "--reason", "it holds", "--key", key) == 0
        assert said in capsys.readouterr().out
    key = f"file:{world.keys / 'Ada'}.pem"
    assert raro(world, "rollback tiny", "--approver", "Ada", "--reason", "a fault", "--key", key) == 0
    assert "version 1 is champion again" in capsys.readouterr().out
    assert raro(world, "audit verify tiny@champion") == 0


# ----------------------------------------------------------------------------------------------------------------------- export


@pytest.fixture
def exported(world, tmp_path, capsys) -> Path:
    """An unpacked archive."""
    assert raro(world, "audit export tiny@champion --output", str(tmp_path / "audit.tar")) == 0
    capsys.readouterr()
    with tarfile.open(tmp_path / "audit.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "tiny-1-audit"


def offline(folder: Path, *more: str) -> tuple[int, str]:
    """The archive's own verify.py, with Python's standard library alone."""
    done = subprocess.run([sys.executable, "-I", "-S", folder / "verify.py", *more], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_an_archive_is_verified_offline_without_raro(exported, world):
    assert offline(exported, "--signed")[0] == 0
    code, said = offline(exported)
    assert (code, said.splitlines()[-1]) == (0, "whole"), said
    assert "note" not in said
    assert log.read(Folder(world.log), "tiny")[0][-1].head in said
    assert set(script.BY_PIPELINE) == {action for action, roles in log.ROLES.items() if roles == ("log",)}
    assert set(script.BY_PEOPLE) == {"approved", *log.DECIDED}
    assert "python3 verify.py" in (exported / "README.md").read_text()
    assert "✓ signature" in (exported / "audit.txt").read_text()


def by_hand(folder: Path) -> list[tuple[int, str]]:
    """(exit code, what it said) of each command of the procedure, as its README has it."""
    text = (folder / "README.md").read_text()
    blocks = [line[7:] for line in text.splitlines() if line.startswith(" " * 7)]
    script = "\n".join(blocks)
    commands = re.findall(r"python3 - <<'END'\n.*?\nEND|^[^\n]+$", script, re.DOTALL | re.MULTILINE)
    told = [re.search(f"`({tool} [^`]*)`", text)[1] for tool in ("model_signing", "openssl")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = []
    for command in [*commands, told[0].replace("NAME", "1-pipeline"), told[1].replace("NAME", "1-pipeline")]:
        ran = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, env={"PATH": path})
        done.append((ran.returncode, ran.stdout + ran.stderr))
    return done


def test_the_procedure_holds_as_it_is_written(exported, world):
    root, head = world.desk.version("1").tags["raro.root"], world.desk.anchor()
    files, digest, roots, log_said, evidence, signature, record = by_hand(exported)
    assert [one[0] for one in (files, digest, roots, log_said, evidence, signature, record)] == [0] * 7
    assert "model/model.safetensors.index.json: OK" in files[1] and "FAILED" not in files[1]
    assert digest[1].split()[0] == root and {name for name in roots[1].split() if root in name}
    assert log_said[1].splitlines()[-1] == f"head {head}"
    assert evidence[1].count(": OK") == 4
    byte_in(exported / "model" / "tokenizer.json")
    byte_in(exported / "evidence" / "ingest" / "data.json")
    rewrite(exported / "log.jsonl", "the figures hold", "the figures HOLD")
    assert [one[0] != 0 for one in by_hand(exported)[:6]] == [True, False, False, True, True, True]


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (lambda f: byte_in(next((f / "model").glob("*.safetensors"))), "safetensors is missing or was changed"),
        (lambda f: (f / "model" / "extra.json").write_text("{}"), "extra.json is not in the manifest"),
        (lambda f: rewrite(f / "evidence" / "evaluation.json", "0.5", "0.6"), "evaluation.json is missing or was changed"),
        (lambda f: rewrite(f / "log.jsonl", "the figures hold", "the figures fly"), "record 4 was changed"),
        (
            lambda f: (f / "log.jsonl").write_text((f / "log.jsonl").read_text().split("\n", 1)[1]),
            "does not follow the one before",
        ),
        (
            lambda f: shutil.copy(next((f / "keys").glob("*Ada*")), next((f / "keys").glob("*pipeline*"))),
            "signature that does not",
        ),
        (lambda f: (f / "log.jsonl").write_text(""), "log does not end with the head"),
        (lambda f: rewrite(f / "model" / "model.sig", '"payload":"', '"payload":"A'), "model.sig|cannot be read"),
        (lambda f: rewrite(f / "log.jsonl", '"signatures":', '"signatures"'), "what is there cannot be read"),
        (lambda f: rewrite(f / "registry.json", '"log"', '"approve"'), "record 1 is signed by 'pipeline', who may not sign"),
        (lambda f: rewrite(f / "registry.json", '"model",', '"log",'), "model.sig is by 'pipeline', who may not sign models"),
        (lambda f: rewrite(f / "registry.json", '"Ada"', '"Eve"'), "record 4 names 'Ada' and is signed by 'Eve'"),
        (lambda f: (f / "registry.json").unlink(), "what is there cannot be read"),
    ],
)
def test_an_archive_that_was_tampered_with_is_found_offline(exported, tamper, named):
    tamper(exported)
    code, said = offline(exported)
    assert code == 3 and re.search(named, said), said
    assert re.fullmatch(r"\d+ breaks", said.splitlines()[-1])


def test_an_archive_whose_signatures_were_taken_away_says_so(exported):
    """Another approver, every hash made to fit, and registry.json as if nothing had ever been signed."""
    before, lines = log.START, []
    for line in (exported / "log.jsonl").read_text().splitlines():
        told = json.loads(line) | {"signatures": [], "previous": before}
        told["actor"] = told["actor"].replace("Ada", "Eve")
        told["hash"] = before = storage.digest_text(log.Record(**told).content)
        lines.append(storage.canonical(told) + "\n")
    (exported / "log.jsonl").write_text("".join(lines))
    (exported / "model" / "model.sig").unlink()
    registry = storage.read_json(exported / "registry.json")
    head = {"head": f"{len(lines)}:{before}"}
    storage.write_json(exported / "registry.json", registry | {"required": False, "signed_by": ""} | head)
    code, said = offline(exported)
    assert code == 0
    assert f"note  {len(lines)} of {len(lines)} records are not signed" in said
    assert "note  the model is not signed" in said
    code, said = offline(exported, "--signed")
    assert code == 3
    assert "record 1 is not signed" in said and "the model's signature is not there" in said


def test_a_version_whose_files_are_lost_is_told_in_lines(world, tmp_path, capsys):
    """One break and what cannot be looked at because of it: no word of our own variables, and nothing that would be a lie."""
    shutil.rmtree(world.model)
    run = str(world.run)
    assert main(["audit", "verify", "tiny@champion", "--run", run]) == 3
    said = capsys.readouterr().out
    assert f"'{world.model}' does not exist" in said and said.count("the version's files are not there") == 3
    assert "KeyError" not in said and "different evidence" not in said
    assert main(["audit", "export", "tiny@champion", "--run", run, "--output", str(tmp_path / "lost.tar")]) == 3
    assert "tiny@champion cannot be exported: manifest: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_archive_without_weights_says_so(world, tmp_path, capsys):
    assert raro(world, "audit export tiny@champion --without-weights --output", str(tmp_path / "audit.tar")) == 0
    with tarfile.open(tmp_path / "audit.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    assert not list(tmp_path.rglob("*.safetensors"))
    code, said = offline(tmp_path / "tiny-1-audit")
    assert code == 0
    assert "files were left out" in said


# ---------------------------------------------------------------------------------------------------------------------- serving


def test_files_are_let_through_only_when_they_are_the_registered_ones(world, tmp_path, capsys):
    root = world.desk.version("1").tags["raro.root"]
    policy = ["--policy", str(world.policy)]
    assert main(["audit", "folder", str(world.model), "--root", root, *policy]) == 0
    assert "signed by pipeline" in capsys.readouterr().out
    volume = tmp_path / "volume"
    volume.mkdir()
    assert main(["audit", "fetch", str(world.model), "--output", str(volume), "--root", root, *policy]) == 0
    assert storage.manifest(volume)["root"] == root
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    assert main(["audit", "fetch", str(world.model), "--output", str(tmp_path / "foreign"), "--root", root, *policy]) == 2
    assert "is not empty: it holds 'notes.txt'" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["notes.txt"]
    byte_in(next(world.model.glob("*.safetensors")))
    assert main(["audit", "fetch", str(world.model), "--output", str(tmp_path / "other"), "--root", root, *policy]) == 3
    assert not (tmp_path / "other").exists()
    assert main(["audit", "fetch", str(world.other), "--output", str(tmp_path / "other"), "--root", root, *policy]) == 3
    assert "is another model" in capsys.readouterr().err
    (world.other / "model.sig").unlink()
    own = world.desk.version("2").tags["raro.root"]
    assert main(["audit", "folder", str(world.other), "--root", own, *policy]) == 3
    assert "is not signed" in capsys.readouterr().err


@pytest.mark.parametrize("moved", [None, 0, 3, -1])
def test_an_init_container_that_runs_again_goes_on(world, tmp_path, monkeypatch, moved):
    """moved: so many entries had appeared when it was cut off; None: all, and it had ended; -1: all but for the cleaning up."""
    root, volume = world.desk.version("1").tags["raro.root"], tmp_path / "volume"
    volume.mkdir()
    fetching = ["audit", "fetch", str(world.model), "--output", str(volume), "--root", root, "--policy", str(world.policy)]
    left, replace = [moved], os.replace

    def cut_off(source, target):
        if left[0] == 0 and Path(source).parent.name == "model":
            raise KeyboardInterrupt
        left[0] -= Path(source).parent.name == "model"
        return replace(source, target)

    with monkeypatch.context() as patched:
        if moved is not None and moved >= 0:
            patched.setattr(os, "replace", cut_off)
            assert main(fetching) == 130
            assert len(list(volume.iterdir())) == moved + 1 and not (volume / "manifest.json").exists()
        else:
            assert main(fetching) == 0
    if moved == -1:
        (volume / ".raro-fetch" / "model").mkdir(parents=True)
    before = {path: path.stat().st_ino for path in volume.iterdir() if path.name != ".raro-fetch"}
    assert main(fetching) == 0
    assert storage.manifest(volume)["root"] == root and not (volume / ".raro-fetch").exists()
    assert before.items() <= {path: path.stat().st_ino for path in volume.iterdir()}.items(), "what lay there stays"
    other = world.desk.version("2").tags["raro.root"]
    assert main([*fetching[:2], str(world.other), "--output", str(volume), "--root", other]) == 2, (
        "another model is not put over"
    )
    assert storage.manifest(volume)["root"] == root


AS_IN_THE_POD = """
import os, sys
from pathlib import Path
from raro.registrar.files import fetch
if os.getuid() == 0:
    os.setgid(65532)
    os.setuid(65532)
print(fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
"""


def test_nothing_is_written_beside_the_volume(world):
    """As in the pod: the image's user, whose is nothing but the volume."""
    root, mount = world.desk.version("1").tags["raro.root"], Path(tempfile.mkdtemp(prefix="mnt-", dir="/tmp"))
    try:
        shutil.copytree(world.model, mount / "store", copy_function=shutil.copyfile)
        (mount / "models").mkdir()
        (mount / "models").chmod(0o777)
        mount.chmod(0o555)
        command = [sys.executable, "-c", AS_IN_THE_POD, mount / "store", mount / "models", root]
        said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": "/nowhere"})
        assert said.returncode == 0, said.stderr
        assert storage.manifest(mount / "models")["root"] == root
        assert sorted(path.name for path in mount.iterdir()) == ["models", "store"]
    finally:
        mount.chmod(0o755)
        shutil.rmtree(mount)


@pytest.mark.parametrize("number", [10, 99, 99_999_999])
@pytest.mark.parametrize("text", ["junk\n", None])
def test_what_lies_behind_the_log_is_named_with_the_way_out_which_works(world, tmp_path, capsys, number, text):
    """Where text is None it is a copy of an earlier record."""
    junk = world.log / f"{number:08d}.jsonl"
    junk.write_text(text or (world.log / "00000003.jsonl").read_text())
    assert raro(world, "audit verify tiny@champion") == 3
    said = capsys.readouterr().out
    assert ("are missing" in said) == (number > 10)
    assert f"which MLflow knows, the log is whole, but what is numbered {number} is not part of it" in said
    assert f": move {junk.name} out of '{world.log}', keep it as evidence" in said and len(said.splitlines()) < 24
    assert raro(world, "gc tiny") == 3
    assert capsys.readouterr().err.endswith("remedy: raro audit verify tells more\n")
    junk.rename(tmp_path / junk.name)
    assert raro(world, "audit verify tiny@champion") == 0 and raro(world, "gc tiny") == 0


@pytest.mark.parametrize("lost", ["00000009.jsonl", "00000004.jsonl"])
def test_a_log_that_lacks_a_record_gets_no_such_remedy(world, capsys, lost):
    (world.log / lost).unlink()
    (world.log / "00000099.jsonl").write_text("junk")
    assert raro(world, "audit verify tiny@champion") == 3
    assert "remedy" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"root": "ROOT"}', '{"root": "ROOT", "files": [1]}', '{"root": 1, "files": []}', "{"]
)
def test_a_manifest_of_another_shape_is_one_line(world, capsys, text):
    root = world.desk.version("1").tags["raro.root"]
    (world.model / "manifest.json").write_text(text.replace("ROOT", root))
    assert main(["audit", "folder", str(world.model), "--root", root]) == 2
    said = capsys.readouterr().err
    assert "manifest.json' is no" in said and "remedy: " in said and said.count("\n") == 2


def test_what_no_pod_can_read_is_not_rendered(world, capsys):
    assert raro(world, "serve tiny@champion --image", IMAGE) == 2
    assert "where no pod reads them" in capsys.readouterr().err
    byte_in(world.model / "tokenizer.json")
    assert raro(world, "serve tiny@champion --image", IMAGE) == 3
    assert "is not served: files" in capsys.readouterr().err


def test_outside_the_checkout_the_image_is_named(world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert raro(world, "serve tiny@champion") == 2
    assert "remedy: go to the checkout, or name the image with --image REF@sha256:..." in capsys.readouterr().err
    assert raro(world, "serve tiny@champion --image", IMAGE) == 2
    assert "where no pod reads them" in capsys.readouterr().err  # the model's, which is asked for after the image


def test_the_manifest_names_the_immutable_address_and_verifies_first(world, monkeypatch, capsys):
    monkeypatch.setattr(
        serving, "_address", lambda made, destination: "s3://models/shelf/models/" + made.version.tags["raro.root"]
    )
    assert raro(world, "serve tiny@champion --namespace ward --image", IMAGE) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    root = world.desk.version("1").tags["raro.root"]
    assert (told["apiVersion"], told["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert root in told["metadata"]["annotations"].values()
    predictor = told["spec"]["predictor"]
    (init,) = predictor["initContainers"]
    assert init["args"][:3] == ["audit", "fetch", f"s3://models/shelf/models/{root}"]
    assert init["args"][-4:] == ["--root", root, "--policy", "/policy/policy.yaml"]
    assert predictor["model"]["volumeMounts"][0]["readOnly"]
    told_tasks = profile.read("gpu")
    tasks = {name: ("secretKeyRef", place) for name, place in told_tasks.secrets.items()}
    tasks |= {name: ("configMapKeyRef", place) for name, place in told_tasks.settings.items()}
    for one in init["env"]:  # the store's keys and address come from where the tasks' come from
        ((kind, source),) = one["valueFrom"].items()
        assert tasks[one["name"]] == (kind, f"{source['name']}/{source['key']}") and source["optional"]
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"} <= {one["name"] for one in init["env"]}
    for overlay in PRODUCTION[:2] if KUBECTL else ():
        assert selects(named(overlay, "NetworkPolicy")["to-store"]["spec"]["podSelector"], predictor["labels"])
    assert "champion" not in json.dumps(predictor)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {
            "initContainers": predictor["initContainers"],
            "volumes": predictor["volumes"],
            "containers": [
                {"name": "x", "image": IMAGE, **{k: predictor["model"][k] for k in ("args", "resources", "volumeMounts")}}
            ],
        },
    }
    (world.place / "pod.yaml").write_text(yaml.safe_dump(pod))
    if not (program := Path(sys.prefix) / "manifests" / "bin" / "kubernetes-validate").is_file():
        pytest.skip("kubernetes-validate comes with `make check`")
    subprocess.run([program, "--strict", "--quiet", "-k", "1.34", world.place / "pod.yaml"], check=True)


def test_in_a_house_with_an_authority_and_roles_of_its_own(world, monkeypatch, capsys):
    monkeypatch.setattr(serving, "_address", lambda made, destination: "s3://models/shelf")
    options = ["--authority", "raro-authority", "--service-account", "raro-runner", "--secret", ""]
    assert raro(world, "serve tiny@champion", "--image", IMAGE, *options) == 0
    predictor = yaml.safe_load(capsys.readouterr().out)["spec"]["predictor"]
    (init,) = predictor["initContainers"]
    assert predictor["serviceAccountName"] == "raro-runner"
    assert {"name": "AWS_CA_BUNDLE", "value": "/etc/raro/authority/ca.crt"} in init["env"]
    assert {"name": "authority", "configMap": {"name": "raro-authority"}} in predictor["volumes"]
    assert "/etc/raro/authority" in {mount["mountPath"] for mount in init["volumeMounts"]}
    assert not [one for one in init["env"] if "secretKeyRef" in one.get("valueFrom", {})], "a secret without a name is refused"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Ward_7 notes", "ward-7-notes"),
        ("3-numbers", "model-3-numbers"),
        ("患者", "model-9db4a3"),
        (f"{'a' * 49}-b", "a" * 49),
        ("ward-α", "ward-a0078c"),
        ("ward-β", "ward-e49d51"),
        ("é" * 60, "model-f989aa"),
    ],
)
def test_kserve_takes_the_name_of_any_model(model, name):
    assert serving.called(model) == name and re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name)


# ------------------------------------------------------------------------------------------------------------------------- chat


def test_of_several_answers_the_tournament_s_is_given(blank, monkeypatch, capsys):
    """The answers that could be read meet before the model's own critic, and the one it prefers is printed."""
    config = load("countdown-mini", ["rollout.critic_tokens=4"])
    written = [("t", "1 + 2"), ("t", "3 + 4"), ("t", "5")]
    made = SimpleNamespace(whole=True, found={"config": config.canonical(), "path": "."}, number=1)
    monkeypatch.setattr(chat, "audited", lambda *_: contextlib.nullcontext(made))
    monkeypatch.setattr(chat, "_opened", lambda *_: blank)
    monkeypatch.setattr(chat, "answers_to", lambda *_: written)
    (best,) = tournament.best_of(blank, ["1 2 3 = 6"], [[answer for _, answer in written]], config)
    assert chat.main(SimpleNamespace(model="tiny"), "tiny@champion", ["1 2 3 = 6"], 3, False, None) == 0
    assert capsys.readouterr().out.strip() == written[best.chosen][1]


def test_a_question_in_another_encoding_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Which?\nWelche h\xe4lt?\n"), encoding="utf-8"))
    for asked in (None, ["Which?", "Welche h\udce4lt?"]):  # as Python reads such an argument
        with pytest.raises(BadInput, match="a question is not text in UTF-8"):
            list(chat._questions(asked))


# -------------------------------------------------------------------------------------------------------------------- retention


def test_gc_says_first_what_it_would_delete_and_honours_aliases_and_holds(world, capsys):
    settings = json.loads(world.config.canonical())
    config = parse(settings | {"registry": settings["registry"] | {"policy": ""}})
    leftover = world.place / "shelf" / "models" / "leftover"
    leftover.mkdir()
    (leftover / "x").write_text("x" * 100)
    aged(leftover)
    (leftover.parent / "coming").mkdir()  # somebody else's upload
    for n in range(2):  # versions 3 and 4; each becomes champion at once
        whole_run(config, world.place / "runs" / f"gc-{n}", world.place / "base", 0.31 + n / 100)
    key = ["--approver", "Ada", "--reason", "it is asked", "--key", f"file:{world.keys / 'Ada'}.pem"]
    every = ["--keep", "0", "--older-than", "0"]
    assert raro(world, "gc tiny", *every) == 0
    said = capsys.readouterr().out
    assert "version 4   kept: it is champion" in said
    assert "version 3   kept: it was champion" in said
    assert "version 2   kept: it is challenger" in said
    assert "version 1   goes" in said
    assert "leftover" in said
    assert "nothing was deleted" in said
    assert raro(world, "gc tiny --hold 1", *every, *key) == 0
    assert "version 1   kept: legal hold" in capsys.readouterr().out
    assert raro(world, "gc tiny --erase 1", *every, *key) == 3
    assert "version 1 cannot be erased yet: legal hold" in capsys.readouterr().err
    source = world.model
    assert source.is_dir()
    assert raro(world, "gc tiny --release 1 --delete", *every, *key) == 0
    assert "deleted: 1 versions, 1 left-overs" in capsys.readouterr().out
    assert not source.exists()
    assert not leftover.exists() and (leftover.parent / "coming").is_dir()
    assert world.desk.version("1") is None
    desk = desk_of(config, world.run)
    records, wrong = log.read(desk.place(), "tiny")
    assert wrong == []
    assert [r.action for r in records if r.version == "1"][-4:] == ["legal hold", "erasure", "legal hold", "deleted"]
    assert desk.anchor() == records[-1].head == desk.registered().tags[ANCHOR]
    assert raro(world, "audit verify tiny@champion --policy", str(empty_policy(world))) == 0


def test_what_any_log_beside_the_store_names_is_no_left_over(world):
    """A log of an earlier MLflow that was moved aside has a version 1, too; the newer log's deletion is not of that one. And a
    deletion that stands in another log frees nothing: who may only add to the store would have it removed by others."""
    shelf, before = world.shelf / "models", world.shelf / "audit" / "tiny-before"
    before.mkdir()
    earlier, only_held, cut = (shelf / (letters * 32) for letters in ("aa", "bb", "cc"))
    for folder in (earlier, only_held, cut, shelf / "leftover"):
        folder.mkdir()
        aged(folder)
    (shelf / "coming").mkdir()
    registered = {"model": "tiny", "version": "1", "action": "registered", "body": {"source": str(earlier), "root": "aa" * 32}}
    storage.write_json(before / "00000001.jsonl", registered)
    storage.write_json(before / "00000002.jsonl", registered | {"version": "2", "action": "held", "body": {"root": "bb" * 32}})
    storage.write_json(before / "00000003.jsonl", registered | {"action": "deleted"})
    storage.write_json(world.log / "00000098.jsonl", registered | {"body": {"source": str(cut)}})
    try:
        assert set(leftovers.orphans(world.desk, 0)) == {str(shelf / "leftover")}
        storage.write_json(world.log / "00000099.jsonl", registered | {"action": "deleted", "body": {}})
        assert set(leftovers.orphans(world.desk, 0)) == {str(shelf / "leftover"), str(cut)}, "cut off while it was deleted"
    finally:
        shutil.rmtree(before)


def aged(place: Path) -> None:
    """As if nobody had written there for two days."""
    for path in (*place.rglob("*"), place):
        os.utime(path, (time.time() - 2 * 86_400,) * 2)


def empty_policy(world: World) -> Path:
    path = world.place / "open.yaml"
    path.write_text("signatures: optional\n")
    return path


def test_fates_as_a_table():
    class Version:
        def __init__(self, number: int, age_days: int):
            self.version, self.source = number, f"s3://b/{number}"
            self.creation_timestamp = (1000 - age_days) * retention.DAY

    def record(action: str, version: str, **body) -> log.Record:
        return log.Record(
            seq=1, previous="", time="", model="m", action=action, version=version, actor="a", body=body, hash="", signatures=[]
        )

    records = [record("registered", str(n)) for n in range(1, 9)] + [record("held", str(n)) for n in range(1, 8)]
    records += [record("promoted", n) for n in ("1", "2", "3")]
    records += [record("legal hold", "4", on=True), record("legal hold", "5", on=True), record("legal hold", "5", on=False)]
    records += [record("erasure", n) for n in ("2", "4", "6")]
    versions = [Version(n, 100 - n) for n in range(1, 9)]
    fates = {f.number: f for f in retention.plan(versions, records, {"champion": "3"}, 1, 30, now=1000 * retention.DAY)}
    kept = {number: fate.keep for number, fate in fates.items()}
    assert kept["3"] == "it is champion"
    assert kept["2"] == "", "an erasure goes before a rollback's target"
    assert kept["4"] == "legal hold", "and not before a hold"
    assert kept["8"] == "it is among the newest 1"
    assert [n for n, why in kept.items() if not why] == ["7", "6", "5", "2", "1"]
    young = retention.plan(versions, records, {}, 0, 95, now=1000 * retention.DAY)
    assert {f.number: f.keep for f in young}["7"] == "it is younger than 95 days"
    coming = retention.plan([Version(8, 0), Version(9, 0), Version(10, 90)], records, {}, 0, 0, now=1000 * retention.DAY)
    assert {f.number: f.keep.split(":")[0] for f in coming} == {
        "8": "nothing was decided on it yet",
        "9": "the log does not know it",
        "10": "the log does not know it",
    }
    assert retention.plan([Version(8, 2)], records, {}, 0, 0, now=1000 * retention.DAY)[0].keep == "", "cut off long ago"


def test_what_a_rollback_leads_to_is_kept():
    """Version 1 was champion again before version 4 became it: `raro rollback` goes there, though 3 was promoted later."""
    kinds = [("promoted", str(n), str(n - 1)) for n in (1, 2, 3)] + [("rolled back", "1", "3"), ("promoted", "4", "1")]
    told = {"previous": "", "time": "", "model": "m", "actor": "a", "hash": "", "signatures": []}
    records = [
        log.Record(seq=n, action=action, version=version, body={"before": before}, **told)
        for n, (action, version, before) in enumerate(kinds, 1)
    ]
    assert retention.rollbacks(records) == {"1", "4"}
    assert promotion.earlier(records, "4") == "1"
    back = [log.Record(seq=6, action="rolled back", version="2", body={"before": "4"}, **told)]
    assert retention.rollbacks([*records, *back]) == {"2", "4", "1"}, "from 2 it goes to the one before that"


# ----------------------------------------------------------------------------------------------------- a real model, end to end

SMALL = [
    "warmstart.steps=1", "warmstart.questions=4", "warmstart.thoughts=2", "raro.steps=2", "raro.questions=2", "raro.rollouts=2",
    "raro.pairs=4", "raro.verdicts=1", "evaluation.max_items=8", "evaluation.samples=1", "evaluation.sft_steps=0",
    "evaluation.track_items=4", "evaluation.bootstrap=100", "probes.select_items=8", "probes.matrix_items=4",
    "gate.min_gain=-1", "gate.hold_gain=-1", "gate.min_items=0",
    "gate.level=1", "resources.device=cpu",
]  # fmt: skip


@pytest.mark.check
def test_a_real_run_is_whole_answers_and_is_reproduced_bit_by_bit(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sets = [word for setting in SMALL for word in ("--set", setting)]
    steps = ("preflight", "ingest", "warmstart", "train", "evaluate", "decide", "register")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in steps:
        command = [sys.executable, "-m", "raro.cli", "step", name, *sets, "--output", "runs/one"]
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)
    assert main(["audit", "verify"]) == 0
    said = capsys.readouterr().out
    assert "– signature" in said
    assert "unsigned, so it says that nothing changed by accident" in said
    question = json.loads((tmp_path / "runs/one/ingest/test.jsonl").read_text().splitlines()[0])["question"]
    assert main(["chat", "--best-of", "3", "--ask", question]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["reproduce", "--output", "runs/again"]) == 0
    said = capsys.readouterr().out
    assert "reproduced bit by bit" in said
    assert "DIFFERENT" not in said
