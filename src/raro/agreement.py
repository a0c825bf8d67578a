"""Settings that do not go together: what would be passed over in silence, or crash later, is one line with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import Config
    from .settings.training import Raro

Conflict = tuple[str, str]
BACK = "set one of them back"


def conflicts(config: Config) -> Iterator[Conflict]:
    """(what does not go together, the remedy), the first that is to be mended first."""
    yield from _verdicts(config.raro)
    yield from _guards(config)
    yield from _measures(config)
    yield from _texts(config)
    yield from _judges(config)
    yield from _model(config)
    if config.demonstrations.dev_share + config.demonstrations.test_share >= 1:
        yield "demonstrations.dev_share and test_share leave nothing to train on", "lower them"


def _verdicts(raro: Raro) -> Iterator[Conflict]:
    """What a verdict teaches."""
    if raro.verdict == "expected" and raro.updates > 1:
        yield "raro.verdict is expected, and raro.updates is above 1", "an expectation is learnt from once: set raro.updates=1"
    alone = raro.critic_group == "pair" and raro.verdict == "said" and raro.verdicts == 1
    if alone and raro.lambda_crit:
        yield (
            "raro.critic_group is pair, and raro.verdicts 1: a verdict is compared only with itself, which teaches nothing",
            "set raro.verdicts=2 or more, raro.critic_group=question, or raro.verdict=expected",
        )
    if raro.orders == "both" and raro.critic == "absolute":
        yield "raro.orders is both, and raro.critic absolute: one answer alone has no order", "set raro.orders=one"


def _guards(config: Config) -> Iterator[Conflict]:
    """A guard that is to act needs a figure to look at."""
    looks: Mapping[str, tuple[str, float]] = {
        "chance": ("probes.health_every", config.probes.health_every),
        "lottery": ("probes.retest_every", config.probes.retest_every),
        "cycling": ("probes.older_items and raro.snapshots", config.probes.older_items * config.raro.snapshots),
        "drift": ("raro.kl_pol or raro.kl_crit", config.raro.kl_pol + config.raro.kl_crit),
    }
    for guard, action in config.guards.actions.items():
        if action not in ("off", "warn") and guard in looks and not looks[guard][1]:
            yield (
                f"guards.actions has {guard} {action}, but nothing is measured that this guard watches",
                f"set {looks[guard][0]} above 0, or leave it out",
            )


def _measures(config: Config) -> Iterator[Conflict]:
    """What is decided by a figure that nothing measures."""
    raro = config.raro
    if raro.kl_budget and not raro.kl_pol:
        yield "raro.kl_budget is set, and no KL is measured: raro.kl_pol is 0", "set raro.kl_pol, if only to 1e-6"
    if raro.early_stop and not (config.probes.older_items and raro.snapshots):
        yield "raro.early_stop is set, and no snapshots are compared", "set raro.snapshots and probes.older_items above 0"
    if 0 < config.rollout.importance_cap < 1:
        yield "rollout.importance_cap is below 1, what a token counts where both agree", "set it to 2, or to 0 for none"
    if config.rollout.importance_cap and raro.updates > 1:
        yield "rollout.importance_cap is set, and raro.updates above 1: the clipped ratio corrects by itself", "leave one out"
    if not config.rollout.temperature:
        yield "rollout.temperature is 0: all answers to a question would be the same", "set rollout.temperature=1"
    if raro.lambda_pol == raro.lambda_crit == 0:
        yield "raro.lambda_pol and raro.lambda_crit are both 0", "give at least one role a weight"
    kept = _set({"raro.kl_budget": raro.kl_budget, "raro.past_critics": raro.past_critics})
    if kept and not raro.snapshots:
        yield f"{kept[0]} is set, and no weights are kept: raro.snapshots is 0", "set raro.snapshots above 0"
    if 0 < raro.gate < raro.gate_shut:
        yield "raro.gate_shut is above raro.gate, so the gate could never stay open", "lower raro.gate_shut"


def _texts(config: Config) -> Iterator[Conflict]:
    """What would show texts by another way than those that privacy.show_text guards."""
    data = config.demonstrations
    texts = {data.question, data.answer, data.messages, data.choices, *re.findall(r"\{([^{}?]+)\??\}", data.template)}
    texts |= {"context", "answers"} if data.reader == "squad" else set()
    if not config.shows_all and (named := [column for column in config.evaluation.strata if column in texts]):
        yield (
            f"evaluation.strata names '{named[0]}', which is asked or answered: as labels its texts would be in the report and "
            "the audit log, and privacy.show_text or demonstrations.personal_data keeps them back",
            "name a column of few values, such as a topic",
        )


def _judges(config: Config) -> Iterator[Conflict]:
    """Which critic judges, and what it is asked for."""
    raro = config.raro
    separate = raro.critic_model == "separate"
    if raro.control == "frozen" and raro.lambda_crit:
        yield (
            "raro.control is frozen and raro.lambda_crit above 0: the policy would learn what another model's critic wrote",
            "set raro.lambda_crit=0",
        )
    judges = _set(
        {
            "raro.control=frozen": raro.control == "frozen",
            "raro.critic_model=separate": separate,
            "raro.past_critics": raro.past_critics,
        }
    )
    if len(judges) > 1:
        yield f"{judges[0]} and {judges[1]} each say which critic judges", BACK
    if raro.past_critics and raro.orders == "both":
        yield (
            "raro.past_critics is set, and raro.orders both: two critics would judge an answer, one in each order",
            "set raro.orders=one",
        )
    asked = _set(
        {
            "evaluation.tournament": config.evaluation.tournament,
            "probes.exploit_steps": config.probes.exploit_steps,
            "raro.kl_budget": raro.kl_budget,
        }
    )
    if separate and asked:
        yield (
            f"{asked[0]} is set, and raro.critic_model separate: the candidate is the last step's policy, without its critic",
            BACK,
        )
    if config.evaluation.tournament and raro.critic == "absolute":
        yield (
            "evaluation.tournament is set, and raro.critic is absolute: it never learnt to compare two answers",
            "set evaluation.tournament=0",
        )


def _model(config: Config) -> Iterator[Conflict]:
    """What weights are trained, and where they lie."""
    lora, dpo = config.base.lora_rank, config.method == "dpo"
    if config.rollout.engine == "vllm" and lora:
        yield "rollout.engine is vllm, which is handed whole models, and base.lora_rank is set", BACK
    if dpo and lora:
        yield "method is dpo, whose reference becomes the trained model, and base.lora_rank is set", "set base.lora_rank=0"
    if dpo and config.raro.updates > 1:
        yield "method is dpo, which weighs a pair by its margin of now, and raro.updates is above 1", "set raro.updates=1"
    separate = config.raro.critic_model == "separate"
    whole = _set({"base.lora_rank": lora, "raro.critic_model=separate": separate, "method=dpo": dpo})
    if config.resources.sharding == "full" and whole:
        yield f"resources.sharding is full, which does not work with {whole[0]}", BACK


def _set(settings: Mapping[str, float]) -> list[str]:
    """The names of those that are not 0."""
    return [name for name, value in settings.items() if value]
