"""The figures of one step of the game, by role: plain arithmetic over what was read, named as docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from ..game.rewards import critic_reward
from ..records import Sample


def share(values: Iterable[Any], test: Callable[[Any], bool]) -> float | None:
    """Share of the values that pass, or None of none."""
    values = list(values)
    return sum(map(test, values)) / len(values) if values else None


def mean(values: Iterable[float]) -> float | None:
    """Mean, or None of none."""
    values = list(values)
    return sum(values) / len(values) if values else None


def policy_figures(answers: Sequence, earned: Sequence[float | None], samples: Sequence[Sample]) -> dict[str, float]:
    """Figures of the policy's rollouts. answers: methods.method.Answer. What is undefined is left out."""
    return _defined(
        {
            "policy/reward": mean(reward for reward in earned if reward is not None),
            "policy/tokens": mean(len(a.completion.ids) for a in answers),
            "policy/malformed": share(answers, lambda a: a.text is None and a.completion.finish == "stop"),
            "policy/truncated": share(answers, lambda a: a.completion.finish == "length"),
            "policy/zero_advantage": share((s for s in samples if s.stream == "policy"), lambda s: s.advantage == 0),
        }
    )


def critic_figures(judged: Sequence[Sequence], samples: Sequence[Sample], tau_crit: float) -> dict[str, float]:
    """Figures of the critic's rollouts. judged: groups of roles.judgements.Judgement. What is undefined is left out."""
    verdicts = [j for group in judged for j in group]
    fresh = [j for j in verdicts if j.pair.age == 0]
    figures = {
        "critic/reward": mean(critic_reward(j.probs, tau_crit) for j in verdicts),
        "critic/accuracy": _accuracy(fresh),
        "critic/accuracy_replay": _accuracy([j for j in verdicts if j.pair.age > 0]),
        "critic/accuracy_first": _accuracy([j for j in fresh if j.pair.expert_first]),
        "critic/accuracy_second": _accuracy([j for j in fresh if not j.pair.expert_first]),
        "critic/tokens": mean(len(j.completion.ids) for j in verdicts),
        "critic/truncated": share(verdicts, lambda j: j.completion.finish == "length"),
        "critic/zero_advantage": share((s for s in samples if s.stream == "critic"), lambda s: s.advantage == 0),
    }
    for name in ("expert", "policy", "tie", "malformed"):
        figures[f"critic/{name}"] = share((j.outcome for j in fresh), lambda o, name=name: o == name)
    return _defined(figures)


def transcripts(
    answers: Sequence, judged: Sequence[Sequence], earned: Sequence[float | None], step: int, most: int = 4
) -> list[dict[str, Any]]:
    """A few fresh pairs of a step, whole, for people to read. earned: by each answer. Their step counts from 1, as the figures'
    does."""
    paying = (group for group in judged if group[0].pair.age == 0 and group[0].pair.rollout_id >= 0)
    return [
        {
            "step": step + 1,
            "question": group[0].pair.question,
            "expert": group[0].pair.expert,
            "policy": group[0].pair.policy,
            "policy_thought": answers[group[0].pair.rollout_id].thought,
            "expert_first": group[0].pair.expert_first,
            "verdict": group[0].verdict,
            "outcome": group[0].outcome,
            "critic_thought": group[0].thought,
            "policy_reward": earned[group[0].pair.rollout_id],
            "age": group[0].pair.age,
        }
        for group in islice(paying, most)
    ]


def _defined(figures: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}


def _accuracy(judgements: Sequence) -> float | None:
    """expert / (expert + policy): one half is chance, whatever the share of ties."""
    return share((j.outcome for j in judgements if j.outcome in ("expert", "policy")), lambda o: o == "expert")
