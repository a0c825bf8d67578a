"""A retest of what the policy is paid: the critic is asked again about the best and the worst paid answer to each question.

The best paid and the worst paid of each question's answers are shown to the same critic again, each beside the expert's as
before, in the other order, with fresh noise. If pay depends on the answer, most of the difference between the two goes to the
better paid one again. If pay is a lottery (a critic that guesses; verdicts that reach the wrong rollout), half of it does,
whatever the answers and however sound the critic, and less if the order alone decides: the reward's retest reliability. Each
pair is weighted by its difference: most answers of a policy that mostly errs are worth nothing, and their order tells nothing.
Nothing is learnt from it, and its tokens are not the game's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..config import Config
from ..game.rewards import policy_reward
from ..records import Pair, Sampling
from ..roles import asking, judgements
from ..roles.judgements import Judgement
from ..rollout.engine import Engine
from ..rollout.models import Speaker

Paid = tuple[Pair, float]
"""An answer beside its expert's, as it was judged, and what it earned."""


def retested(speaker: Speaker, critic: Engine, groups: Sequence[Sequence[Paid]], config: Config, step: int) -> list[float]:
    """For each group of answers to one question in which two earned different amounts: what the best paid is worth when the
    critic is asked again, less what the worst paid is, -1 to 1; 0 if that cannot be read. groups: the judged answers of one
    question each."""
    chosen = [pair for group in groups for pair in extremes(group)]
    shown = [pair if pair.alone else replace(pair, expert_first=not pair.expert_first) for pair in chosen]
    asked = [asking.critic(speaker, pair, config, "retest", i) for i, pair in enumerate(shown)]
    sampling = Sampling(config.rollout.judging_temperature, config.rollout.critic_tokens, config.seed, step)
    written = critic.generate(asked, 1, sampling)
    read = judgements.read_all(shown, asked, written, speaker, critic, config)
    worth = [policy_reward([one.probs], config.raro.tau_pol, config.raro.ceiling) for one in read]
    return [0.0 if None in two else two[0] - two[1] for two in zip(worth[::2], worth[1::2], strict=True)]


def retest_share(apart: Sequence[float]) -> float | None:
    """The part of what best and worst paid answers are worth apart that goes to the best paid, 0 to 1: one half by lot, since
    each difference may then as well be the other way. None where none differ."""
    total = sum(map(abs, apart))
    return sum(max(0.0, one) for one in apart) / total if total else None


def groups(
    judged: Sequence[Sequence[Judgement]], judged_as: Sequence[int], earned: Sequence[float | None], k: int
) -> list[list[Paid]]:
    """The answers that were judged and paid, those of a question together. judged_as: for each rollout the one whose pair was
    judged for it. k: rollouts of a question."""
    shown = {group[0].pair.rollout_id: group[0].pair for group in judged if group[0].pair.age == 0}
    own = [(shown.get(i), reward) for i, reward in zip(judged_as, earned, strict=True)]
    return [[(pair, pay) for pair, pay in own[i : i + k] if pair and pay is not None] for i in range(0, len(own), k)]


def extremes(group: Sequence[Paid]) -> tuple[Pair, ...]:
    """The pairs of the answers that earned most and least, the first of each; none where they earned the same or say the
    same."""
    best, worst = max(group, key=_pay, default=None), min(group, key=_pay, default=None)
    if best is None or best[1] == worst[1] or best[0].policy == worst[0].policy:
        return ()
    return best[0], worst[0]


def _pay(paid: Paid) -> float:
    return paid[1]
