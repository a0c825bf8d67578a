"""Preflight as a task: what it writes out for all the others, and how it refuses."""

import json
import shutil

import pytest

from raro.storage import digest_text, read_json


def test_it_writes_the_configuration_out_and_hands_its_manifest_on(before):
    begun = before("finish").next_run()
    shutil.rmtree(begun.folder)
    begun.task("preflight")
    handed = read_json(begun.handed["manifest"].path)
    assert handed == read_json(begun.folder / "preflight" / "manifest.json")
    assert begun.handed["manifest"].metadata["root"] == handed["root"]
    written = (begun.folder / "config.json").read_text(encoding="utf-8")
    assert digest_text(written.strip()) == begun.handed["manifest"].metadata["config_digest"]


def test_an_unknown_key_ends_the_task_with_2_and_one_line(before, capsys):
    begun = before("preflight")
    wrong = json.loads(begun.config)
    wrong["raro"]["stepz"] = 1
    with pytest.raises(SystemExit) as ended:
        begun.task("preflight", config=json.dumps(wrong))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "stepz" in said and "Traceback" not in said
