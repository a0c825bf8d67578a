"""A table's arms for people: what each is called, what it is, and on how many problems it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import plan

NAMES = {
    "raro": "RARO",
    "rlvr": "RLVR",
    "sft": "SFT",
    "dpo": "DPO",
    "rl_logit": "RL-Logit",
    "warmstart": "warm start",
}
"""Of arms whose name in a study is a method's or a role's; the others are called as they are."""
SAYS = {"base": "the model before any training", "warmstart": "the base taught the format of both roles, no more"}
BASE = ": base"
"""Ends the name of the base from which an arm starts that has one of its own."""


def role(name: str) -> str:
    """An arm's name without its budget and without the word that it is its base."""
    return name.removesuffix(BASE).split(", ")[0]


def called(content: Mapping[str, Any]) -> dict[str, str]:
    """{arm: its name for people}. The budget is part of it only where the table has several."""
    budgets = {name.partition(", ")[2] for name in content["leads"].values()}

    def name_of(arm: str) -> str:
        if arm.endswith(BASE):
            return f"base of {name_of(arm.removesuffix(BASE))}"
        own = NAMES.get(role(arm), role(arm))
        return own + arm.removeprefix(role(arm)) if len(budgets) > 1 else own

    return {arm: name_of(arm) for arm in content["arms"]}


def completed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The table's content with `says` and `problems` by arm. An older table lacks them: then the packaged study of its name
    tells what each arm is, and on how many problems, where the table's figures are fractions of that number."""
    study = plan.read(content["study"]) if content["study"] in plan.packaged_studies() else None
    of_role = {arm.role: arm for arm in study.arms} if study else {}
    says = content.get("says", {name: of_role[role(name)].says for name in content["spent"] if role(name) in of_role})
    problems = content.get("problems")
    if problems is None:
        problems = dict.fromkeys(content["arms"], content["n_test"])
        for name in content["arms"]:
            if arm := of_role.get(role(name)):
                problems[name] = min(study.configured(arm, arm.seeds[0]).evaluation.max_items, content["n_test"])
        problems = {name: n for name, n in problems.items() if _fractions(content["arms"][name]["greedy"], n)}
    content = {"measure": "accuracy", "equal": True} | dict(content)
    return {**content, "says": SAYS | says, "problems": problems, "intervals": _intervals(content)}


def _intervals(content: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """With the mean as the table for people takes it: 46.65 is rounded alike in both."""
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    return {
        name: {way: [mean(content["arms"][name][way]), low, high] for way, (_, low, high) in found.items()}
        for name, found in content["intervals"].items()
    }


def _fractions(shares: list[float], n: int) -> bool:
    """Whether each is a whole number of n."""
    return all(abs(share * n - round(share * n)) < 1e-6 for share in shares)
