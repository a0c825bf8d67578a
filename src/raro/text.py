"""The one normaliser of answers, the tags both roles speak, and lists as sentences have them.

Experts' answers pass through `normalise` when they are ingested, the policy's before the critic sees them: otherwise spacing
or an exotic dash would tell the critic who wrote what, and it would learn nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

THINK, END_THINK = "<think>", "</think>"
_TAGS = re.compile(r"</?\s*(?:think|verdict)\s*>", re.IGNORECASE)
_PLAIN = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00a0": " "}
)
_INVISIBLE = re.compile(
    "[\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\x00-\x08\x0b-\x1f\x7f]"
)


def normalise(text: str) -> str:
    """Text with one spelling for what looks alike: NFKC, plain quotes and dashes, no invisible characters, none of our own
    tags, single blanks, at most one empty line; between ``` fences a line keeps its blanks, which code may depend on.
    Idempotent."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    # Until nothing changes: what is taken out may leave a new tag, or a letter beside its accent.
    while (bare := _bare(text)) != text:
        text = bare
    if "\n" not in text:
        return " ".join(text.split())
    text = text.strip()
    if not _uneven(text):
        return text
    lines, fenced = [], False
    for line in text.split("\n"):
        single = " ".join(line.split())
        fence = single.startswith("```")
        lines.append(line.expandtabs(4).rstrip() if fenced and not fence else single)
        fenced ^= fence
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _uneven(text: str) -> bool:
    """Whether a line may change: without these, all blanks being plain, none does."""
    plain = text.isascii() or not ("\x85" in text or "\u1680" in text)
    return not plain or "  " in text or " \n" in text or "\n " in text or "\n\n\n" in text or "\t" in text


def _bare(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_PLAIN)
    if not text.isprintable() and not text.replace("\n", "").isprintable():  # none of _INVISIBLE is
        text = _INVISIBLE.sub("", text)
    return _TAGS.sub("", text) if "<" in text else text


def split_thought(text: str) -> tuple[str, str] | None:
    """(thought, answer) of a completion `<think> ... </think> answer`, or None where it is malformed.

    Well-formed means: starts with the opening tag, closes it exactly once, says nothing that looks like a tag again, and has an
    answer that is not empty after normalising.
    """
    text = text.strip()
    if not text.startswith(THINK) or text.count(THINK) != 1 or text.count(END_THINK) != 1:
        return None
    thought, answer = text[len(THINK) :].split(END_THINK)
    if _TAGS.search(answer):
        return None
    answer = normalise(answer)
    return (thought.strip(), answer) if answer else None


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
