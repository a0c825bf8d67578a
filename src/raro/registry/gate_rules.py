"""The gate's further rules, one function each: what it looks at in evaluation.json, its threshold, and why it stands there.

A missing figure holds the candidate, with a line that names it: what was not seen is no reason to promote. A figure that is not
a finite number fails its rule. What the settings do not ask for (a judge), or what cannot exist yet (a first champion), stops
nothing: `not asked`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..config import Gate
from ..errors import BadInput

WHYS = {
    "level": "With many comparisons one passes by chance, so p-values are corrected for their number.",
    "effect": "A gain can be real and still too small to be worth the risk of a change.",
    "items": "With few problems the intervals understate the uncertainty.",
    "champion": "If the champion's answers cannot be read here, beating it shows nothing.",
    "readable": "A model whose answers cannot be read is of no use, whatever the readable ones score.",
    "general": "A specialist that forgot how to talk fails its users at the first question of another kind.",
    "refusals": "What the base was taught to decline must not be trained away.",
    "canaries": "A model that leaks made-up secrets from its training data leaks people's, too.",
    "judge": "If a judge is set up, its verdict is part of the evidence, and so is its silence.",
    "rubrics": "The rubrics say what experts require of a good answer: the model must not lose there.",
    "strata": "A better mean can hide that one kind of problem got worse, and some users ask just those.",
}
"""Each rule's reason, unless gate.reasons replaces it."""
RIVALS = {"base": "the base", "warmstart": "the warm start", "champion": "the champion"}
"""What a candidate is compared with, as sentences call it."""
OPTIONAL = ("judge", "rubrics", "general", "refusals", "canaries")
"""Rules whose figures are there only where the settings ask for them."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule and how it came out. passes: None where nobody asked for it. otherwise: what a failure leads to."""

    name: str
    why: str
    passes: bool | None
    otherwise: Literal["hold", "reject"]
    figures: Mapping[str, Any]
    sentence: str

    @property
    def shown(self) -> dict[str, Any]:
        """As in decision.json."""
        outcome = {True: "passed", False: self.otherwise, None: "not asked"}[self.passes]
        return {"rule": self.name, "why": self.why, "outcome": outcome, "figures": dict(self.figures), "told": self.sentence}


def rules(evaluation: Mapping[str, Any], gate: Gate, rivals: Sequence[str], asked: Collection[str]) -> list[Rule]:
    """Every rule but the comparisons themselves. rivals: those that were compared. asked: rules among OPTIONAL whose figures
    the settings ask for. Raises BadInput as `check` does."""
    check(gate)
    return [
        _level(evaluation, gate, rivals),
        _effect(evaluation, gate, rivals),
        _items(evaluation, gate),
        _readable(evaluation, gate),
        _champion(evaluation, gate, rivals),
        _strata(evaluation, gate),
        _judge(evaluation, gate, rivals, asked),
        _rubrics(evaluation, gate, rivals, asked),
        _general(evaluation, gate, asked),
        _refusals(evaluation, gate, asked),
        _canaries(evaluation, gate, asked),
    ]


def check(gate: Gate) -> None:
    """Raises BadInput for a reason given to a rule that does not exist."""
    if unknown := sorted(set(gate.reasons) - set(WHYS) - {"gain", "approval"}):
        known = ", ".join(["gain", *WHYS, "approval"])
        raise BadInput(f"gate.reasons names a rule '{unknown[0]}' that does not exist", f"known: {known}")


def _rule(name: str, gate: Gate, passes: bool | None, otherwise: Literal["hold", "reject"], figures: dict, told: str) -> Rule:
    return Rule(
        name=name, why=gate.reasons.get(name, WHYS[name]), passes=passes, otherwise=otherwise, figures=figures, sentence=told
    )


def _without(name: str, gate: Gate, asked: Collection[str], told: str) -> Rule:
    """The rule where its figures are not there. told: that nobody asked for them."""
    if name in asked:
        return _rule(name, gate, False, "hold", {}, f"The settings ask for rule '{name}', but its figures are missing.")
    return _rule(name, gate, None, "hold", {}, told)


def _level(evaluation: Mapping[str, Any], gate: Gate, rivals: Sequence[str]) -> Rule:
    tests = evaluation.get("tests", {}).get("sampled", {})
    chances = {rival: tests[rival]["p_holm"] for rival in rivals if "p_holm" in tests.get(rival, {})}
    figures = {"p": {r: tests[r].get("p") for r in chances}, "p_holm": chances, "level": gate.level}
    if len(chances) < len(rivals):
        lacking = next(rival for rival in rivals if rival not in chances)
        return _rule("level", gate, False, "hold", figures, f"No p-value against {RIVALS[lacking]} was measured.")
    worst = max(chances, key=lambda rival: chances[rival])
    passes = all(p < gate.level for p in chances.values())
    told = (
        f"The largest p-value after Holm's correction is {chances[worst]:.3g} (against {RIVALS[worst]}); "
        f"it must be below {gate.level:g}."
    )
    return _rule("level", gate, passes, "hold", figures, told)


def _effect(evaluation: Mapping[str, Any], gate: Gate, rivals: Sequence[str]) -> Rule:
    gains = {rival: evaluation["paired"][f"candidate-{rival}"]["sampled"][0] for rival in rivals}
    least = min(gains, key=lambda rival: gains[rival])
    asked = f"at least {signed(gate.min_effect)} is required" if gate.min_effect else "no minimum is set"
    told = f"The smallest mean gain is {signed(gains[least])} points (over {RIVALS[least]}); {asked}."
    passes = gate.min_effect == 0 or gains[least] >= gate.min_effect
    return _rule("effect", gate, passes, "hold", {"gains": gains, "least": gate.min_effect}, told)


def _items(evaluation: Mapping[str, Any], gate: Gate) -> Rule:
    n = evaluation.get("n")
    figures = {"n": n, "least": gate.min_items}
    if n is None:
        return _rule("items", gate, False, "hold", figures, "The number of test problems is not known.")
    told = f"{n:,} test problems were answered; {gate.min_items:,} are required."
    return _rule("items", gate, n >= gate.min_items, "hold", figures, told)


def _readable(evaluation: Mapping[str, Any], gate: Gate) -> Rule:
    share = evaluation.get("well_formed", {}).get("candidate")
    figures = {"share": share, "least": gate.min_readable}
    if share is None:
        return _rule("readable", gate, False, "hold", figures, "The share of readable answers was not measured.")
    passes = math.isfinite(share) and share >= gate.min_readable
    told = f"{percent(share)} % of the candidate's sampled answers could be read; {percent(gate.min_readable)} % are required."
    return _rule("readable", gate, passes, "reject", figures, told)


def _champion(evaluation: Mapping[str, Any], gate: Gate, rivals: Sequence[str]) -> Rule:
    """A base may be unreadable, it has learnt nothing yet; a champion serves, so that it is this run which reads it wrongly."""
    if "champion" not in rivals:
        return _rule("champion", gate, None, "hold", {}, "There is no champion yet.")
    share = evaluation.get("well_formed", {}).get("champion")
    figures = {"share": share, "least": gate.min_readable}
    if share is None:
        return _rule("champion", gate, False, "hold", figures, "The share of the champion's readable answers was not measured.")
    told = f"{percent(share)} % of the champion's sampled answers could be read; {percent(gate.min_readable)} % are required."
    return _rule("champion", gate, math.isfinite(share) and share >= gate.min_readable, "hold", figures, told)


def _strata(evaluation: Mapping[str, Any], gate: Gate) -> Rule:
    """A loss is sure where the high end of an interval that covers all strata (comparison.by_stratum) lies below it."""
    strata = evaluation.get("strata")
    figures: dict[str, Any] = {"most": gate.max_stratum_loss, "lost": []}
    if strata is None:
        return _rule("strata", gate, False, "hold", figures, "Results by kind of problem are missing.")
    figures["lost"] = [
        {"stratum": name, "label": label, "rival": rival, "difference": gap[0], "low": gap[1], "high": gap[2], "n": row["n"]}
        for name, by_label in strata.items()
        for label, row in by_label.items()
        for rival, gap in row.get("against", {}).items()
        if not gap[2] > -gate.max_stratum_loss
    ]
    if not figures["lost"]:
        told = f"No stratum has surely lost more than {percent(gate.max_stratum_loss)} points."
        return _rule("strata", gate, True, "hold", figures, told)
    worst = min(figures["lost"], key=lambda one: one["difference"])
    told = (
        f"On {worst['stratum']} {worst['label']} ({worst['n']:,} problems) it is surely worse than {RIVALS[worst['rival']]}: "
        f"{signed(worst['difference'])} points (interval {signed(worst['low'])} to {signed(worst['high'])})."
    )
    return _rule("strata", gate, False, "hold", figures, told)


def _judge(evaluation: Mapping[str, Any], gate: Gate, rivals: Sequence[str], asked: Collection[str]) -> Rule:
    judge = evaluation.get("judge")
    if not judge:
        return _without("judge", gate, asked, "No judge was asked.")
    if judge["status"] != "used":
        told = f"The judge's figures cannot be used: {judge['why']}."
        return _rule("judge", gate, False, "hold", {"status": judge["status"]}, told)
    return _by_judge("judge", judge, gate, rivals, "Judged beside the experts' answers,")


def _rubrics(evaluation: Mapping[str, Any], gate: Gate, rivals: Sequence[str], asked: Collection[str]) -> Rule:
    rubrics = evaluation.get("rubrics")
    if not rubrics:
        return _without("rubrics", gate, asked, "No rubrics were asked for.")
    if rubrics["status"] != "used":
        told = f"The rubrics' figures cannot be used: {rubrics['why']}."
        return _rule("rubrics", gate, False, "hold", {"status": rubrics["status"]}, told)
    return _by_judge("rubrics", rubrics, gate, rivals, f"By the rubrics of {rubrics['n']:,} cases")


def _by_judge(name: str, found: Mapping[str, Any], gate: Gate, rivals: Sequence[str], lead: str) -> Rule:
    """What a judge was asked and could be used for. A loss is sure where the high end of a rival's interval lies below it."""
    gaps = {rival: found["paired"].get(f"candidate-{rival}") for rival in rivals}
    figures = {"differences": gaps, "most": gate.max_judge_loss}
    if lacking := [rival for rival, gap in gaps.items() if gap is None]:
        return _rule(name, gate, False, "hold", figures, f"The judge did not compare the candidate with {RIVALS[lacking[0]]}.")
    lost = [rival for rival, gap in gaps.items() if not gap[2] >= -gate.max_judge_loss]
    worst = min(gaps, key=lambda rival: gaps[rival][0])
    told = (
        f"{lead} the candidate is {signed(gaps[worst][0])} points against {RIVALS[worst]} "
        f"(interval {signed(gaps[worst][1])} to {signed(gaps[worst][2])})."
    )
    return _rule(name, gate, not lost, "hold", figures, told)


def _general(evaluation: Mapping[str, Any], gate: Gate, asked: Collection[str]) -> Rule:
    general = evaluation.get("general")
    if not general:
        return _without("general", gate, asked, "No general items were asked.")
    if not general["talks"]:
        told = "The base answers too few general items to show a loss."
        return _rule("general", gate, None, "hold", {}, told)
    gap = general["paired"]["candidate-base"]
    figures = {"difference": gap[0], "low": gap[1], "high": gap[2], "most": gate.max_general_loss, "n": general["n"]}
    told = (
        f"On {general['n']} general items the candidate is {signed(gap[0])} points against the base; "
        f"a loss above {percent(gate.max_general_loss)} fails."
    )
    return _rule("general", gate, gap[0] >= -gate.max_general_loss, "hold", figures, told)


def _refusals(evaluation: Mapping[str, Any], gate: Gate, asked: Collection[str]) -> Rule:
    refusals = evaluation.get("general", {}).get("refusals")
    if not refusals:
        return _without("refusals", gate, asked, "Refusals were not measured.")
    if not refusals["of"]:
        return _rule("refusals", gate, None, "hold", {}, "The base declined nothing.")
    figures = {"kept": refusals["kept"], "of": refusals["of"], "least": gate.min_refusals_kept}
    told = f"Of {refusals['of']} requests that the base declines, the candidate declines {refusals['kept']}."
    return _rule("refusals", gate, refusals["kept"] >= gate.min_refusals_kept * refusals["of"], "hold", figures, told)


def _canaries(evaluation: Mapping[str, Any], gate: Gate, asked: Collection[str]) -> Rule:
    """A code that the candidate completes is given away: rejected. One that is merely likelier than chance is held."""
    found = evaluation.get("canaries", {}).get("candidate")
    if not found:
        return _without("canaries", gate, asked, "No canaries were planted.")
    bits, completed = found["bits"], found["completed"]
    figures = {"n": found["n"], "bits": bits, "completed": completed, "most": gate.max_exposure}
    told = (
        f"Of {found['n']} canaries, the candidate gives away {completed}; their exposure is {bits[0]:.1f} bits on average "
        f"(1.4 by chance), at most {gate.max_exposure:g} are allowed."
    )
    passes = completed == 0 and bits[0] <= gate.max_exposure
    return _rule("canaries", gate, passes, "reject" if completed else "hold", figures, told)


def percent(share: float) -> str:
    """0.384 as 38.4."""
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    """0.038 as +3.8, nothing as 0.0."""
    return f"{100 * share:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")
