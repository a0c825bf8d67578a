"""The gate computed again: a decision that does not follow from its own evidence is neither registered nor found whole, and
what an older release did not record is said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from audited import decided, tiny_model, whole_run
from servers import give_store
from test_registry import CLEAR, MAYBE, WORSE, evaluation

from raro.cli import main
from raro.config import Config, Gate, parse
from raro.errors import GateRefused
from raro.registry import gates, log, registration, ruling
from raro.registry.audit import audited
from raro.registry.desk import desk_of
from raro.registry.promotion import promote
from raro.steps import record, register
from raro.storage import canonical, digest_text, manifest, read_json, write_json

Edit = Callable[[dict], None]


def test_a_generation_of_rules_is_counted_on_when_it_says_anything_else():
    """Who sees this fail has changed what the gate decides or how it tells it: raise gates.RULES, say in ruling.py what the
    records of the generation before lack or have otherwise, and write the new digest here."""
    table = [
        gates.decide(evaluation(**against), Gate(**gate), asked)
        for against in ({"base": CLEAR, "warmstart": CLEAR, "champion": MAYBE}, {"base": WORSE, "warmstart": CLEAR})
        for gate in ({}, {"require_approval": True, "min_effect": 0.2}, {"min_items": 10_000, "level": 0.0005})
        for asked in ((), gates.asked_by(parse({"privacy": {"canaries": 5}})))
    ]
    assert (gates.RULES, digest_text(canonical(table))[:16]) == (1, "72cb1805b6a2ca0f")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture
def config(tmp_path, base) -> Config:
    give_store(tmp_path)
    told = {"base": {"uri": str(base), "licence": "MIT"}, "tracking": {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}"}}
    return parse(told | {"registry": {"model": "tiny"}, "demonstrations": {"licence": "CC0-1.0"}})


def edited(run: Path, edit: Edit) -> None:
    """Changes decision.json, and all of the run that speaks of it."""
    told = read_json(run / "decide" / "decision.json")
    edit(told)
    write_json(run / "decide" / "decision.json", told)
    write_json(run / "decide" / "manifest.json", read_json(run / "decide" / "manifest.json") | manifest(run / "decide"))
    write_json(run / "evaluation.json", read_json(run / "evaluation.json") | {"decision": told["decision"]})


def forged(config: Config, run: Path, base: Path, patch: pytest.MonkeyPatch, edit: Edit, low: float = -0.02, **body) -> None:
    """Registered by a raro that does not look: every digest fits, and the log says what it always says. body: what the record
    `evaluated` says besides; a key of None is left out, as older releases did."""
    decided(config, run, base, 0.5, low)
    edited(run, edit)
    judged = registration.judged
    with patch.context() as other:
        other.setattr(ruling, "checked", lambda *_: None)
        other.setattr(
            registration, "judged", lambda *given: {k: v for k, v in (judged(*given) | body).items() if v is not None}
        )
        register.run(config, run)


def promoted(told: dict) -> None:
    told["decision"] = "promote"


def passed(told: dict) -> None:
    """As if the gate had said so: every rule passed, the words too."""
    told["decision"], told["reasons"][-1] = "promote", "It becomes champion."
    for one in told["evidence"]["rules"]:
        one["outcome"] = "passed" if one["outcome"] == "hold" else one["outcome"]


def better(told: dict) -> None:
    passed(told)
    for figures in told["evidence"]["sampled"].values():
        figures |= {"low": 0.05, "passes": True}


def told_better(told: dict) -> None:
    told["reasons"][0] = "The candidate is far better."


def without(*names: str) -> Edit:
    """As a release left it that had no such rules."""

    def edit(told: dict) -> None:
        rules = told["evidence"]["rules"]
        told["evidence"]["rules"] = [one for one in rules if one["rule"] not in names]
        if "champion" in names:
            del told["evidence"]["champion"]

    return edit


def breaks(config: Config, run: Path, at: str = "1") -> list[str]:
    with audited(desk_of(config, run), at) as made:
        return made.breaks


def notes(config: Config, run: Path, at: str = "1") -> list[str]:
    with audited(desk_of(config, run), at) as made:
        return [note for check in made.checks for note in check.notes]


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (promoted, "computed again, the gate says hold and not promote: The candidate's sampled score"),
        (passed, "computed again, the gate says hold and not promote"),
        (better, "the comparison with 'base' has other figures than evaluation.json"),
        (told_better, "decision.json gives other reasons or figures than are computed again"),
        (without("strata"), r"what is needed to compute the gate again is missing \(rule 'strata'\), but record 2 names"),
        (lambda told: told["evidence"].pop("rules"), "is missing .rule 'level', "),
        (lambda told: told["evidence"].update(champion="ab" * 32), "differ in whether there was a champion"),
        (lambda told: told["evidence"]["rules"][3]["figures"].update(n=9), "rests on other figures than evaluation.json has"),
    ],
)
def test_a_decision_that_does_not_follow_is_found_whoever_registered_it(config, base, tmp_path, monkeypatch, edit, named):
    """Every digest is right, and the log was written with the pipeline's own hands."""
    run = tmp_path / "run"
    forged(config, run, base, monkeypatch, edit)
    found = breaks(config, run)
    assert found and all(one.startswith("decision: ") for one in found), found
    assert any(re.search(named, one) for one in found), found
    with pytest.raises(GateRefused, match="version 1 of 'tiny' is not whole: decision: "):
        promote(desk_of(config, run), "1", "Ada", "it is fine", None)


@pytest.mark.parametrize("edit", [promoted, passed, better, told_better, without("strata"), without("champion")])
def test_nor_is_it_registered(config, base, tmp_path, edit):
    run = tmp_path / "run"
    decided(config, run, base, 0.5, -0.02)
    edited(run, edit)
    with pytest.raises(GateRefused, match="does not follow from its evaluation") as refusal:
        register.run(config, run)
    assert "--from decide" in refusal.value.remedy
    assert desk_of(config, run).registered() is None, "nothing was uploaded, and no log begun"


def test_nor_is_a_rejection_entered_that_does_not_follow(config, base, tmp_path):
    run = tmp_path / "run"
    assert decided(config, run, base, 0.5) == "promote"
    edited(run, lambda told: told.update(decision="reject"))
    with pytest.raises(GateRefused, match="computed again, the gate says promote and not reject"):
        record.run(config, run)
    assert desk_of(config, run).registered() is None


def test_what_an_older_release_did_not_record_is_said_and_fails_nothing(config, base, tmp_path, monkeypatch, capsys):
    """It had two rules less, did not count them, and did not say beside which champion."""
    run = tmp_path / "run"
    forged(config, run, base, monkeypatch, without("strata", "champion"), rules=None)
    assert breaks(config, run) == []
    assert notes(config, run) == [
        "an older release decided, and did not record all that the gate rests on now: rule 'champion', rule 'strata', "
        "which champion it was compared with"
    ]
    assert main(["audit", "verify", "tiny@1", "--run", str(run)]) == 0
    said = capsys.readouterr().out
    assert "note: an older release decided" in said and "whole, but for what was not recorded (see decision); unsigned" in said


@pytest.mark.parametrize("edit", [promoted, passed, better])
def test_what_it_did_record_is_computed_again(config, base, tmp_path, monkeypatch, edit):
    def older(told: dict) -> None:
        without("strata", "champion")(told)
        edit(told)

    forged(config, tmp_path / "run", base, monkeypatch, older, rules=None)
    assert any(one.startswith("decision: computed again") for one in breaks(config, tmp_path / "run"))


def test_behind_a_release_that_records_all_nobody_records_less(config, base, tmp_path, monkeypatch):
    """A new record that says it is an old one, to be looked at less."""
    whole_run(config, tmp_path / "one", base, 0.25)
    forged(config, tmp_path / "two", base, monkeypatch, without("canaries"), rules=None)
    (found,) = breaks(config, tmp_path / "two", "2")
    assert "is missing (rule 'canaries'), but record 2 names the gate's rules" in found
    assert breaks(config, tmp_path / "one", "1") == []


@pytest.mark.parametrize("rules", [0, 2, "1", [1]])
def test_rules_that_nobody_has_excuse_nothing(config, base, tmp_path, monkeypatch, rules):
    forged(config, tmp_path / "run", base, monkeypatch, promoted, rules=rules)
    (found,) = breaks(config, tmp_path / "run")
    assert f"names rules {rules!r} of the gate, and this release has 1" in found


def test_a_promotion_over_a_champion_that_it_did_not_meet_is_found(config, base, tmp_path, monkeypatch):
    whole_run(config, tmp_path / "one", base, 0.25)
    with monkeypatch.context() as patch:
        patch.setattr(registration, "root_of", lambda *_: "")
        assert whole_run(config, tmp_path / "two", base, 0.5, rival="")["alias"] == "champion"
    (found,) = breaks(config, tmp_path / "two", "2")
    assert "promotes over version 1, with which the candidate was not compared" in found


def test_the_record_s_decision_is_the_evidence_s(config, base, tmp_path, monkeypatch):
    forged(config, tmp_path / "run", base, monkeypatch, lambda told: None, decision="promote")
    assert breaks(config, tmp_path / "run") == ["decision: record 2 has another decision than decision.json"]


def test_what_another_release_calls_otherwise_matters_only_where_the_gate_rests_on_it():
    told = json.loads(parse({}).canonical())
    assert ruling._settings(told | {"of_a_later_release": {}}) == parse({})
    told["gate"]["of_a_later_release"] = 1
    with pytest.raises(GateRefused, match="cannot be computed again by the recorded settings: unknown config key 'gate.of_a"):
        ruling._settings(told)


def test_a_rejected_candidate_s_record_names_the_rules(config, base, tmp_path):
    whole_run(config, tmp_path / "run", base, 0.5, low=-0.3)
    (found,) = log.whole(desk_of(config, tmp_path / "run").place(), "tiny")
    assert (found.action, found.body[ruling.KEY]) == ("rejected", gates.RULES)
