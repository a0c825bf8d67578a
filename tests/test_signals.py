"""Blind signals against the truth, and guards replayed over events: known correlations, known alarms, clear refusals."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from test_report import Reader

from raro.config import load
from raro.steps.claim import CONFIG
from raro.storage import write_json
from raro.study import alarms, curves, gallery, signals, snapshots, table
from raro.tracking.events import Events


def test_rank_correlation_is_spearmans_ties_included():
    assert signals.spearman([1, 2, 3, 4], [10, 20, 30, 31]) == pytest.approx(1)
    assert signals.spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert signals.spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1])
    assert signals.spearman([1, 1, 1], [1, 2, 3]) is None


def study(folder, seeds=3, steps=(10, 20, 30, 40, 50)):
    """Committed files of a study in which the frozen critics know the truth, and the tie share says nothing."""
    rng = np.random.default_rng(0)
    training, curves, lines = [], {}, []
    for seed in range(seeds):
        truth = {step: 0.1 + step / 100 - (0.2 if step == 50 else 0.0) for step in steps}
        rates = [[truth[s] + 0.05, truth[s], truth[s] + 0.1] for s in steps]
        training.append({"seed": seed, "selection": {"steps": list(steps), "win_rates": rates, "chosen": 40 if seed else 30}})
        noise = [[s, float(rng.random())] for s in range(5, 51, 5)]
        curves[str(seed)] = {"critic/tie": noise, "policy/tokens": [[s, 100 - s] for s in range(5, 51, 5)]}
        lines.append({"run": f"seed-{seed}", "accuracy": truth, "chosen": 40, "cost": 0.0})
    (folder / "t.json").write_text(json.dumps({"training": {"raro": training}}))
    (folder / "t-curves.json").write_text(json.dumps({"raro": curves}))
    (folder / "t-selection.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"mean": 1}]))
    return folder / "t"


def test_the_signal_that_knows_tracks_and_the_cost_is_counted(tmp_path):
    found = signals.write(study(tmp_path))
    assert found["signals"][signals.WORST]["correlation"] == pytest.approx(1)
    assert found["signals"][signals.STEP]["correlation"] < 0.9
    assert found["signals"]["length of a rollout"]["correlation"] == pytest.approx(
        -found["signals"][signals.STEP]["correlation"]
    )
    assert abs(found["signals"]["share of ties"]["correlation"]) < 0.9
    low, high = (found["signals"]["share of ties"][key] for key in ("low", "high"))
    assert low < found["signals"]["share of ties"]["correlation"] < high
    assert found["cost_of_selection"] == pytest.approx({"seed-0": 0.1, "seed-1": 0.0, "seed-2": 0.0})
    assert json.loads((tmp_path / "t-signals.json").read_text())["arm"] == "raro"
    assert "Selection cost 3.3 points, 10.0 at most." in signals.markdown(found)


def test_what_is_missing_is_named(tmp_path, capsys):
    assert signals.main([str(tmp_path / "none")]) == 2 and "none.json" in capsys.readouterr().err
    table = study(tmp_path)
    assert signals.main([str(table), "rlvr"]) == 2 and "arm 'rlvr'" in capsys.readouterr().err
    assert signals.main([]) == 2
    assert alarms.main([str(tmp_path)]) == 2 and "holds no run" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        alarms.main([])


def test_guards_are_replayed_over_a_runs_events(tmp_path, capsys):
    events = Events(tmp_path, "train")
    for step in range(1, 13):
        looked = {"dev/sampled": 0.3 if step <= 8 else 0.05} if step % 4 == 0 else {}
        events.metrics(step, {"critic/tie": min(1.0, 0.09 * step)} | looked)
    found = alarms.replayed(tmp_path)
    assert [(a["guard"], a["step"], a["since"]) for a in found["alarms"]] == [("tie", 8, 6)] and found["truth_then"] == 1.0
    assert alarms.main([str(tmp_path)]) == 0 and json.loads(capsys.readouterr().out)["steps"] == 12


def test_the_truth_at_an_alarm_is_a_mean_of_looks(tmp_path, capsys):
    events = Events(tmp_path, "train")
    for step, truth in enumerate((0.2, 0.4, 0.3, 0.3, 0.2, 0.1, 0.5), 1):
        events.metrics(step, {"critic/tie": 0.9 if step >= 4 else 0.1, "dev/sampled": truth})
    told = {}
    for looks in (1, 3, 9):
        assert alarms.main([str(tmp_path), "--looks", str(looks)]) == 0
        told[looks] = json.loads(capsys.readouterr().out)
    assert [a["step"] for a in told[1]["alarms"]] == [5]
    assert told[1]["truth_then"] == pytest.approx(0.2 / 0.4)
    assert told[3]["truth_then"] == pytest.approx((0.3 + 0.3 + 0.2) / (0.4 + 0.3 + 0.3))
    assert told[9]["truth_then"] is None


def test_the_gallery_says_what_was_changed_where_a_guard_spoke_and_draws_it(tmp_path):
    run = tmp_path / "too-fast" / "seed-0"
    run.mkdir(parents=True)
    (run / "config.json").write_text(load("countdown-mini", ["raro.learning_rate=5e-3"]).canonical())
    told = Events(run, "train")
    for step in range(1, 41):
        values = {"critic/kl": 0.0 if step < 11 else 0.9, "critic/tie": 0.3, "critic/accuracy": 0.6, "policy/reward": 0.4}
        told.metrics(step, values | ({"dev/sampled": 0.4 - step / 200} if step % 10 == 0 else {}))
    assert gallery.main([str(tmp_path / "out"), str(run)]) == 0
    assert Reader((tmp_path / "out.html").read_text()).level == 3
    found = json.loads((tmp_path / "out.json").read_text())["runs"]["too-fast"]
    assert found["changed"] == ["raro.learning_rate: 0.005 (0.0005)"]
    assert [(a["guard"], a["step"]) for a in found["alarms"]] == [("drift", 12)] and found["truth_then"] == 1
    assert found["curves"]["dev/sampled"] == [[step, round(0.4 - step / 200, 4)] for step in (10, 20, 30, 40)]
    page = (tmp_path / "out.html").read_text()
    assert "<h2>too-fast</h2>" in page and page.count("<svg") == 4 and "Step 12, <b>drift</b>" in page and "100&nbsp;%" in page
    assert '<a href="#too-fast">too-fast</a></th><td>drift</td>' in page and '<section id="too-fast">' in page
    other = tmp_path / "slower" / "seed-1"
    other.mkdir(parents=True)
    (other / "config.json").write_text(load("countdown-mini", ["raro.learning_rate=1e-4", "seed=1"]).canonical())
    Events(other, "train").metrics(1, {"critic/kl": 0.0})
    assert gallery.main([str(tmp_path / "out"), str(other)]) == 0
    kept = json.loads((tmp_path / "out.json").read_text())["runs"]
    assert kept["too-fast"] == found and list(kept) == ["too-fast", "slower, seed 1"]
    told = (tmp_path / "out.html").read_text()
    (tmp_path / "out.html").unlink()
    assert gallery.main([str(tmp_path / "out")]) == 0 and (tmp_path / "out.html").read_text() == told
    for naming in (r'aria-label="([^"]+)"', r' id="([^"]+)"'):
        found = re.findall(naming, told)
        assert len(found) == len(set(found)) > 4
    assert gallery.main([str(tmp_path / "none")]) == 2 and gallery.main([]) == 2


def test_a_fall_is_drawn_at_its_step_and_entropy_where_its_guard_spoke():
    steps = [*range(1, 26), *range(30, 61, 5)]
    curves = {"critic/kl": [[step, 0.0 if step < 40 else 1.0] for step in steps], "policy/entropy": [[1, 0.5], [9, 0.1]]}
    alarm = {"guard": "entropy", "step": 40, "why": "low"}
    runs = {"a": {"changed": [], "alarms": [], "truth_then": None, "curves": curves}}
    runs["b"] = runs["a"] | {"alarms": [alarm]}
    calm, alarmed = gallery.shown(runs)
    assert [panel["title"] for panel in calm["panels"]] == ["KL to the warm start, nats a token"]
    assert [panel["title"] for panel in alarmed["panels"]] == ["KL to the warm start, nats a token", gallery.ENTROPY]
    drawn = re.search(r'<path d="([^"]+)"[^>]*stroke: var\(--critic\)', calm["panels"][0]["chart"])[1]
    heights = {float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", drawn)}
    assert len(heights) == 2, "as it was, or as it fell: no mean of both"


def test_what_the_guards_said_and_saw_is_committed_with_a_study(tmp_path):
    told = {"steps": 12, "tokens": 1, "gate_opened": 3, "selected_step": 12, "selection": None, "stopped_by_guard": None}
    alarm = {"guard": "chance", "step": 12, "since": 1, "why": "", "action": "warn"}
    write_json(tmp_path / "train" / "train.json", told | {"alarms": [alarm], "seconds": 9.0})
    pen = Events(tmp_path, "train")
    for step in range(1, 13):
        look = {"health/accuracy": 0.9, "game/retest": 0.8, "game/retested": 20.0} if step in (1, 7, 12) else {}
        pen.metrics(step, {"critic/tie": 0.1} | look)
    job = SimpleNamespace(seed=2, folder=tmp_path)
    assert table._training(job) == told | {"seed": 2, "alarms": [alarm]}
    found = curves.of(tmp_path)
    assert found["health/accuracy"] == [[1, 0.9], [7, 0.9], [12, 0.9]] and found["critic/tie"] == [[5, 0.1], [10, 0.1]]
    assert [step for step, _ in found["game/retest"]] == [step for step, _ in found["game/retested"]] == [1, 7, 12]


def test_a_run_that_chose_among_no_snapshots_is_one_clear_line(tmp_path, capsys):
    run = tmp_path / "seed-0"
    (run / "train").mkdir(parents=True)
    (run / CONFIG).write_text(load("countdown-mini", ["raro.snapshots=0"]).canonical(), encoding="utf-8")
    write_json(run / "train" / "train.json", {"selected_step": 120, "selection": None})
    assert snapshots.main([str(run)]) == 2
    told = capsys.readouterr()
    assert "chose among no snapshots" in told.err and "remedy" in told.err and not told.out
