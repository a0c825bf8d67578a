"""What a model is asked, wherever it is: the policy a question, the critic about a pair. role and group name the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import Config
from ..game.prompts import critic_messages, policy_messages
from ..records import Pair, Prompt

if TYPE_CHECKING:
    from ..rollout.models import Speaker


def policy(speaker: Speaker, question: str, config: Config, role: str, group: int) -> Prompt:
    """What a policy is asked."""
    return speaker.prompt(policy_messages(question, config.prompts.policy), role, group)


def critic(speaker: Speaker, pair: Pair, config: Config, role: str, group: int) -> Prompt:
    """What a critic is asked about a pair; where it is not to reason, behind a thought that is closed already."""
    instruction = config.prompts.critic_alone if pair.alone else config.prompts.critic
    prompt = speaker.prompt(critic_messages(pair, instruction), role, group)
    return prompt if config.raro.reasoning else speaker.after(prompt, "")
