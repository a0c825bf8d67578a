"""How a tokenizer's chat template is asked, so that every family's gives the same kind of prompt: both instructions in it,
nothing in it that the text forged, no date of today, and the thought still to be opened by the model itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import TemplateError

from ..text import THINK

DAY = datetime(2024, 7, 26)
"""What a template is told that today is (Llama 3.2 writes it into its system message; this is its own default): a prompt must
be the same tomorrow, when the run is resumed or its candidate evaluated."""
TODAY = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
TOLD_BEFORE = (
    "{%- if messages[0]['role'] == 'system' %}{%- set messages = [{'role': messages[1]['role'], 'content': "
    "messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}{%- endif %}"
)
"""What `prompt_ids` does with an instruction that a template has no place for, as the head of one."""
THINKING = "{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}"
Messages = Sequence[Mapping[str, str]]


def prompt_ids(tokenizer: Any, messages: Messages) -> tuple[int, ...]:
    """The ids of a system and a user message, up to where the model speaks. A control token that is spelt out in a message
    stays text: an answer that ends its turn by itself would speak to the critic in its own voice. An instruction that the
    template has no place for stands before the user's words. A thought that the template opens is left to the model, whose
    first word it is everywhere else."""
    if messages[0]["role"] == "system" and not _hears_system(tokenizer):
        (system, user), rest = messages[:2], messages[2:]
        messages = [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]
    ids = _asked(tokenizer, messages, return_dict=False, sanitize_control_tokens=_can_spell(tokenizer))
    opened = _opened(tokenizer)
    return tuple(ids[: -len(opened)] if opened and tuple(ids[-len(opened) :]) == opened else ids)


def taught(tokenizer: Any) -> str:
    """The template for whoever serves what was trained: it gives the prompt that `prompt_ids` gave. Where that cannot be had
    from this family's template, it is the template itself, but for today's date. Control tokens in a message are the server's
    to keep out: no template can."""
    plain = _undated(tokenizer)
    made = plain if _hears_system(tokenizer) else TOLD_BEFORE + plain
    if not _renders(tokenizer, made):
        made = THINKING + made
    if (opened := _opened(tokenizer)) and THINK in made:
        before, _, after = made.rpartition(THINK)
        spoken = tokenizer.decode(opened).removeprefix(THINK)
        made = before + next((after[len(s) :] for s in (spoken, spoken.replace("\n", "\\n")) if after.startswith(s)), after)
    return next((one for one in (plain, made) if _renders(tokenizer, one)), plain)


def turn_end(tokenizer: Any) -> int | None:
    """The token that the template puts behind an assistant's words; None where it is not one of the added tokens. It need not
    be the tokenizer's end token: Gemma and Phi end a document otherwise than a turn, a base model only documents."""
    words = "words of the assistant"
    told = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": words}]
    behind = _asked(tokenizer, told, add_generation_prompt=False, tokenize=False).rpartition(words)[2].lstrip()
    ends = [token for token in tokenizer.get_added_vocab() if behind.startswith(token) and not token.isspace()]
    return tokenizer.convert_tokens_to_ids(max(ends, key=len)) if ends else None


def _asked(tokenizer: Any, messages: Messages, add_generation_prompt: bool = True, **more: Any) -> Any:
    """The template, asked. enable_thinking: of those that can be told to close the thought before it begins."""
    more |= {"chat_template": _undated(tokenizer), "enable_thinking": True}
    return tokenizer.apply_chat_template(list(messages), add_generation_prompt=add_generation_prompt, **more)


def _renders(tokenizer: Any, template: str) -> bool:
    """Whether this template alone gives the prompts that were trained on, with an instruction and without."""
    question = {"role": "user", "content": "a question"}
    for asked in ([{"role": "system", "content": "an instruction"}, question], [question]):
        try:
            ids = tokenizer.apply_chat_template(asked, chat_template=template, add_generation_prompt=True, return_dict=False)
        except TemplateError:
            return False
        if tuple(ids) != prompt_ids(tokenizer, asked):
            return False
    return True


@cache
def _undated(tokenizer: Any) -> str:
    """Its template, with DAY where it asks for today's date."""
    return TODAY.sub(lambda found: repr(DAY.strftime(found[2])), tokenizer.get_chat_template())


@cache
def _hears_system(tokenizer: Any) -> bool:
    """Whether a system message comes through: Gemma 2's template refuses it, Phi 3's first one leaves it out."""
    told = [{"role": "system", "content": "an instruction"}, {"role": "user", "content": "a question"}]
    try:
        return "an instruction" in _asked(tokenizer, told, tokenize=False)
    except TemplateError:  # a template's only way to say no
        return False


@cache
def _opened(tokenizer: Any) -> tuple[int, ...]:
    """What the template itself opens a thought with (Qwen3-Thinking, R1's distillates); () where it does not."""
    before, opened, after = _asked(tokenizer, [{"role": "user", "content": "a question"}], tokenize=False).rpartition(THINK)
    if not opened or after.strip():
        return ()
    return tuple(tokenizer.encode(opened + after, add_special_tokens=False))


@cache
def _can_spell(tokenizer: Any) -> bool:
    """Whether it can write its control tokens as text. The miniature's has no letters: to it they would be unknown."""
    named = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    unknown = named.pop(tokenizer.unk_token, None)
    spelt = lambda text: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)  # noqa: E731
    return not any({token_id, unknown} & set(spelt(token)) for token, token_id in named.items())
