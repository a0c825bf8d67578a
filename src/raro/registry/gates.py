"""The gate: whether a candidate becomes champion. Pure functions of evaluation.json and the configured thresholds.

The candidate is compared on the same test problems with the base, the warm start and, where there is one, the champion, by the
difference of their sampled scores and its 95 % bootstrap interval.
| promote | the interval's low end is above gate.min_gain against each, no rule (gate_rules.py) fails, no approval is asked |
| hold    | all but the approval, or but a rule that holds; or only the mean difference is above gate.hold_gain against each |
| reject  | anything else, and whatever a rule that rejects says |

To be promoted a candidate must pass every comparison: an intersection-union test, whose level is that of one comparison.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal

from ..config import Config, Gate
from ..errors import BadInput
from ..text import listed
from .gate_rules import RIVALS, Rule, percent, rules, signed

Decision = Literal["promote", "hold", "reject"]
RULES = 1
"""Which generation of rules this is, words included: who changes what decides, or how it is told, counts on. The log says by
which one a version was decided, and an audit computes the decision again (ruling.py)."""
COMPULSORY = ("base", "warmstart")
GAIN = "gain"
WHY_GAIN = "A model is replaced only by one that is better on the same problems, beyond chance."
WHY_APPROVAL = "In a regulated organisation a person answers for the model in use."


def decide(
    evaluation: Mapping[str, Any], gate: Gate, asked: Collection[str] = (), only: Collection[str] | None = None
) -> tuple[Decision, list[str], dict[str, Any]]:
    """(decision, reasons, evidence) for an evaluation in the layout of evaluation.json. asked: rules among OPTIONAL whose
    figures the settings ask for. only: the rules beside the comparisons that an older release had; None: all.

    reasons: one plain sentence for each rival, with the figures in percent, and one for each other rule that fails, what failed
    before what passed; and a last one that says what follows. evidence: the thresholds, every figure the decision rests on, as
    shares, and `rules`: each rule's name, why, outcome and figures. Raises BadInput where a rival is not compared.
    """
    compared = {rival: _compare(evaluation, rival, gate) for rival in RIVALS if _measured(evaluation, rival)}
    passes = all(figures["passes"] for figures in compared.values())
    leans = all(figures["leans"] for figures in compared.values())
    further = [rule for rule in rules(evaluation, gate, list(compared), asked) if only is None or rule.name in only]
    broken = [rule for rule in further if rule.passes is False]
    held = [rule for rule in broken if rule.otherwise == "hold"]
    fatal = [rule for rule in broken if rule.otherwise == "reject"]
    decision: Decision = (
        "promote" if passes and not held and not gate.require_approval else "hold" if passes or leans else "reject"
    )
    if fatal:
        decision = "reject"
    told = {rival: _sentence(RIVALS[rival], figures, gate) for rival, figures in compared.items()}
    reasons = [told[rival] for rival, figures in compared.items() if not figures["passes"]]
    reasons += [rule.sentence for rule in broken]
    reasons += [told[rival] for rival, figures in compared.items() if figures["passes"]]
    if "champion" not in compared:
        reasons.append("There is no champion to compare with yet.")
    reasons.append(_conclusion(decision, passes, held, gate))
    thresholds = {"min_gain": gate.min_gain, "hold_gain": gate.hold_gain, "require_approval": gate.require_approval}
    return (
        decision,
        reasons,
        {
            "gate": thresholds,
            "n": evaluation.get("n"),
            "sampled": compared,
            "rules": [rule.shown for rule in (*_gains(compared, gate), *further, _approval(gate))],
        },
    )


def asked_by(config: Config) -> set[str]:
    """The rules among OPTIONAL whose figures these settings ask for."""
    general = config.asks_general
    asked = {"judge": config.judge.kind != "none", "rubrics": config.evaluation.rubrics, "general": general}
    asked |= {"refusals": general, "canaries": config.privacy.canaries}
    return {name for name, wanted in asked.items() if wanted}


def _measured(evaluation: Mapping[str, Any], rival: str) -> bool:
    return rival in COMPULSORY or any(
        name in evaluation.get(part, {}) for part, name in (("sampled", rival), ("paired", f"candidate-{rival}"))
    )


def _compare(evaluation: Mapping[str, Any], rival: str, gate: Gate) -> dict[str, Any]:
    paired = evaluation.get("paired", {}).get(f"candidate-{rival}", {}).get("sampled")
    scores = evaluation.get("sampled", {})
    if paired is None or not {"candidate", rival} <= set(scores):
        raise BadInput(f"the evaluation does not compare the candidate with {RIVALS[rival]}", "run the evaluate step again")
    difference, low, high = paired
    finite = all(map(math.isfinite, (scores["candidate"][0], scores[rival][0], *paired)))
    return {
        "candidate": scores["candidate"][0],
        "rival": scores[rival][0],
        "difference": difference,
        "low": low,
        "high": high,
        "finite": finite,
        "passes": low > gate.min_gain and finite,
        "leans": difference > gate.hold_gain and finite,
    }


def _gains(compared: Mapping[str, Mapping[str, Any]], gate: Gate) -> list[Rule]:
    """The comparisons as rules, for evidence and page. otherwise: what a failure led to."""
    return [
        Rule(
            name=f"{GAIN}/{rival}",
            why=gate.reasons.get(GAIN, WHY_GAIN),
            passes=figures["passes"],
            otherwise="hold" if figures["leans"] else "reject",
            figures={key: figures[key] for key in ("difference", "low", "high")} | {"above": gate.min_gain},
            sentence=_sentence(RIVALS[rival], figures, gate),
        )
        for rival, figures in compared.items()
    ]


def _approval(gate: Gate) -> Rule:
    asked = (
        "gate.require_approval asks for a person's approval." if gate.require_approval else "No person's approval is required."
    )
    return Rule(
        name="approval",
        why=gate.reasons.get("approval", WHY_APPROVAL),
        passes=not gate.require_approval,
        otherwise="hold",
        figures={},
        sentence=asked,
    )


def _sentence(rival: str, figures: Mapping[str, Any], gate: Gate) -> str:
    """For example: The candidate's sampled score of 41.2 % is 7.3 points above the base's 33.9 % (95 % interval +4.1 to +10.5),
    and the low end passes the 0.0 required."""
    if not figures["finite"]:
        return f"The comparison with {rival} is not a finite number, and shows nothing."
    side = "above" if figures["difference"] >= 0 else "below"
    asked = "passes" if figures["passes"] else "does not pass"
    candidate, other, gap = (percent(figures[key]) for key in ("candidate", "rival", "difference"))
    return (
        f"The candidate's sampled score of {candidate} % is {gap.lstrip('-')} points {side} {rival}'s {other} % "
        f"(95 % interval {signed(figures['low'])} to {signed(figures['high'])}), "
        f"and the low end {asked} the {signed(gate.min_gain)} required."
    )


def _conclusion(decision: Decision, passes: bool, held: list[Rule], gate: Gate) -> str:
    if decision == "promote":
        return "It becomes champion."
    if decision == "hold":
        asking = [f"rule '{rule.name}'" for rule in held] + (["gate.require_approval"] if gate.require_approval else [])
        why = f"{listed(asking)} {'asks' if len(asking) == 1 else 'ask'} for a person" if passes else "the gain may be chance"
        return f"It is held as challenger, for a person to promote: {why}."
    return "It is rejected, and nothing is registered."
