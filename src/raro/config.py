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

from .agreement import conflicts
from .errors import BadInput
from .settings import recorded
from .settings.data import Base, Demonstrations, PersonalAction, PersonalKind, Privacy, Prompts, Reader, ShowText
from .settings.judging import Evaluation, Gate, Judge
from .settings.methods import MethodName
from .settings.operations import Notify, Registry, Resources, Tracking
from .settings.reading import parsed_yaml, read_yaml
from .settings.training import GuardAction, GuardName, Guards, Probes, Raro, Rollout, Warmstart
from .typed import built, doc, trimmed

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
    "agreed",
    "load",
    "overridden",
    "packaged_names",
    "parse",
    "stored",
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
    seed: int = doc(0, "seed of everything random", low=0, high=2**31 - 1)
    method: MethodName = doc("raro", "what trains: raro, or a rival on the same loop (docs/methods.md)")
    base: Base = doc(Base(), "the model the run starts from")
    demonstrations: Demonstrations = doc(Demonstrations(), "the experts' work")
    prompts: Prompts = doc(Prompts(), "system prompts of both roles")
    warmstart: Warmstart = doc(Warmstart(), "supervised format lessons")
    raro: Raro = doc(Raro(), "the game")
    guards: Guards = doc(Guards(), "how training that goes wrong is noticed, and what is done then")
    probes: Probes = doc(Probes(), "what is measured beside the game")
    rollout: Rollout = doc(Rollout(), "how both roles write")
    evaluation: Evaluation = doc(Evaluation(), "how the candidate is evaluated")
    judge: Judge = doc(Judge(), "what compares answers with the experts' where no checker can")
    gate: Gate = doc(Gate(), "when a candidate becomes champion")
    registry: Registry = doc(Registry(), "where models are registered")
    tracking: Tracking = doc(Tracking(), "MLflow")
    notify: Notify = doc(Notify(), "who is told how a run ended")
    privacy: Privacy = doc(Privacy(), "what may be shown")
    resources: Resources = doc(Resources(), "the machine")

    def canonical(self) -> str:
        """The configuration as one line of JSON with sorted keys: what travels, and what the digest is of. A setting that a
        release added (`later`) stands in it where it is not at its default: older runs keep their digests, and go on."""
        told = trimmed(dataclasses.asdict(self), Config())
        return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

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
    def shows_all(self) -> bool:
        """Whether texts may be seen as their experts wrote them: nothing of them is masked or kept back."""
        return self.privacy.show_text is ShowText.full and not self.demonstrations.personal_data

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
    if not str(source).strip():
        raise BadInput("the configuration's name is empty", "name a YAML file; perhaps a variable in the command is not set")
    path, packaged = Path(source), None
    bare = path.name == str(source) and not path.suffix
    if bare and not path.is_file() and (named := resources.files("raro.configs") / f"{source}.yaml").is_file():
        packaged = named  # be there a folder of that name: people keep their data in one
    elif path.is_dir():
        raise BadInput(f"config '{path}' is a folder", "name a YAML file; a run's folder goes to --output")
    elif bare and not path.exists():
        raise BadInput(f"config '{source}' does not exist", f"give a YAML file, or one of: {', '.join(packaged_names())}")
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
    """A Config from a mapping or from canonical JSON, for a run that is to be. Raises BadInput."""
    config = stored(data)
    agreed(config)
    return config


def stored(data: Mapping[str, Any] | str) -> Config:
    """The same of what was written before, by this release or an older one: settings that are refused together by now may stand
    in it, for it is still to be read, reported, served and audited. Whoever trains by it asks `agreed` first. Raises BadInput,
    for a password in it too: it is recorded."""
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except json.JSONDecodeError:
            raise BadInput("the configuration is not valid JSON", "pass the canonical JSON that preflight wrote") from None
    config = built(Config, data)
    recorded.check(dataclasses.asdict(config))
    return config


def agreed(config: Config) -> None:
    """Raises BadInput for the first of its settings that do not go together."""
    for line, remedy in conflicts(config):
        raise BadInput(line, remedy)


def _override(data: dict, text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"--set '{text}' is not key=value", "write for example --set raro.steps=100")
    parsed = parsed_yaml(value, f"--set {key}: its value", f"write a text in quotes: --set '{key}=\"...\"'")
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise BadInput(f"--set {key}: '{section}' is not a section", "the sections are in src/raro/settings/")
    data[last] = parsed
