"""The command line and the step harness: what a person meets, most of all when something is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import metadata
from pathlib import Path

import pytest

from raro import cli, doctor
from raro.config import load, parse
from raro.errors import BadInput, GateRefused, ServiceFailed
from raro.pipelines import commands, local
from raro.registry.policy import policy_of
from raro.report.stages import Stages
from raro.steps import TITLES, alone, harness, preflight, run_step
from raro.steps.claim import claim
from raro.steps.finish import outcomes
from raro.steps.harness import Step, finished
from raro.storage import fetch, read_json
from raro.tracking import events

pytestmark = pytest.mark.usefixtures("untracked")

HEAVY = {"torch", "transformers", "kfp", "mlflow", "boto3", "numpy", "matplotlib", "pyarrow", "rich"}


def refused(capsys, *arguments: str) -> str:
    """What `raro` says to bad input: one line and a remedy on stderr, exit code 2, nothing on stdout."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"raro: [^\n]+\n  remedy: [^\n]+\n", err), err
    return err


def imported(code: str) -> set[str]:
    """Top-level names of what a fresh interpreter has imported after `code`."""
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('modules', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in said.stdout.rsplit("modules", 1)[1].split()}


# ---------------------------------------------------------------------------------------------------------------- the page


REGISTERED = ["audit", "promote", "rollback", "reproduce", "serve", "chat", "gc"]
NAMES = ["run", "step", "study", "init", "forget", *REGISTERED, "compile", "submit", "schedule", "doctor", "bench"]


def test_help_is_a_page_and_imports_nothing_large(capsys):
    assert cli.main([]) == 0
    page = capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert capsys.readouterr().out.strip() == page.strip()
    names = [name.split()[0] for group in cli.COMMANDS.values() for name in group]
    assert names == NAMES
    for name in names:
        assert re.search(rf"^  {name}\b", page, re.MULTILINE)
    for code in ("0", "2", "3", "4", "130"):
        assert re.search(rf"^  {code}  ", page, re.MULTILINE)
    assert max(map(len, page.splitlines())) <= 100
    assert not HEAVY & imported("import raro.cli\nraro = raro.cli.main([])")


@pytest.mark.parametrize("name", NAMES)
def test_each_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0 and name in capsys.readouterr().out


@pytest.mark.parametrize("arguments", ["", "run --help", "init --demonstrations qa.jsonl --base package://countdown-mini"])
def test_a_reader_that_has_gone_changes_no_exit_code(arguments, tmp_path):
    rows = [{"question": f"What is {n} plus one?", "answer": f"It is {n + 1}."} for n in range(60)]
    (tmp_path / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "raro.cli", *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "raro.yaml").exists() == arguments.startswith("init")


@pytest.mark.parametrize(
    "command, code", [("raro.cli doctor", 0), ("raro.cli run nothing", 2), ("raro.study.alarms nothing", 2)]
)
def test_nor_does_one_that_read_errors_too(command, code, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=tmp_path, stdout=writing, stderr=writing)
    os.close(writing)
    assert done.returncode == code


def test_doctor_looks_at_every_part_that_can_be_installed():
    parts = metadata("raro-pipelines").get_all("Provides-Extra")
    assert set(doctor.EXTRAS) == {"", *parts} - {"tracking", "dev"}


def test_doctor_tells_of_a_torch_that_cannot_be_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: no such file')")  # what `-m` finds first
    command, wide = [sys.executable, "-m", "raro.cli", "doctor"], os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, env=wide, capture_output=True, text=True)
    assert done.returncode == 2 and "torch cannot be imported: libcudart.so.12: no such file" in done.stdout, done.stderr


@pytest.mark.parametrize("step", ["preflight", "ingest", "warmstart", "train", "evaluate", "decide", "finish"])
def test_a_step_is_importable_without_pipeline_tracking_and_torch(step):
    assert not {"kfp", "mlflow", "boto3", "torch"} & imported(f"import raro.steps.{step}, raro.steps.harness, raro.cli")


def test_the_game_needs_no_torch():
    assert "torch" not in imported("import raro.game.pairs, raro.game.rewards, raro.game.verdicts, raro.game.replay")


# ---------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["rnu"], "raro: there is no command 'rnu': the nearest is 'run'\n"),
        (["sumbit", "--watch"], "there is no command 'sumbit': the nearest is 'submit'\n"),
        (["zzz"], "there is no command 'zzz': there are run, step, study, init"),
        (["audit", "verfy"], "there is no WHAT 'verfy': the nearest is 'verify'\n"),
        (["run", "--from", "trian"], "there is no --from 'trian': the nearest is 'train'\n"),
        (["run", "--frmo", "train"], "--frmo"),
        (["step", "trian"], "there is no NAME 'trian': the nearest is 'train'\n"),
        (["run", "--set", "raro.stpes=3"], "did you mean 'raro.steps'?"),
        (["run", "--set", "steps=3"], "did you mean 'warmstart.steps' or 'raro.steps'?"),
        (["run", "--set", "raro.steps=many"], "'raro.steps' must be a whole number, not 'many'"),
        (["run", "--set", "raro.steps=2.5"], "'raro.steps' must be a whole number"),
        (["run", "--set", f"raro.learning_rate={'9' * 400}"], "'raro.learning_rate' must be between 0 and 1"),
        (["run", "--set", "raro.steps=-1"], "'raro.steps' must be at least 1"),
        (["run", "--set", "rollout.engine=magic"], "must be one of slots, plain, vllm"),
        (["run", "--set", "raro"], "is not key=value"),
        (["run", "--set", "name=2024-13-45"], "--set name: its value is not valid YAML"),
        (["run", "--set", "name=0x_"], "--set name: its value is not valid YAML"),
        (["run", "--set", f"seed={'1' * 5000}"], "--set seed: its value is not valid YAML"),
        (["run", "--set", f"name={'[' * 1000}"], "--set name: its value is not valid YAML"),
        (["run", "nosuch"], "config 'nosuch' does not exist"),
        (["run", "no/such.yaml"], "'no/such.yaml' does not exist"),
        (["run", "--set", "base.uri=no-base"], "'no-base' does not exist\n"),
        (["run", "--set", "base.uri=Qwen/Qwen2.5-0.5B"], "a model of the Hub is hf://Qwen/Qwen2.5-0.5B@REVISION"),
        (["run", "--set", "base.uri=ftp://x"], "unknown scheme"),
        (["run", "--set", "demonstrations.source=no.jsonl"], "'no.jsonl' does not exist"),
        (["run", "--from", "train"], "no run of this configuration lies in 'runs/'"),
        (["run", "--tracking-uri", "gopher://x"], "is not a tracking server"),
        (["init", "--demonstrations", "no.jsonl", "--base", "package://countdown-mini"], "'no.jsonl' does not exist"),
        (["bench", "--rounds", "few"], "'few' is not a whole number of at least 1"),
        (["bench", "--rounds", "0"], "'0' is not a whole number of at least 1"),
        (["study", "--side-by-side", "0"], "'0' is not a whole number of at least 1"),
        (["gc", "--keep", "-1"], "'-1' is not a whole number of at least 0"),
        (["run", "--outptu", "here"], "see raro run --help"),
        (["run", "."], "config '.' is a folder"),
        (["run", ""], "the configuration's name is empty"),
        (["run", "--output", ""], "argument --output: it is empty; perhaps a variable"),
        (["step", "ingest", "--output", " "], "argument --output: it is empty"),
        (["study", "--output", ""], "argument --output: it is empty"),
        (["study", "--methods", ""], "argument --methods: it is empty"),
        (["study", "--table", ""], "argument --table: it is empty"),
        (["forget", "--pattern", ""], "argument --pattern: it is empty"),
        (["init", "--demonstrations", "", "--base", "b"], "argument --demonstrations: it is empty"),
        (["forget", "--row", "a.jsonl#1", "--runs", ""], "argument --runs: it is empty"),
        (["run", "--set", "raro="], "config section 'raro' must be a mapping"),
        (["run", "--from", "train", "--output", "nowhere"], "no run lies in 'nowhere'"),
        (["step", "train", "--output", "nowhere"], "continues a run, and there is none in 'nowhere'"),
        (["step", "evaluate"], "run `raro step ingest --output runs/"),
        (["submit", "--namespace", ""], "argument --namespace: it is empty"),
        (["run", "--tracking-uri", ""], "argument --tracking-uri: it is empty"),
        (["promote", "", "--approver", "Ada", "--reason", "fine"], "argument MODEL@ALIAS: it is empty"),
        (["rollback", "m", "--approver", "Ada", "--reason", "fine", "--to", ""], "argument --to: it is empty"),
        *(
            (["audit", "verify", option, ""], f"argument {option}: it is empty")
            for option in ("--run", "--tracking-uri", "--policy", "--anchor", "--root")
        ),
        (["schedule"], "required: apply|list|delete\n"),
        (["schedule", "delete"], "remedy: raro schedule delete NAME"),
        (["schedule", "list", "nightly"], "takes no names"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_with_a_remedy_and_writes_nothing(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["run"], ["step", "preflight"], ["submit", "--dry-run", "--endpoint", "http://127.0.0.1:1"]]
)
@pytest.mark.parametrize(
    "setting, said",
    [
        ("tracking.uri=http://user:hunter2@mlflow:5000", "tracking.uri holds a password"),
        ("tracking.uri=http://user:hun/ter2@mlflow:5000", "tracking.uri is no address"),
        ("tracking.uri=https://hunter2@mlflow", "tracking.uri holds a password"),
        ("tracking.uri=postgresql://mlflow:hunter2@db/mlflow", "tracking.uri holds a password"),
        ("tracking.uri=postgresql://mlflow@db/mlflow?password=hunter2", "tracking.uri holds a password"),
        ("judge.endpoint=http://user:hunter2@judge:8000/v1", "judge.endpoint holds a password"),
        ("judge.key=sk-hunter2", "judge.key is no reference"),
        ("judge.endpoint=http://judge:8000/v1?auth=hunter2", "judge.endpoint holds a query"),
        ("judge.endpoint=http://judge:8000/v1#hunter2", "judge.endpoint holds a query or a fragment"),
        ("base.uri=s3://key:hunter2@bucket/base", "base.uri holds a password"),
        ("demonstrations.source=s3://key:hunter2@bucket/rows", "demonstrations.source holds a password"),
        ("demonstrations.benchmarks=[s3://key:hunter2@bucket/rows]", "demonstrations.benchmarks[0] holds a password"),
        ("registry.store=s3://key:hunter2@bucket/store", "registry.store holds a password"),
        ("registry.signing_key=hunter2", "registry.signing_key is no reference"),
        ("registry.signing_key=env:-----BEGIN PRIVATE KEY-----hunter2", "registry.signing_key is no reference"),
        ("registry.signing_key='file:key.pem\n\nhunter2'", "registry.signing_key is no reference"),
        ("registry.signing_key=exec:vault read -token=hunter2 key", "registry.signing_key is no reference"),
        ("registry.signing_key=exec:vault read --auth-token hunter2 key", "registry.signing_key is no reference"),
        ("registry.signing_key=exec:env VAULT_TOKEN=hunter2 vault", "registry.signing_key is no reference"),
        ("registry.signing_key=exec:sign https://me:hunter2@kms/key", "registry.signing_key is no reference"),
        ("notify.webhook=https://hooks.example.org/hunter2", "notify.webhook is no reference"),
        ("notify.webhook=env:https://hooks.example.org/hunter2", "notify.webhook is no reference"),
    ],
)
def test_a_secret_in_a_setting_is_refused_before_it_is_recorded(arguments, setting, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = refused(capsys, *arguments, "--set", setting)
    assert said in told and "ter2" not in told and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "p11sign pkcs11:object=signing?pin-value=hunter2",
        "p11sign pkcs11:token=raro;pin-value=hunter2",
        "pkcs11-tool --login --pin hunter2",
        "pkcs11-tool --so-pin='hunter2'",
        "sign.sh -passin pass:hunter2",
        "sign.sh -passin  'pass:hunter2'",
        "jarsigner -storepass hunter2",
        "openssl-hook --passphrase hunter2",
        "curl-hook -H 'Authorization: Bearer hunter2'",
        "curl-hook --header=X-Vault-Token:\\ hunter2",
        "curl-hook -u ada:hunter2",
        "curl-hook -uada:hunter2",
        "curl-hook --user=ada:hunter2",
        "sh -c 'cd /run;TOKEN=hunter2 sign pkcs11:token=raro'",
        "env AWS_SECRET_ACCESS_KEY=hunter2 aws kms sign",
    ],
)
def test_a_signing_command_that_holds_a_secret_is_refused(command):
    with pytest.raises(BadInput, match="registry.signing_key is no reference") as told:
        parse({"registry": {"signing_key": f"exec:{command}"}})
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    "reference",
    [
        "env:RARO_KEY",
        "file:~/keys/pipeline.pem",
        "exec:hook",
        "exec:kms --key-id=alias/raro --token-file /run/token",
        "exec:/usr/bin/hsm-sign pkcs11:token=raro;object=signing",
        "exec:/usr/bin/hsm-sign 'pkcs11:object=signing;token=raro?pin-source=file:/run/secrets/pin'",
        "exec:pkcs11-tool --login --token-label raro --pin env:PIN",
        "exec:openssl pkeyutl -sign -inkey key.pem -passin file:/run/secrets/x",
        "exec:openssl pkeyutl -sign -inkey key.pem -passin env:NAME",
        "exec:jarsigner -storepass:env NAME",
        "exec:aws kms sign --key-id arn:aws:kms:eu-west-1:1234:key/my-key --profile raro",
        "exec:aws secretsmanager get-secret-value --secret-id arn:aws:secretsmanager:eu-west-1:1234:secret:raro-a1",
        "exec:vault kv get -field=password secret/raro",
        "exec:vault write transit/sign/my-key:3 -address=https://vault:8200",
        "exec:op read op://raro/signing/password",
        "exec:az keyvault key sign --vault-name raro --name signing",
        "exec:az account get-access-token --query accessToken",
        "exec:kubectl get secret raro-key -o jsonpath={.data.token}",
        "exec:sops exec-env secrets.yaml sign",
        "exec:env PASSWORD_FILE=/run/secrets/x sign",
        "exec:podman run -u 65532:65532 hook -u https://kms:8443",
    ],
)
def test_where_a_secret_stands_may_be_said(reference):
    assert parse({"registry": {"signing_key": reference}}).registry.signing_key == reference


WRONG = [b"name: 2024-13-45", b"a: " + b"[" * 1000, b"a: \xff", b"!!timestamp x", b"a: !!int ''"]


@pytest.mark.parametrize("content", WRONG)
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{file}"],
        ["study", "{file}"],
        ["compile", "--profile", "{file}", "--output", "p.yaml"],
        ["compile", "--release", "--images", "{file}", "--output", "p.yaml"],
        ["schedule", "apply", "--file", "{file}"],
    ],
    ids=" ".join,
)
def test_yaml_that_cannot_be_read_is_told_in_a_line(arguments, content, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_bytes(content)
    said = refused(capsys, *(word.format(file="wrong.yaml") for word in arguments))
    assert "'wrong.yaml' is not " in said and [path.name for path in tmp_path.iterdir()] == ["wrong.yaml"]


@pytest.mark.parametrize("content", WRONG)
def test_a_policy_that_cannot_be_read_is_told_in_a_line(content, tmp_path):
    (tmp_path / "policy.yaml").write_bytes(content)
    with pytest.raises(BadInput, match="policy.yaml' is not "):
        policy_of(None, str(tmp_path / "policy.yaml"))


def test_an_account_without_its_password_is_an_address(tmp_path):
    for uri in ("postgresql://mlflow@db:5432/mlflow?sslmode=require", f"sqlite:////{tmp_path}/a:b@c/mlflow.db"):
        assert parse({"tracking": {"uri": uri}}).tracking.uri == uri
    assert parse({"base": {"uri": "hf://org/name@main"}, "demonstrations": {"source": "s3://bucket/[a-c]*@2/**.jsonl"}})


@pytest.mark.parametrize(
    "lacking, said",
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no weights (*.safetensors)"),
        ("tokenizer.json", "has no tokenizer"),
        ("chat_template.jinja", "has no chat template"),
        ("pickle", "only as pytorch_model.bin, which can run code"),
    ],
)
def test_a_base_that_lacks_something(lacking, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base"
    base.mkdir()
    for file in fetch("package://countdown-mini").iterdir():
        if file.name != ("model.safetensors" if lacking == "pickle" else lacking):
            (base / file.name).symlink_to(file)
    if lacking == "pickle":
        (base / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert said in refused(capsys, "run", "--set", f"base.uri={base}", "--output", "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_base_with_a_file_that_holds_something_else(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = shutil.copytree(fetch("package://countdown-mini"), tmp_path / "base")
    (base / name).write_text("3")
    assert f"{name}' holds no JSON object" in refused(capsys, "run", "--set", f"base.uri={base}", "--output", "out")


def test_a_budget_that_leaves_no_room_for_the_prompt(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, "run", "--set", "rollout.critic_tokens=256", "--output", "out")
    assert "made for 256 positions" in said and "lower rollout.policy_tokens" in said and not (tmp_path / "out").exists()


def test_places_that_are_taken(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claim(load("countdown-mini", ["raro.steps=7", "seed=3"]), tmp_path / "other")
    said = refused(capsys, "run", "--output", "other", "--set", "raro.steps=9", "--set", "seed=3")
    assert "holds another run (raro.steps: 7, now 9)" in said
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "is not empty and holds no run" in refused(capsys, "run", "--output", "full")
    assert "is a file" in refused(capsys, "run", "--output", "full/notes.txt")
    (tmp_path / "other" / "config.json").write_text("{")
    assert "is not valid JSON" in refused(capsys, "run", "--output", "other", "--set", "seed=3")
    for text in ("[]", "3", '{"resources": []}'):
        (tmp_path / "other" / "config.json").write_text(text)
        assert "config.json' holds no configuration" in refused(capsys, "run", "countdown-mini", "--output", "other")
    (tmp_path / "other" / "config.json").write_text("[]")
    assert "is a mapping, not a list" in refused(capsys, "run", "--output", "other", "--set", "seed=3")


def test_too_little_disk_is_told_before_anything_is_written(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "FREE_GIB", 10.0**9)
    assert "GiB are free" in refused(capsys, "run", "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_two_at_once_in_one_folder(tmp_path, capsys):
    config = load("countdown-mini", ["seed=3"])
    with local.reserved(config, tmp_path / "run"):
        for arguments in (["run", "--set", "resources.batch_tokens=64"], ["step", "ingest"]):
            said = refused(capsys, *arguments, "--set", "seed=3", "--output", str(tmp_path / "run"))
            assert f"another raro is writing to '{tmp_path / 'run'}'" in said and f"`kill -- {os.getpid()}` on" in said
        assert (tmp_path / "run" / "config.json").read_text() == config.canonical() + "\n", "the first one's"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused(capsys, "step", "ingest", "--output", str(tmp_path / "full"))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"], "no lock in a folder that is no run's"


def test_debugging_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("RARO_DEBUG", "1")
    with pytest.raises(BadInput):
        cli.main(["run", "nosuch"])


# ---------------------------------------------------------------------------------------------------------- init, step, compile


def test_init_writes_what_run_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [json.loads(line) for line in fetch("package://countdown-mini.jsonl").read_text().splitlines()[:60]]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps({"prompt": r["question"], "response": r["answer"]}) + "\n" for r in rows))
    assert (
        cli.main(["init", "--demonstrations", "mine.jsonl", "--base", "package://countdown-mini", "--output", "own.yaml"]) == 0
    )
    assert "60 kept" in capsys.readouterr().out
    config = load("own.yaml")
    assert (config.demonstrations.question, config.demonstrations.answer) == ("prompt", "response")
    assert config.rollout.policy_tokens == config.rollout.critic_tokens == 128, "half of the base's 256 positions"
    assert config.demonstrations.source == str(data) and config.name == config.registry.model == "own"
    text = Path("own.yaml").read_text()
    uncommented = re.sub(r"^(\s*)# (?=\w+:)", r"\1", text, flags=re.MULTILINE)
    assert parse_yaml(uncommented) == config  # the comments are the defaults, and valid
    assert "exists already" in refused(
        capsys, "init", "--demonstrations", "mine.jsonl", "--base", "package://countdown-mini", "--output", "own.yaml"
    )
    assert "is no file's name" in refused(
        capsys, "init", "--demonstrations", "mine.jsonl", "--base", "package://countdown-mini", "--output", "folder/"
    )
    assert not Path("folder").exists()
    said = refused(
        capsys, "init", "--demonstrations", "mine.jsonl", "--base", "package://countdown-mini", "--question", "prmpt"
    )
    assert "no column 'prmpt'" in said and "did you mean 'prompt'?" in said
    data.write_text("".join(json.dumps({"prompt": r["question"], "response": ""}) + "\n" for r in rows))
    said = refused(capsys, "init", "--demonstrations", "mine.jsonl", "--base", "package://countdown-mini", "--output", "b.yaml")
    assert "60 of 60 rows are quarantined" in said and not Path("b.yaml").exists()


@pytest.mark.parametrize(
    "command",
    [
        "run --output {}",
        "run {}",
        "step train --output {}",
        "init --demonstrations qa.jsonl --base package://countdown-mini --output {}",
        "study --output {}",
        "study --table {}",
        "compile --output {}",
        "audit verify --run {}",
        "forget --row a#1 --runs {}",
    ],
)
def test_a_name_that_no_disk_takes_is_one_line(command, capsys):
    said = refused(capsys, *command.format("a" * 300).split())
    assert "aaa...' is too long for a name or a path on this disk" in said and "choose a shorter one" in said


def test_a_file_that_another_user_wrote_is_one_line(capsys):
    """A run is its owner's alone. Root may read anything: as root the test is somebody else for a moment."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        config = Path(place) / "config.json"
        config.touch(mode=0)
        me = os.geteuid()
        try:
            if me == 0:
                os.seteuid(65534)
            said = refused(capsys, "audit", "verify", "--run", place)
        finally:
            os.seteuid(me)
    assert said.startswith(f"raro: '{config}' may not be opened: Permission denied\n  remedy: ")


def parse_yaml(text: str):
    import yaml

    return parse(yaml.safe_load(text))


def test_a_step_alone_and_again(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert cli.main(["step", "ingest", "--output", run]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["outputs"]["verdict"] == "proceed" and first["run"] == run
    assert cli.main(["step", "ingest", "--output", run]) == 0  # the configuration is the run's own
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == first
    assert [e["kind"] for e in events.read(run)[0] if e["kind"] in ("start", "done", "skipped")] == ["start", "done", "skipped"]
    assert cli.main(["step", "train", "--output", run]) == 2
    out, err = capsys.readouterr()
    line = f"raro: step 'train' needs 'warmstart', which has not finished in '{run}'"
    assert out == "" and err.endswith(f"\n{line}\n  remedy: run `raro step warmstart --output {run}` first\n")
    assert read_json(Path(run) / "failure.json")["stage"] == "train"


def test_compiling(tmp_path, capsys):
    assert cli.main(["compile", "--output", str(tmp_path / "p.yaml")]) == 0
    assert "raro-retraining" in (tmp_path / "p.yaml").read_text()
    assert capsys.readouterr().out == f"{tmp_path / 'p.yaml'}\n"
    assert "a file stands where a folder should" in refused(capsys, "compile", "--output", str(tmp_path / "p.yaml" / "q.yaml"))
    for folder in (str(tmp_path), "."):
        assert f"'{folder}' is a folder" in refused(capsys, "compile", "--output", folder)
    assert "no such file or directory" in refused(capsys, "compile", "--output", "/proc/nowhere/p.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["p.yaml"]


def test_compiling_into_a_link_or_a_pipe_leaves_it_what_it_is(tmp_path, capsys):
    file, link, pipe = (tmp_path / name for name in ("p.yaml", "link.yaml", "pipe"))
    file.touch()
    link.symlink_to(file)
    assert cli.main(["compile", "--output", str(link)]) == 0
    assert link.is_symlink() and "raro-retraining" in file.read_text() and capsys.readouterr().out == f"{link}\n"
    os.mkfifo(pipe)
    with subprocess.Popen(["head", "-1", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert cli.main(["compile", "--output", str(pipe)]) == 0
        assert reader.stdout.read() == file.read_text().splitlines(keepends=True)[0]
    assert pipe.is_fifo() and capsys.readouterr().out == ""
    with pytest.raises(BadInput, match="cannot write '/dev/fd/99': No such file or directory"):
        commands._write("/dev/fd/99", "")


# ------------------------------------------------------------------------------------------------------------- the harness


@pytest.fixture
def config():
    return load("countdown-mini")


def make(name: str, config, run: Path, text: str = "x", reads: str = "", **settings) -> Step:
    """A small step that writes one file."""
    with Step(name, config, run, **settings) as step:
        if not step.skipped:
            if reads:
                text += (step.input(reads) / "file").read_text()
            (step.folder / "file").write_text(text)
            step.outputs["length"] = len(text)
    return step


def test_a_finished_step_is_whole_and_not_done_again(config, tmp_path):
    make("ingest", config, tmp_path)
    later = make("warmstart", config, tmp_path, "y", reads="ingest")
    body = read_json(tmp_path / "warmstart" / "manifest.json")
    assert body["inputs"] == {"ingest": finished(tmp_path, "ingest", config.identity)["root"]}
    assert body["status"] == "done" and [f["path"] for f in body["files"]] == ["file"] and not later.skipped
    again = make("warmstart", config, tmp_path, "y", reads="ingest")
    assert again.skipped and again.outputs == {"length": 2}
    assert not list(tmp_path.glob(".*.partial"))


def test_a_run_goes_on_with_other_memory_until_it_is_decided(config, tmp_path):
    """What a run is known by leaves out what changes rounding alone; what is recorded of it does not."""
    make("ingest", config, tmp_path)
    less = parse({**json.loads(config.canonical()), "resources": {**asdict(config.resources), "batch_tokens": 64}})
    assert less.identity == config.identity and less.digest != config.digest
    assert make("ingest", less, tmp_path).skipped and read_json(tmp_path / "config.json") == json.loads(less.canonical())
    (note,) = [e for e in events.read(tmp_path)[0] if e["kind"] == "note"]
    assert f"resources.batch_tokens: {config.resources.batch_tokens}, now 64" in note["text"] and note["level"] == "warning"
    more = parse({**json.loads(config.canonical()), "resources": {**asdict(config.resources), "processes": 4}})
    with pytest.raises(BadInput, match="resources.processes: .* now 4"):
        make("ingest", more, tmp_path)
    make("register", less, tmp_path)
    with pytest.raises(BadInput, match="resources.batch_tokens: 64, now"):
        make("ingest", config, tmp_path)


def test_a_run_goes_on_with_a_mended_registry_until_it_is_registered(config, tmp_path):
    """Where a result goes changes nothing that is trained: it is recorded, and nothing is done again but the decision, whose
    evidence holds it. What a registration is refused for can be mended."""
    plain = json.loads(config.canonical())
    make("train", config, tmp_path)
    told = {
        "registry": {"policy": "p.yaml", "store": "s3://b", "approvals": 2},
        "tracking": {"uri": "http://x"},
        "notify": {"when": "failure"},
    }
    mended = parse({**plain, **{section: plain[section] | settings for section, settings in told.items()}})
    assert mended.identity == config.identity and mended.digest != config.digest
    assert make("train", mended, tmp_path).skipped and read_json(tmp_path / "config.json") == json.loads(mended.canonical())
    (note,) = [e for e in events.read(tmp_path)[0] if e["kind"] == "note" and "other settings" in e["text"]]
    assert 'registry.policy: "", now "p.yaml"' in note["text"] and "rounding" not in note["text"]
    other = parse({**plain, "registry": plain["registry"] | {"model": "other"}})
    with pytest.raises(BadInput, match="holds another run .registry.model: "):
        make("train", other, tmp_path)
    make("decide", config, tmp_path)
    assert make("train", mended, tmp_path).skipped and not (tmp_path / "decide").exists()
    make("decide", mended, tmp_path)
    make("register", mended, tmp_path)
    with pytest.raises(BadInput, match="holds another run .*registry.policy: .*p.yaml"):
        make("register", config, tmp_path)
    assert (tmp_path / "decide").exists()


def test_a_changed_input_makes_the_later_steps_stale(config, tmp_path):
    make("ingest", config, tmp_path, given=lambda: {"sources": "1"})
    make("warmstart", config, tmp_path, reads="ingest")
    make("train", config, tmp_path, reads="warmstart")
    assert make("ingest", config, tmp_path, given=lambda: {"sources": "1"}).skipped
    assert not make("ingest", config, tmp_path, "z", given=lambda: {"sources": "2"}).skipped
    assert finished(tmp_path, "train", config.identity) is None
    with pytest.raises(BadInput, match="step 'train' needs 'warmstart'"):
        make("train", config, tmp_path, reads="warmstart")


def test_damage_is_seen(config, tmp_path):
    make("ingest", config, tmp_path)
    (tmp_path / "ingest" / "file").write_text("tampered")
    with pytest.raises(GateRefused, match="file' has 8 bytes, its manifest says 1"):
        make("warmstart", config, tmp_path, reads="ingest")
    assert not make("ingest", config, tmp_path).skipped
    assert make("warmstart", config, tmp_path, reads="ingest").outputs == {"length": 2}


def test_a_failing_step_leaves_its_reason_and_nothing_else(config, tmp_path):
    make("ingest", config, tmp_path, "good")
    with pytest.raises(BadInput), Step("warmstart", config, tmp_path) as step:
        (step.folder / "half").write_text("...")
        raise BadInput("line 3 is wrong", "mend it")
    failure = read_json(tmp_path / "failure.json")
    assert failure["stage"] == "warmstart" and (failure["code"], failure["permanent"]) == (2, True)
    assert (failure["line"], failure["remedy"], failure["class"]) == ("line 3 is wrong", "mend it", "BadInput")
    assert not (tmp_path / "warmstart").exists() and not list(tmp_path.glob(".*.partial"))
    assert events.read(tmp_path)[0][-1]["failure"] == failure
    make("warmstart", config, tmp_path)
    assert not (tmp_path / "failure.json").exists()


def test_a_fault_of_ours_and_a_full_disk_are_told_apart(config, tmp_path):
    with pytest.raises(ZeroDivisionError), Step("train", config, tmp_path):
        print(1 / 0)
    failure = read_json(tmp_path / "failure.json")
    assert failure["code"] == 1 and failure["line"] == "ZeroDivisionError: division by zero"
    with pytest.raises(ValueError), Step("train", config, tmp_path):
        raise ValueError("\x1b]0;not the terminal's\a, from http://user:hunter2@host/")
    assert read_json(tmp_path / "failure.json")["line"] == r"ValueError: \x1b]0;not the terminal's\x07, from http://...@host/"
    with pytest.raises(ServiceFailed, match="no space left"), Step("train", config, tmp_path):
        Path("/dev/full").write_text("x")
    assert read_json(tmp_path / "failure.json")["code"] == 4


def test_a_scheduler_s_retry_stops_at_a_permanent_failure(config, tmp_path, monkeypatch):
    lost = parse({**json.loads(config.canonical()), "demonstrations": {"source": str(tmp_path / "no.jsonl")}})
    run = tmp_path / "run"
    with pytest.raises(BadInput):
        run_step("ingest", lost, run)
    (tmp_path / "no.jsonl").write_text("")  # mended or not: a retry does not look
    with pytest.raises(BadInput, match="does not exist"):
        run_step("ingest", lost, run, retry=True)
    with pytest.raises(BadInput, match="holds no rows|is empty|no JSON"):
        run_step("ingest", lost, run)


@contextmanager
def at_work(run: Path) -> Iterator[subprocess.Popen]:
    """A step that another process is at work on."""
    program = f"""
import time
from raro.config import load
from raro.steps.harness import Step
with Step("train", load("countdown-mini"), {str(run)!r}) as step:
    (step.folder / "half").write_text("...")
    print("ready", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


STOPS = [(signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGINT, 130), (signal.SIGKILL, None)]


@pytest.mark.parametrize("number, code", STOPS)
def test_signals(number, code, config, tmp_path):
    """A step that is told to stop says so; one that is killed leaves no folder that could be taken for whole."""
    with at_work(tmp_path) as process:
        process.send_signal(number)
        process.wait(20)
    assert finished(tmp_path, "train", config.identity) is None and not (tmp_path / "train").exists()
    assert (read_json(tmp_path / "failure.json")["code"] if code else None) == code
    assert outcomes(Stages().take(events.read(tmp_path)[0]))["train"]["state"] == ("failed" if code else "lost")
    make("train", config, tmp_path)
    assert finished(tmp_path, "train", config.identity)


def test_nohup_stays_in_force(config, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Step("train", config, tmp_path):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN and finished(tmp_path, "train", config.identity)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_one_step_at_a_time_writes_into_a_run(config, tmp_path, monkeypatch):
    """A retry beside a pod that is not gone yet: it touches nothing, waits, and goes on as soon as the other has ended."""
    monkeypatch.setattr(alone, "POLL", 0.05)
    monkeypatch.setattr(alone, "PATIENCE", 0.2)
    with at_work(tmp_path) as process:
        with pytest.raises(ServiceFailed, match=f"another step is at work in '{tmp_path}'") as busy:
            make("train", config, tmp_path)
        assert f"`kill -- {process.pid}` on" in busy.value.remedy
        with monkeypatch.context() as pod, pytest.raises(ServiceFailed) as second:  # `raro submit --resume` sent twice
            pod.setenv("KFP_POD_NAME", "retraining-train-2")
            make("train", config, tmp_path)
        assert f"stop it (`kubectl delete pod {socket.gethostname()}`)" in second.value.remedy
        assert (tmp_path / ".train.partial" / "half").exists() and not (tmp_path / "failure.json").exists()
        assert "waiting for another step" in events.read(tmp_path)[0][-1]["text"]
        with pytest.raises(BadInput, match="another raro is writing to"), local.reserved(config, tmp_path):
            pass
        monkeypatch.setattr(alone, "PATIENCE", 60)
        threading.Timer(0.3, process.kill).start()
        make("train", config, tmp_path)
    assert finished(tmp_path, "train", config.identity)


def test_a_pod_signs_with_its_own_name(tmp_path, monkeypatch):
    monkeypatch.setenv("KFP_POD_NAME", f"retraining-{'x' * 60}-train-1")  # longer than a host's name may be
    with alone.at_work(tmp_path, "train"):
        assert alone.holder(tmp_path / alone.STEP) == f" (`kubectl delete pod retraining-{'x' * 60}-train-1`)"


def test_every_step_has_a_module():
    for name in TITLES:
        assert (Path(harness.__file__).parent / f"{name}.py").is_file()


def test_discarding_takes_the_later_steps_and_the_checkpoints(config, tmp_path):
    for name in ("ingest", "warmstart", "train", "evaluate"):
        make(name, config, tmp_path)
    (tmp_path / "checkpoints" / "step-000001").mkdir(parents=True)
    for name in ("evaluation.json", "report.html"):
        (tmp_path / name).touch()
    local.discard(tmp_path, "register")
    assert (tmp_path / "evaluation.json").exists(), "a decision that stands does not write it again, and an audit reads it"
    assert not (tmp_path / "report.html").exists()
    local.discard(tmp_path, "evaluate")
    assert not (tmp_path / "evaluation.json").exists()
    assert (tmp_path / "train").exists() and (tmp_path / "checkpoints").exists() and not (tmp_path / "evaluate").exists()
    local.discard(tmp_path, "warmstart")
    left = {path.name for path in tmp_path.iterdir()}  # and what tracking keeps, where it was on
    assert {"config.json", "events.jsonl", "ingest"} <= left and not {"warmstart", "train", "evaluate", "checkpoints"} & left


def test_folders_of_runs(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = local.fresh(config)
    assert re.fullmatch(rf"runs/\d{{8}}T\d{{6}}Z-{config.digest[:8]}", str(first))
    claim(config, first)
    assert local.newest(config) == first == local.place(config, None, "train")
    assert local.fresh(config) != first
    assert os.fspath(local.place(config, "here", None)) == "here"
