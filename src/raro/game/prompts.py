"""The messages of both roles. One code path for every model: the tokenizer's chat template renders them, the miniature's too.

The critic never sees the policy's thought, nor which answer is whose; it sees both answers whole (cut answers
hide junk behind the cut).
"""

from __future__ import annotations

from ..records import Pair

Message = dict[str, str]


def policy_messages(question: str, instruction: str) -> list[Message]:
    """What the policy is asked. instruction: the system text of its role (config `prompts.policy`)."""
    return [{"role": "system", "content": instruction}, {"role": "user", "content": question}]


def critic_messages(pair: Pair, instruction: str) -> list[Message]:
    """What the critic is asked about one pair, in the pair's own order; of an answer alone, that answer."""
    first, second = (pair.expert, pair.policy) if pair.expert_first else (pair.policy, pair.expert)
    content = f"{pair.question}\n\nFirst answer:\n{first}" + ("" if pair.alone else f"\n\nSecond answer:\n{second}")
    return [{"role": "system", "content": instruction}, {"role": "user", "content": content}]
