"""Train as a task: the game is played, and a task that Kubeflow starts again goes on from what there is."""

import json
import shutil

import pytest

from raro.storage import read_json
from raro.tracking import events


def test_it_plays_all_steps_and_is_not_played_twice(before):
    begun = before("train")
    begun.task("train")
    assert begun.handed["manifest"].metadata["steps"] == 2
    trained = read_json(begun.folder / "train" / "train.json")
    assert trained["steps"] == 2 and trained["tokens"] > 0
    root, seen = begun.handed["manifest"].metadata["root"], len(events.read(begun.folder)[0])
    begun.task("train")
    assert begun.handed["manifest"].metadata["root"] == root
    (last,) = (event for event in events.read(begun.folder)[0][seen:] if event["stage"] == "train")
    assert last["kind"] == "skipped"


def test_a_task_that_was_killed_at_its_end_plays_nothing_again(before):
    begun = before("train")
    begun.task("train")
    weights = (begun.folder / "train" / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(begun.folder / "train")  # its checkpoints lie elsewhere
    seen = len(events.read(begun.folder)[0])
    begun.task("train")
    assert (begun.folder / "train" / "model" / "model.safetensors").read_bytes() == weights
    again = [event for event in events.read(begun.folder)[0][seen:] if event["stage"] == "train"]
    assert any("resumed from checkpoint" in event.get("text", "") for event in again)
    assert not any(event["kind"] == "metrics" for event in again)


def test_a_permanent_failure_of_its_own_stops_a_retry_at_once(before, capsys):
    begun = before("train")
    failure = {"stage": "train", "code": 2, "class": "BadInput", "line": "nothing to learn", "remedy": "bring more"}
    digest = read_json(begun.folder / "warmstart" / "manifest.json")["config_digest"]
    failure |= {"permanent": True, "config_digest": digest, "time": 0.0, "last_checkpoint": None}
    (begun.folder / "failure.json").write_text(json.dumps(failure), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        begun.task("train")
    assert ended.value.code == 2 and "nothing to learn" in capsys.readouterr().err
    assert not (begun.folder / "train").exists()
