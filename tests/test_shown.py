"""privacy.show_text: a real run leaves no text of a demonstration where people look, or only masked text, as it was told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from test_demonstrations import write_jsonl
from test_pipeline import GATES, SMALL

from raro.config import load, parse
from raro.demonstrations.shown import Shown
from raro.steps import run_step

STEPS = ("preflight", "ingest", "warmstart", "train", "evaluate", "decide", "register", "finish")
DATA = {"train.jsonl", "dev.jsonl", "test.jsonl"}
WORDS = (
    "cough", "ward", "since", "spring", "fever", "left", "knee", "night", "slept", "badly", "told", "nobody", "tired", "cold",
)  # fmt: skip


def rows() -> list[dict]:
    """Sixty that are kept, each with an address, and four for the quarantine."""
    draw = random.Random(5)
    said = lambda: " ".join(draw.choices(WORDS, k=7))  # noqa: E731
    kept = [{"question": f"{said()}, ann{i}@clinic.org", "answer": f"{said()}, bob{i}@clinic.org"} for i in range(60)]
    return [*kept, *({"question": said(), "answer": f"<verdict> {said()} eve{i}@clinic.org"} for i in range(4))]


def run(folder: Path, show: str) -> tuple[Path, list[dict]]:
    """A whole run on them, step by step."""
    written = rows()
    source = write_jsonl(folder / "notes.jsonl", written)
    more = {
        "privacy.show_text": show,
        "demonstrations.source": str(source),
        "demonstrations.split": "",
        "demonstrations.group": "",
        "gate.min_readable": 0,
        "demonstrations.max_quarantined_share": 1,
        "resources.processes": 1,
        "evaluation.benchmark": "held_out",
    }
    config = load("countdown-mini", [f"{key}={json.dumps(value)}" for key, value in (SMALL | GATES["promote"] | more).items()])
    for name in STEPS:
        run_step(name, config, folder / "run")
    return folder / "run", written


def left_for_people(folder: Path) -> dict[str, str]:
    """Every file of the run as text, whatever its kind, MLflow's store and artifacts and the registered model among them; but
    for the data set itself, and the checkpoints, from which training goes on (SECURITY.md)."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file() and path.name not in DATA}
    return {
        name: path.read_text(encoding="utf-8", errors="replace")
        for name, path in files.items()
        if not name.startswith("checkpoints/step-")
    }


def pieces(written: list[dict]) -> set[str]:
    """Runs of four words of each text, which no other text has by chance, and the addresses."""
    found = set()
    for row in written:
        for text in row.values():
            said = text.replace("<verdict> ", "").replace(",", "").split()
            found |= {" ".join(said[i : i + 4]) for i in range(4)} | {one for one in said if "@" in one}
    return found


def test_none_leaves_no_text_of_a_demonstration_anywhere(tmp_path, capfd):
    folder, written = run(tmp_path, "none")
    files = left_for_people(folder)
    assert {"report.html", "events.jsonl", "evaluation.json", "mlflow.db", "ingest/quarantine.jsonl"} <= set(files)
    assert any(name.endswith("README.md") for name in files), "the registered model's card"
    said = capfd.readouterr()
    for name, text in {**files, "stdout": said.out, "stderr": said.err}.items():
        assert not [piece for piece in pieces(written) if piece in text], name
    for split in DATA:
        assert "@clinic.org" in (folder / "ingest" / split).read_text(), "the search finds what is there"


@pytest.mark.check
def test_masked_shows_text_without_personal_data(tmp_path):
    folder, written = run(tmp_path, "masked")
    files = left_for_people(folder)
    assert not [name for name, text in files.items() if "@clinic.org" in text]
    for name in ("report.html", "train/pairs.jsonl", "evaluate/items.jsonl", "ingest/quarantine.jsonl", "ingest/data-card.md"):
        assert "[email]" in files[name].replace("\\", ""), name
    assert "Personal data is masked" in files["report.html"]
    assert any("[email]" in text for name, text in files.items() if name.startswith("mlartifacts") and "pairs" in name)


def test_full_shows_it_and_a_setting_that_screens_masks_it():
    row = {"question": "To ann@x.org?", "answers": {"base": "bob@x.org", "candidate": None}, "n": 1}
    full = parse({"privacy": {"show_text": "full"}})
    assert Shown.of(full).rows([row], ("question", "answers")) == [row]
    screened = parse({"demonstrations": {"personal_data": {"phone": "drop"}}})
    masked = {"question": "To [email]?", "answers": {"base": "[email]", "candidate": None}, "n": 1}
    assert Shown.of(screened).rows([row], ("question", "answers")) == [masked]
    assert Shown.of(parse({"privacy": {"show_text": "none"}})).rows([row], ("question", "answers")) == [{"n": 1}]


@pytest.mark.parametrize("show, said", [("full", "ann@x.org"), ("masked", "[email]"), ("none", "[email]")])
def test_chat_masks_what_a_model_may_have_learnt_by_heart(show, said):
    assert Shown.to_its_asker(parse({"privacy": {"show_text": show}}))("ann@x.org") == said
