"""Checkpoints: against an uninterrupted run, a process killed while it writes, and a disk that loses what it was given."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from test_learning import learner, samples

from raro.errors import BadInput
from raro.learning import checkpoints
from raro.learning.losses import on_policy
from raro.learning.update import Stream


def test_resume_is_exact(blank, tmp_path):
    batches = [samples("a", 4, seed=s) for s in range(6)]
    whole = learner(blank, norm=1.0)
    for batch in batches:
        whole.update(batch, {"a": Stream()}, on_policy, 1e-3)
    first = learner(blank, norm=1.0)
    for batch in batches[:3]:
        first.update(batch, {"a": Stream()}, on_policy, 1e-3)
    checkpoints.save(tmp_path, 3, first.model, first.optimiser, {"x": 1}, {"config": "c"}, keep=2)
    second = learner(blank, norm=1.0)
    found = checkpoints.newest(tmp_path, {"config": "c"})
    checkpoints.restore(found, second.model, second.optimiser)
    assert (found.step, found.state) == (3, {"x": 1})
    for batch in batches[3:]:
        second.update(batch, {"a": Stream()}, on_policy, 1e-3)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


def test_checkpoints_are_whole_kept_few_and_never_another_runs(blank, tmp_path):
    ours = learner(blank)
    ours.update(samples("a"), {"a": Stream()}, on_policy, 1e-3)
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, ours.model, ours.optimiser, {}, {"config": "c"}, keep=2)
    (tmp_path / ".step-000004.partial").mkdir()
    (tmp_path / "step-000005").mkdir()
    assert [p.name for p in checkpoints.existing(tmp_path)] == ["step-000002", "step-000003"]
    assert checkpoints.newest(tmp_path, {"config": "c"}).step == 3
    with pytest.raises(BadInput, match="another config"):
        checkpoints.newest(tmp_path, {"config": "d"})
    assert checkpoints.newest(tmp_path / "none", {}) is None
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]


def test_a_checkpoint_that_is_written_again_is_never_missing(blank, tmp_path, monkeypatch):
    """Killed before the new one has its name, after that, and while an old one is deleted."""
    ours = learner(blank)
    names = lambda: sorted(path.name for path in tmp_path.iterdir())  # noqa: E731
    newest = lambda: checkpoints.newest(tmp_path, {})  # noqa: E731

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def save(step: int, x: int, *place: object) -> None:
        with monkeypatch.context() as patched:
            if place:
                patched.setattr(*place)
            with pytest.raises(KeyboardInterrupt) if place else contextlib.nullcontext():
                checkpoints.save(tmp_path, step, ours.model, ours.optimiser, {"x": x}, {}, keep=2)

    save(1, 0), save(2, 1)
    rename = os.rename
    save(2, 2, os, "rename", lambda path, to: killed() if Path(path).suffix == ".partial" else rename(path, to))
    assert (newest().step, newest().state) == (2, {"x": 1})
    save(2, 3)
    assert newest().state == {"x": 3} and names() == ["step-000001", "step-000002"]
    save(2, 4, checkpoints, "remove", killed)
    assert newest().state == {"x": 4} and len(checkpoints.existing(tmp_path)) == 2 < len(names())
    save(3, 5, shutil, "rmtree", killed)
    assert [checkpoints.step_of(path) for path in checkpoints.existing(tmp_path)] == [2, 3]
    save(4, 6)
    assert names() == ["step-000003", "step-000004"]


def test_what_is_renamed_is_on_the_disk(blank, tmp_path, monkeypatch):
    """A rename may outlive a lost node without what it names."""
    ours, flushed, missed = learner(blank), set(), []
    sync, rename = os.fsync, os.rename

    def synced(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        sync(handle)

    def renamed(path: str | Path, to: str | Path) -> None:
        named = [Path(path), *Path(path).rglob("*")]
        missed.extend(one.name for one in named if one.stat().st_ino not in flushed)
        rename(path, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    checkpoints.save_weights(tmp_path, 1, ours.model)
    for _ in range(2):
        checkpoints.save(tmp_path, 1, ours.model, ours.optimiser, {}, {}, keep=2)
    assert not missed and tmp_path.stat().st_ino in flushed
    assert {path.name for path in tmp_path.iterdir()} == {"step-000001", "weights-000001.safetensors"}


def changed(file: Path) -> None:
    """One bit of it, where no header tells."""
    content = bytearray(file.read_bytes())
    content[content.index(b"9, 10") if file.suffix == ".json" else -len(content) // 4] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(("name", "harm"), [
    *((name, changed) for name in ("weights.safetensors", "optimiser.safetensors", "state.json")),
    ("optimiser.safetensors", Path.unlink),
])  # fmt: skip
def test_a_checkpoint_that_is_not_what_was_written_is_passed_over(blank, tmp_path, name, harm):
    """Its header can be read, and no library would notice: training would go on from something else, and none would know. It
    takes no place from those that are written then, either."""
    ours, told = learner(blank), []
    ours.update(samples("a"), {"a": Stream()}, on_policy, 1e-3)
    parts = ours.model, ours.optimiser, {"x": list(range(99))}, {}
    for step in (1, 2, 4):
        checkpoints.save(tmp_path, step, *parts, keep=3)
    harm(tmp_path / "step-000004" / name)
    found = checkpoints.newest(tmp_path, {}, told.append)
    assert (found.step, told) == (2, [f"checkpoint 'step-000004' is not what was written ({name}), and is passed over"])
    assert checkpoints.newest(tmp_path, {}, told.append, before=2).step == 1 and len(told) == 1
    checkpoints.save(tmp_path, 3, *parts, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]


def test_one_that_stood_aside_counts_where_its_successor_is_not_what_was_written(blank, tmp_path):
    ours = learner(blank)
    for step in (1, 2):
        checkpoints.save(tmp_path, step, ours.model, ours.optimiser, {}, {}, keep=2)
    shutil.copytree(tmp_path / "step-000002", tmp_path / "step-000002.old")
    changed(tmp_path / "step-000002" / "weights.safetensors")
    assert checkpoints.newest(tmp_path, {}).folder.name == "step-000002.old"


def test_what_somebody_keeps_beside_checkpoints_is_left_alone(blank, tmp_path):
    ours = learner(blank)
    checkpoints.save(tmp_path, 1, ours.model, ours.optimiser, {}, {}, keep=1)
    shutil.copytree(tmp_path / "step-000001", tmp_path / "step-000001-copy")
    (tmp_path / "step-000001.tar.gz").write_bytes(b"")
    checkpoints.save(tmp_path, 2, ours.model, ours.optimiser, {}, {}, keep=1)
    assert checkpoints.newest(tmp_path, {}).step == 2
    assert {path.name for path in tmp_path.iterdir()} == {"step-000002", "step-000001-copy", "step-000001.tar.gz"}


def test_what_is_left_of_steps_that_are_made_again_goes(blank, tmp_path):
    ours = learner(blank)
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, ours.model, ours.optimiser, {}, {}, keep=9)
        checkpoints.save_weights(tmp_path, step, ours.model)
    (tmp_path / "step-000001" / "state.json").write_text("null")  # readable, and no state
    assert [path.name for path in checkpoints.existing(tmp_path)] == ["step-000002", "step-000003"]
    checkpoints.undo(tmp_path, 2)
    assert checkpoints.newest(tmp_path, {}).step == 2 and [step for step, _ in checkpoints.snapshots(tmp_path)] == [1, 2]
    assert checkpoints.newest(tmp_path, {}, before=2) is None


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("left", [0, 90, None], ids=["nothing", "a beginning", "zeros"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(blank, tmp_path, name, left):
    """As a lost node may leave it; the next one that is written takes its place, and counts among those that are kept."""
    ours, told = learner(blank), []
    ours.update(samples("a"), {"a": Stream()}, on_policy, 1e-3)
    parts = ours.model, ours.optimiser, {"x": list(range(99))}, {"config": "c"}
    for step in (1, 2, 4):
        checkpoints.save(tmp_path, step, *parts, keep=3)
    file = tmp_path / "step-000004" / name
    whole = file.read_bytes()
    file.write_bytes(bytes(len(whole)) if left is None else whole[:left])
    found = checkpoints.newest(tmp_path, {"config": "c"}, told.append)
    assert found.step == 2 and told == ["checkpoint 'step-000004' cannot be read, and is passed over"]
    checkpoints.restore(found, ours.model, ours.optimiser)
    checkpoints.save(tmp_path, 3, *parts, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000003"]
    for step in (2, 3):
        (tmp_path / f"step-{step:06d}" / name).write_bytes(b"")
    assert checkpoints.newest(tmp_path, {"config": "c"}, told.append) is None and len(told) == 3
