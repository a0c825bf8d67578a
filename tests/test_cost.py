"""What a run cost: every try counts, what was held is what is paid for, and MLflow and the report say the same."""

from __future__ import annotations

import pytest
from made_run import make
from test_tracking import finish, play, settings, tree

from raro.config import parse
from raro.report import cost, page
from raro.steps.held import held
from raro.storage import write_json
from raro.tracking import events, runs, server

PRICES = {"resources": {"gpu_hour_price": 3.0, "cpu_hour_price": 0.05, "currency": "USD"}}


def happened(*told: tuple) -> list[dict]:
    """(time in minutes, stage, kind, fields) as events."""
    return [{"time": 60.0 * time, "stage": stage, "kind": kind, **fields} for time, stage, kind, fields in told]


def test_a_lost_try_is_paid_for_up_to_its_last_word():
    machine = {"held": {"cpus": 8.0, "gpus": 2.0}}
    found = cost.bill(
        happened(
            (0, "train", "start", {"total": None, **machine}),
            (1, "train", "start", {"total": 100}),  # the same try, with its total
            (30, "train", "metrics", {"step": 9, "values": {"game/written": 7_000.0}}),
            # killed here; half an hour until Kubernetes has another node
            (60, "train", "start", {"total": None, **machine}),
            (90, "train", "metrics", {"step": 20, "values": {"game/written": 12_000.0}}),
            (120, "train", "done", {"outputs": {}, "seconds": 3600.0}),
            (121, "evaluate", "start", {"total": None, "held": {"cpus": 8.0, "gpus": 1.0}}),
            (151, "evaluate", "failed", {"failure": {}}),
            (152, "finish", "start", {"total": None, "held": {"cpus": 1.0, "gpus": 0.0}}),
        ),
        PRICES,
        {"tokens": {"base": 100, "candidate": 200}},
    )
    train, evaluate = found["stages"]["train"], found["stages"]["evaluate"]
    assert list(found["stages"]) == ["train", "evaluate"]
    assert train == {"seconds": 5400.0, "cpu_hours": 12.0, "gpu_hours": 3.0, "tokens": 12_000, "money": pytest.approx(9.6)}
    assert evaluate["gpu_hours"] == 0.5 and evaluate["tokens"] == 300 and evaluate["money"] == pytest.approx(1.7)
    assert found["total"]["money"] == pytest.approx(11.3) and found["currency"] == "USD"


def test_without_a_price_there_is_no_money():
    found = cost.bill(happened((0, "train", "start", {"held": {"cpus": 1.0}}), (60, "train", "done", {})), {}, {})
    assert found["total"] == {"seconds": 3600.0, "cpu_hours": 1.0, "gpu_hours": 0.0, "tokens": 0, "money": None}


@pytest.mark.parametrize(
    ("environment", "device", "stage", "expected"),
    [
        ({}, "cpu", "train", {"cpus": 6.0, "gpus": 0.0}),
        ({}, "NVIDIA H100", "train", {"cpus": 6.0, "gpus": 2.0}),
        ({}, "NVIDIA H100", "evaluate", {"cpus": 3.0, "gpus": 1.0}),
        ({}, "NVIDIA H100", "ingest", {"cpus": 3.0, "gpus": 0.0}),
        ({"RARO_CPUS": "500m"}, "NVIDIA H100", "train", {"cpus": 0.5, "gpus": 0.0}),
        ({"RARO_CPUS": "16", "RARO_GPUS": "4"}, "cpu", "train", {"cpus": 16.0, "gpus": 4.0}),
    ],
)
def test_what_is_held(tmp_path, monkeypatch, environment, device, stage, expected):
    for name in ("RARO_CPUS", "RARO_GPUS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    write_json(tmp_path / "preflight" / "environment.json", {"device": device})
    assert held(parse({"resources": {"processes": 2, "threads": 3}}), tmp_path, stage) == expected


def test_mlflow_gets_the_sum_and_each_share(tmp_path):
    run, config = tmp_path / "run", settings()
    play(run)
    bill = cost.bill(events.read(run)[0], PRICES, {})
    write_json(run / "finish" / "summary.json", {"cost": bill})
    finish(run)
    runs.sync(config, run, force=True)
    found = tree(server.sqlite(run))
    assert found["run"].data.metrics["cost/money"] == bill["total"]["money"]
    assert found["run"].data.tags["raro.currency"] == "USD"
    assert {"cost/cpu_hours", "cost/gpu_hours", "cost/tokens"} <= set(found["train"].data.metrics)


def test_the_report_shows_it(tmp_path):
    run = make(tmp_path / "run")
    text = page.write(run).read_text(encoding="utf-8")
    assert ">Cost</h3>" in text and "GPU-hours" in text and '<th class="number">EUR</th>' not in text
