"""The whole run's configuration: typed, frozen, digestible. One YAML file, one `Config`, one canonical JSON string.

Class defaults are for a pretrained LLM; where the paper gives a value it is the paper's. Each field says what it means and
where its default comes from (P: the paper as far as known, its confidence in docs/method.md; M: measured; O: our choice).
`configs/*.yaml` say why they depart.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import BadInput
from .settings import recorded
from .settings.data import Base, Demonstrations, PersonalAction, PersonalKind, Privacy, Prompts, Reader, ShowText
from .settings.judging import Evaluation, Gate, Judge
from .settings.methods import MethodName
from .settings.operations import Notify, Registry, Resources, Tracking
from .settings.reading import parsed_yaml, read_yaml
from .settings.training import GuardAction, GuardName, Guards, Probes, Raro, Rollout, Warmstart
from .typed import built, doc

__all__ = [
    "Base",
    "Config",
    "Demonstrations",
    "Evaluation",
    "Gate",
    "GuardAction",
    "GuardName",
    "Guards",
    "Judge",
    "Notify",
    "OPERATIONS",
    "PACE",
    "PersonalAction",
    "PersonalKind",
    "Privacy",
    "Probes",
    "Prompts",
    "Raro",
    "Reader",
    "Registry",
    "Resources",
    "Rollout",
    "SCHEMA",
    "ShowText",
    "Tracking",
    "Warmstart",
    "load",
    "overridden",
    "packaged_names",
    "parse",
    "unpaced",
]

SCHEMA = 1
PACE: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "resources": (Resources, ("batch_tokens", "packing", "gradient_checkpointing", "threads", "ingest_processes")),
    "rollout": (Rollout, ("slots", "vllm_memory")),
}
"""Settings that change how fast a run computes, or in how much memory, and what comes of it in its rounding alone: a run that
ran out of memory goes on with others. `resources.processes` and `sharding` are none of them: by these a cluster deals out
machines; nor is the engine or the dtype, which change what is sampled."""
OPERATIONS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "registry": (Registry, tuple(field.name for field in dataclasses.fields(Registry) if field.name != "model")),
    "tracking": (Tracking, tuple(field.name for field in dataclasses.fields(Tracking) if field.name != "experiment")),
    "notify": (Notify, tuple(field.name for field in dataclasses.fields(Notify))),
}
"""Settings of where a result goes and who is told, which change nothing that is trained: a run whose policy or store was wrong
goes on with others. `registry.model` is none of them: it names the champion that a candidate is measured against; nor is
`tracking.experiment`: the run lies in that one by then. Where another server has another base, the steps that read it run
again; where it has another champion, ingest asks its gate again, and the candidate is evaluated again."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run."""

    schema: int = doc(SCHEMA, "version of this layout", low=SCHEMA, high=SCHEMA)
    name: str = doc("raro", "what this configuration is for")
    seed: int = doc(0, "of everything random", low=0, high=2**31 - 1)
    method: MethodName = doc("raro", "what trains: raro, or a rival on the same loop (docs/methods.md)")
    base: Base = doc(Base(), "the model the run starts from")
    demonstrations: Demonstrations = doc(Demonstrations(), "the experts' work")
    prompts: Prompts = doc(Prompts(), "system texts of both roles")
    warmstart: Warmstart = doc(Warmstart(), "supervised format lessons")
    raro: Raro = doc(Raro(), "the game")
    guards: Guards = doc(Guards(), "when training is going wrong, and what is done then")
    probes: Probes = doc(Probes(), "what is looked at beside the game")
    rollout: Rollout = doc(Rollout(), "how both roles write")
    evaluation: Evaluation = doc(Evaluation(), "what is measured")
    judge: Judge = doc(Judge(), "who compares answers with the experts' where no checker can")
    gate: Gate = doc(Gate(), "when a candidate becomes champion")
    registry: Registry = doc(Registry(), "where models are registered")
    tracking: Tracking = doc(Tracking(), "MLflow")
    notify: Notify = doc(Notify(), "who is told how a run ended")
    privacy: Privacy = doc(Privacy(), "what may be shown")
    resources: Resources = doc(Resources(), "the machine")

    def canonical(self) -> str:
        """The configuration as one line of JSON with sorted keys: what travels, and what the digest is of."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @property
    def identity(self) -> str:
        """What a run's finished steps and its checkpoints are known by: the digest with the settings of PACE and OPERATIONS at
        their defaults. What is recorded as evidence, or cached, and a new folder's name go by `digest`."""
        return built(Config, unpaced(dataclasses.asdict(self))).digest

    @property
    def asks_general(self) -> bool:
        """Whether general items are asked: a packaged miniature cannot talk, and is asked only where the settings say so."""
        setting = self.evaluation.general
        return setting == "always" or setting == "auto" and not self.base.uri.startswith("package://")


# ---------------------------------------------------------------------------------------------------------------- reading


def load(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file, or of a packaged one by its bare name, with `section.key=value` overrides.

    Raises BadInput naming the key, the value and the remedy.
    """
    path, packaged = Path(source), None
    if not path.exists() and path.name == str(source) and not path.suffix:
        packaged = resources.files("raro.configs") / f"{source}.yaml"
        if not packaged.is_file():
            raise BadInput(f"config '{source}' does not exist", f"give a YAML file, or one of: {', '.join(packaged_names())}")
    elif path.is_dir():
        raise BadInput(f"config '{path}' is a folder", "name a YAML file; a run's folder goes to --output")
    elif not path.is_file():
        raise BadInput(f"config file '{path}' does not exist", "check the path")
    data = read_yaml(packaged or path, f"config '{source}'")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise BadInput(f"config '{source}' holds a {type(data).__name__}, not a mapping", "write `key: value` lines")
    return parse(overridden(data, overrides))


def overridden(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The mapping itself, changed by `section.key=value` overrides. Raises BadInput."""
    if not isinstance(data, dict):
        raise BadInput(f"a configuration is a mapping, not a {type(data).__name__}", "put the run's own config.json back")
    for override in overrides:
        _override(data, override)
    return data


def unpaced(data: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain data with the settings of PACE and OPERATIONS at their defaults."""
    free = {**PACE, **OPERATIONS}
    plain = {section: {key: getattr(kind(), key) for key in keys} for section, (kind, keys) in free.items()}
    return {section: value | plain[section] if section in plain else value for section, value in data.items()}


def packaged_names() -> list[str]:
    """Names of the packaged configurations."""
    names = (path.name for path in resources.files("raro.configs").iterdir())
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("study-"))


def parse(data: Mapping[str, Any] | str) -> Config:
    """A Config from a mapping or from canonical JSON. Raises BadInput, for a password in it too: it is recorded."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except json.JSONDecodeError:
            raise BadInput("the configuration is not valid JSON", "pass the canonical JSON that preflight wrote") from None
    config = built(Config, data)
    recorded.check(dataclasses.asdict(config))
    if config.raro.verdict == "expected" and config.raro.updates > 1:
        raise BadInput(
            "raro.verdict is expected, and raro.updates is above 1", "an expectation is learnt from once: set raro.updates=1"
        )
    alone = config.raro.critic_group == "pair" and config.raro.verdict == "said" and config.raro.verdicts == 1
    if alone and config.raro.lambda_crit:
        line = "raro.critic_group is pair, and raro.verdicts 1: a verdict is measured by itself alone, which teaches nothing"
        raise BadInput(line, "set raro.verdicts=2 or more, raro.critic_group=question, or raro.verdict=expected")
    if config.raro.orders == "both" and config.raro.critic == "absolute":
        raise BadInput("raro.orders is both, and raro.critic absolute: one answer alone has no order", "set raro.orders=one")
    looks: Mapping[str, tuple[str, float]] = {
        "chance": ("probes.health_every", config.probes.health_every),
        "lottery": ("probes.retest_every", config.probes.retest_every),
        "cycling": ("probes.older_items and raro.snapshots", config.probes.older_items * config.raro.snapshots),
        "drift": ("raro.kl_pol or raro.kl_crit", config.raro.kl_pol + config.raro.kl_crit),
    }
    for guard, action in config.guards.actions.items():
        if action not in ("off", "warn") and guard in looks and not looks[guard][1]:
            line = f"guards.actions has {guard} {action}, and nothing is measured that this guard could speak of"
            raise BadInput(line, f"set {looks[guard][0]} above 0, or leave it out")
    if config.raro.kl_budget and not config.raro.kl_pol:
        raise BadInput("raro.kl_budget is set, and no KL is measured: raro.kl_pol is 0", "set raro.kl_pol, be it to 1e-6")
    if config.raro.early_stop and not (config.probes.older_items and config.raro.snapshots):
        line = "raro.early_stop is set, and no snapshots are compared"
        raise BadInput(line, "set raro.snapshots and probes.older_items above 0")
    if config.raro.lambda_pol == config.raro.lambda_crit == 0:
        raise BadInput("raro.lambda_pol and raro.lambda_crit are both 0", "give at least one role a weight")
    if config.raro.control == "frozen" and config.raro.lambda_crit:
        line = "raro.control is frozen and raro.lambda_crit above 0: the policy would learn what another model's critic wrote"
        raise BadInput(line, "set raro.lambda_crit=0")
    judges = {
        "raro.control=frozen": config.raro.control == "frozen",
        "raro.critic_model=separate": config.raro.critic_model == "separate",
        "raro.past_critics": config.raro.past_critics > 0,
    }
    asked = [name for name, wanted in judges.items() if wanted]
    if len(asked) > 1:
        raise BadInput(f"{asked[0]} and {asked[1]} each say which critic judges", "set one of them back")
    kept = {"raro.kl_budget": config.raro.kl_budget, "raro.past_critics": config.raro.past_critics}
    if not config.raro.snapshots and (asked := [name for name, value in kept.items() if value]):
        raise BadInput(f"{asked[0]} is set, and no weights are kept: raro.snapshots is 0", "set raro.snapshots above 0")
    own = {"evaluation.tournament": config.evaluation.tournament, "probes.exploit_steps": config.probes.exploit_steps}
    own |= {"raro.kl_budget": config.raro.kl_budget}
    if config.raro.critic_model == "separate" and (asked := [name for name, value in own.items() if value]):
        line = f"{asked[0]} is set, and raro.critic_model separate: the candidate is the last step's policy, without its critic"
        raise BadInput(line, "set one of them back")
    if 0 < config.raro.gate < config.raro.gate_shut:
        raise BadInput("raro.gate_shut is above raro.gate, so the gate could never stay open", "lower raro.gate_shut")
    if config.evaluation.tournament and config.raro.critic == "absolute":
        line = "evaluation.tournament is set, and raro.critic is absolute: it never learnt to compare two answers"
        raise BadInput(line, "set evaluation.tournament=0")
    if config.rollout.engine == "vllm" and config.base.lora_rank:
        raise BadInput(
            "rollout.engine is vllm, which is handed whole models, and base.lora_rank is set", "set one of them back"
        )
    if config.method == "dpo" and config.base.lora_rank:
        line = "method is dpo, whose reference becomes the trained model, and base.lora_rank is set"
        raise BadInput(line, "set base.lora_rank=0")
    whole = {
        "base.lora_rank": config.base.lora_rank > 0,
        "raro.critic_model=separate": config.raro.critic_model == "separate",
        "method=dpo": config.method == "dpo",
    }
    asked = [name for name, wanted in whole.items() if wanted]
    if config.resources.sharding == "full" and asked:
        raise BadInput(f"resources.sharding is full, which {asked[0]} does not go with", "set one of them back")
    if config.demonstrations.dev_share + config.demonstrations.test_share >= 1:
        raise BadInput("demonstrations.dev_share and test_share leave nothing to train on", "lower them")
    return config


def _override(data: dict, text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"--set '{text}' is not key=value", "write for example --set raro.steps=100")
    parsed = parsed_yaml(value, f"--set {key}: its value", f"write a text in quotes: --set '{key}=\"...\"'")
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise BadInput(f"--set {key}: '{section}' is not a section", "its settings stand in src/raro/settings/")
    data[last] = parsed
