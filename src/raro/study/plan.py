"""What a study compares: a YAML file that names a configuration, and for each arm what it changes in it.

config: countdown-mini          a packaged name, or a YAML file
seeds: [0, 1, 2]
budget: raro                    the other arms train until they have spent this arm's rollout tokens at the same seed
budgets: [500000, 2000000]      or: every arm once for each of these budgets of rollout tokens, compared within it
set: {resources.processes: 1}   changed for every arm
arms:
  raro: {}
  rlvr: {method: rlvr}
  other: {base.uri: /models/other, seeds: [0], says: another base}      an arm may name seeds of its own, and say what it is
axes:                           accuracy is drawn against these numbers, each that of an arm
  "parameters, millions": {raro: 0.16, other: 0.8}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ..config import Config, load
from ..errors import BadInput
from ..settings.reading import read_yaml

PREFIX = "study-"
KEYS = {"config", "seeds", "budget", "budgets", "set", "arms", "axes"}
NAME = re.compile(r"(?!(base|warmstart)$)\w[\w .+-]*")
"""An arm's: the name of a folder, and of a row of the table, which has rows of its own for base and warm start."""


@dataclass(frozen=True)
class Arm:
    """One line of the table. changes: configuration keys and their values. seeds: its runs. budget: of those it is run for; 0:
    the study names none. says: what it is, for people; no part of the digest."""

    name: str
    changes: Mapping[str, Any]
    seeds: tuple[int, ...]
    budget: int = 0
    says: str = ""

    @property
    def role(self) -> str:
        """Its name without its budget."""
        return self.name.removesuffix(_budgeted("", self.budget))


@dataclass(frozen=True)
class Study:
    """arms: in the order of the table. budget: name of the arm whose spent tokens the others get; None: each its own steps.
    axes: {what is varied: {arm's name without its budget: its number}}, for drawing; no part of the digest."""

    name: str
    config: str
    arms: tuple[Arm, ...]
    budget: str | None
    axes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def lead(self, arm: Arm) -> Arm:
        """The arm that `arm` is compared with: the one that sets the budget, else the first; of the same budget."""
        found = [a for a in self.arms if a.budget == arm.budget]
        return next((a for a in found if a.name == self.budget), found[0])

    def peer(self, arm: Arm, role: str) -> Arm | None:
        """The arm of this role with the budget of `arm`."""
        return next((a for a in self.arms if a.budget == arm.budget and a.role == role), None)

    @property
    def digest(self) -> str:
        """sha256 of what is compared."""
        body = [self.config, self.budget, [[a.name, dict(a.changes), a.seeds] for a in self.arms]]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    def configured(self, arm: Arm, seed: int, tokens: int = 0) -> Config:
        """The configuration of one run. tokens: its budget; 0: none."""
        changes = {**arm.changes, "seed": seed} | ({"raro.tokens": tokens} if tokens else {})
        return load(self.config, [f"{key}={json.dumps(value)}" for key, value in changes.items()])

    def narrowed(self, names: Sequence[str] | None, seeds: Sequence[int] | None) -> Study:
        """The same with these arms and seeds only, each once. Raises BadInput for an arm it lacks, or without the one that sets
        the budget."""
        known = dict.fromkeys(arm.role for arm in self.arms)
        if unknown := [name for name in names or () if name not in known]:
            raise BadInput(f"study '{self.name}' has no arm '{unknown[0]}'", f"it has: {', '.join(known)}")
        chosen = [arm for arm in self.arms if not names or arm.role in names]
        if self.budget and self.budget not in [arm.name for arm in chosen]:
            raise BadInput(f"the arms take their budget from '{self.budget}', which is left out", f"add {self.budget}")
        return replace(
            self, arms=tuple(replace(arm, seeds=tuple(dict.fromkeys(seeds))) for arm in chosen) if seeds else tuple(chosen)
        )


def packaged_studies() -> list[str]:
    """Names of the packaged studies."""
    names = (path.name for path in resources.files("raro.configs").iterdir())
    return sorted(n.removeprefix(PREFIX).removesuffix(".yaml") for n in names if n.startswith(PREFIX))


def read(name: str) -> Study:
    """A study from a YAML file or a packaged name. Every arm's configuration is checked. Raises BadInput."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise BadInput(f"study file '{path}' does not exist", f"packaged ones: {', '.join(packaged_studies())}")
        file: Traversable = path
    elif name in packaged_studies():
        file = resources.files("raro.configs") / f"{PREFIX}{name}.yaml"
    else:
        raise BadInput(f"unknown study '{name}'", f"a YAML file, or one of: {', '.join(packaged_studies())}")
    return _study(name, read_yaml(file, f"study '{name}'"))


def _budgeted(name: str, budget: int) -> str:
    return f"{name}, {budget / 1e6:g} M" if budget else name


def _study(name: str, data: Any) -> Study:
    if not isinstance(data, dict) or not isinstance(data.get("arms"), dict) or not data["arms"]:
        raise BadInput(f"study '{name}' has no arms", "see src/raro/study/plan.py for the layout")
    if unknown := set(data) - KEYS:
        raise BadInput(f"study '{name}': unknown key '{sorted(unknown)[0]}'", f"known: {', '.join(sorted(KEYS))}")
    common, seeds, budgets = data.get("set") or {}, data.get("seeds", [0]), data.get("budgets") or []
    for place, settings in {"set": common, **data["arms"]}.items():
        if not isinstance(settings or {}, dict):
            raise BadInput(f"study '{name}': '{place}' holds no settings", "write for example {raro.steps: 50}")
    if budgets and data.get("budget"):
        raise BadInput(f"study '{name}' has a budget and budgets", "keep one of them")
    if not isinstance(budgets, list) or not all(isinstance(b, int) and b > 0 for b in budgets):
        raise BadInput(f"study '{name}': its budgets are not whole numbers of tokens", "write for example [500000, 2000000]")
    arms = []
    for arm, changes in data["arms"].items():
        if not isinstance(arm, str) or not NAME.fullmatch(arm):
            raise BadInput(f"study '{name}': '{arm}' cannot be an arm's name", "write a word or two, and a number in quotes")
        own = dict(changes or {})
        its, says = own.pop("seeds", seeds), str(own.pop("says", ""))
        its, changed = tuple(its) if isinstance(its, list) else (), common | own
        arms += [Arm(_budgeted(arm, b), changed | {"raro.tokens": b}, its, b, says) for b in budgets]
        arms += [] if budgets else [Arm(arm, changed, its, says=says)]
    study = Study(name, str(data.get("config", "countdown-mini")), tuple(arms), data.get("budget"), data.get("axes") or {})
    _check_axes(study)
    if study.budget and study.budget not in list(data["arms"]):
        raise BadInput(f"study '{name}': budget '{study.budget}' is no arm", "name one of its arms")
    for arm in study.arms:
        if not arm.seeds or not all(isinstance(seed, int) and seed >= 0 for seed in arm.seeds):
            raise BadInput(f"study '{name}': the seeds of '{arm.name}' are not whole numbers", "write for example [0, 1, 2]")
        if len(set(arm.seeds)) < len(arm.seeds):
            raise BadInput(
                f"study '{name}': a seed of '{arm.name}' is listed twice", "it would count as two runs: name it once"
            )
        study.configured(arm, arm.seeds[0])
    if len({arm.name for arm in study.arms}) < len(study.arms):
        raise BadInput(f"study '{name}': two of its budgets are the same, to six digits", "name each once")
    return study


def _check_axes(study: Study) -> None:
    """Raises BadInput where an axis names no arm, or no number."""
    known = {arm.role for arm in study.arms}
    for axis, places in study.axes.items() if isinstance(study.axes, Mapping) else [("axes", study.axes)]:
        if not isinstance(places, Mapping) or not all(type(place) in (int, float) for place in places.values()):
            raise BadInput(f"study '{study.name}': axis '{axis}' is not a number for each arm", "write for example {raro: 104}")
        if unknown := [arm for arm in places if arm not in known]:
            raise BadInput(f"study '{study.name}': axis '{axis}' names no arm: '{unknown[0]}'", f"it has: {', '.join(known)}")
