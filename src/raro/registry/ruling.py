"""The gate computed again: whether a recorded decision follows from the evidence that is recorded with it.

evaluation.json and the gate's settings in config.json go through the rules (gates.py) once more. Who registers or rejects a
candidate does so first, and the log's record `evaluated` (`rejected`) then names the rules' generation, gates.RULES. An audit
does so again, for what the record names:

| rules        | what must be as it is computed again                                                                    |
|--------------|---------------------------------------------------------------------------------------------------------|
| this release | everything: decision, reasons, each rule's outcome and figures, and the champion compared with          |
| older, none  | the decision, by the comparisons and the rules that it lists, and these; what it lacks is said          |
| others       | broken: this release does not have these rules, or nobody had                                           |

What a record lacks is broken, too, where it or an earlier one of the same log names a generation: a newer release wrote there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Config, stored
from ..errors import BadInput, GateRefused
from ..storage import MANIFEST, read_json
from . import gates
from .desk import standing
from .gate_rules import WHYS
from .log import PIPELINE, Record, root_of

KEY = "rules"  # of a record's body
SECTIONS = ("base", "evaluation", "gate", "judge", "privacy")  # what the gate, and what it is asked, are settings of


def met(run: Path) -> str | None:
    """Root of the champion beside which the run's candidate was evaluated, empty for none; None where that is not recorded."""
    return read_json(path).get("given", {}).get("champion") if (path := run / "evaluate" / MANIFEST).is_file() else None


def checked(config: Config, run: Path, evaluation: Mapping[str, Any], decided: Mapping[str, Any]) -> None:
    """Before the log says by which rules it was decided. Raises GateRefused where the decision does not follow from the
    evaluation, or does not hold all that an audit needs to see that it does."""
    breaks, lacks = compared(config, evaluation, decided, gates.RULES)
    if wrong := [*breaks, *(f"decision.json does not say: {one}" for one in lacks)]:
        remedy = f"decide again: raro run --output {run} --from decide; on a cluster, remove '{run / 'decide'}' and resume"
        raise GateRefused(f"the decision of '{run}' does not follow from its evaluation: {wrong[0]}", remedy)


def compared(
    config: Config, evaluation: Mapping[str, Any], decided: Mapping[str, Any], generation: int | None
) -> tuple[list[str], list[str]]:
    """(what does not follow, what is not recorded) of decision.json. generation: of the rules by which it was decided."""
    evidence = decided["evidence"]
    listed = {one["rule"]: one for one in evidence.get("rules", ())}
    lacks = [f"rule '{name}'" for name in WHYS if name not in listed]
    only = None if generation == gates.RULES else set(listed)
    again, reasons, found = gates.decide(evaluation, config.gate, gates.asked_by(config), only)
    breaks = []
    if again != decided["decision"]:
        breaks.append(f"computed again, the gate says {again} and not {decided['decision']}: {reasons[0]}")
    now = {one["rule"]: one for one in found["rules"]}
    for name, one in listed.items():
        if name not in now:
            breaks.append(f"decision.json lists a rule '{name}', which the gate does not have")
        elif one["outcome"] != now[name]["outcome"]:
            breaks.append(f"rule '{name}' comes out as {now[name]['outcome']} and not as {one['outcome']}")
        elif _plain(one["figures"]) != _plain(now[name]["figures"]):
            breaks.append(f"rule '{name}' rests on other figures than evaluation.json has")
    for rival, figures in evidence["sampled"].items():
        known = found["sampled"].get(rival, {})
        if _plain(figures) != _plain({key: known.get(key) for key in figures}):
            breaks.append(f"the comparison with '{rival}' has other figures than evaluation.json")
    if set(evidence["sampled"]) != set(found["sampled"]):
        breaks.append("decision.json compares with others than evaluation.json")
    if "champion" not in evidence:
        lacks.append("which champion it was compared with")
    elif bool(evidence["champion"]) != ("champion" in found["sampled"]):
        breaks.append("decision.json and evaluation.json differ in whether there was a champion to compare with")
    told = {key: value for key, value in evidence.items() if key != "champion"}
    if generation == gates.RULES and not breaks and _plain([decided["reasons"], told]) != _plain([reasons, found]):
        breaks.append("decision.json gives other reasons or figures than are computed again")
    return breaks, lacks


def audited(
    records: Sequence[Record],
    number: str,
    settings: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    decided: Mapping[str, Any],
) -> tuple[list[str], list[str]]:
    """(breaks, what could not be computed since an older release did not record it) of a registered version. settings: its
    config.json."""
    judged = [one for one in records if (one.action, one.version) == ("evaluated", number)]
    if not judged:  # which is a break of the link before
        return [], []
    record = judged[-1]
    generation = record.body.get(KEY)
    if generation is not None and generation != gates.RULES:  # an older one's differences go here, once there is one
        line = f"record {record.seq} names rules {generation!r} of the gate, and this release has {gates.RULES}"
        return [f"{line}: verify with the release that registered it (provenance.json names it)"], []
    breaks, lacks = compared(_settings(settings), evaluation, decided, generation)
    if record.body.get("decision", decided["decision"]) != decided["decision"]:
        breaks.append(f"record {record.seq} has another decision than decision.json")
    if evaluation.get("decision", decided["decision"]) != decided["decision"]:
        breaks.append("evaluation.json has another decision than decision.json")
    for one in records:
        if (one.action, one.version, one.actor) == ("promoted", number, PIPELINE):
            off, unknown = _unmet(records, one, decided)
            breaks, lacks = breaks + off, lacks + unknown
    newer = next((one.seq for one in records if one.seq <= record.seq and KEY in one.body), 0)
    if lacks and newer:
        line = f"record {newer} names the gate's rules, so a release wrote there that records all they need"
        return [*breaks, f"what is needed to compute the gate again is missing ({', '.join(lacks)}), but {line}"], []
    return breaks, lacks


def _unmet(records: Sequence[Record], promoted: Record, decided: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(breaks, what is not recorded) of the champion over which the pipeline promoted."""
    before = [one for one in records if one.seq < promoted.seq]
    stood, evidence = standing(before).get("champion", ""), decided["evidence"]
    if not stood or stood == promoted.version:
        return [], []
    root = root_of(before, stood)
    if root and root == root_of(before, promoted.version):  # the same files again, whose version was lost
        return [], []
    if evidence.get("champion", root) != root:
        return [f"record {promoted.seq} promotes over version {stood}, with which the candidate was not compared"], []
    if "champion" not in evidence["sampled"]:
        return [], [f"a comparison with version {stood}, over which record {promoted.seq} promotes"]
    return [], []


def _settings(told: Mapping[str, Any]) -> Config:
    """Of a recorded configuration what the gate rests on, whatever another release calls the rest."""
    try:
        return stored({key: told[key] for key in SECTIONS if key in told})
    except BadInput as error:
        raise GateRefused(f"the gate cannot be computed again by the recorded settings: {error.line}") from None


def _plain(data: Any) -> str:
    """As JSON has it, NaN included."""
    return json.dumps(data, sort_keys=True)
