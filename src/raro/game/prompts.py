"""The messages of both roles. One code path for every model: the tokenizer's chat template renders them, the miniature's too.

The critic never sees the policy's thought, nor which answer is whose; it sees both answers whole (cut answers
hide junk behind the cut).
"""

from __future__ import annotations

import re

from ..records import Pair

Message = dict[str, str]
LABEL = re.compile(r"^(?=[^\S\n]*(?:First|Second) answer:)", re.IGNORECASE | re.MULTILINE)
"""Where a line begins as the critic's own labels do."""


def policy_messages(question: str, instruction: str) -> list[Message]:
    """What the policy is asked. instruction: the system text of its role (config `prompts.policy`)."""
    return [{"role": "system", "content": instruction}, {"role": "user", "content": question}]


def critic_messages(pair: Pair, instruction: str) -> list[Message]:
    """What the critic is asked about one pair, in the pair's own order; of an answer alone, that answer."""
    first, second = map(quoted, (pair.expert, pair.policy) if pair.expert_first else (pair.policy, pair.expert))
    content = f"{pair.question}\n\nFirst answer:\n{first}" + ("" if pair.alone else f"\n\nSecond answer:\n{second}")
    return [{"role": "system", "content": instruction}, {"role": "user", "content": content}]


def quoted(answer: str) -> str:
    """The answer, with `> ` before each of its lines that looks like a label of ours: none can end itself and put another
    answer in the place of its rival's."""
    return LABEL.sub("> ", answer)
