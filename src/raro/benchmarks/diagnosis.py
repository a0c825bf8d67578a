"""A final diagnosis, matched by its name: MedCaseReasoning's expert answers are a few words.

Exact after what does not change a diagnosis is taken away: case, accents, signs, articles, a sentence around it, an
abbreviation in brackets. No synonyms: `myocardial infarction` and `heart attack` do not match here. So this is a lower bound,
and cannot be flattered by a list of guesses.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 400
"""Longer answers are wrong unread: a differential is no diagnosis."""
_LEAD = re.compile(
    r"^(?:(?:the|my|a|most likely|likely|probable|final|primary|correct|working|patient'?s?)\s+)*"
    r"(?:diagnosis|answer|condition|disease)\s*(?:is|was|would be|:|=)+\s*(?:most likely|likely|probably)?\s*",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\(([^()]*)\)")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def matches(answer: str, expert: str) -> bool:
    """Whether the answer names the expert's diagnosis and nothing else."""
    if len(answer) > MAX_CHARS:
        return False
    return bool(_names(answer) & _names(expert))


def _names(text: str) -> set[str]:
    """The ways in which a text names a diagnosis: as it stands, without what is in brackets, and what is in them where that is
    a name by itself (an abbreviation or a second name of three letters or more)."""
    text = _LEAD.sub("", text.strip())
    inside = [one for one in _BRACKETS.findall(text) if len(_bare(one).replace(" ", "")) >= 3]
    whole, without = _bare(text), _bare(_BRACKETS.sub(" ", text))
    return {name for name in (whole, without, *(map(_bare, inside) if without else [])) if name}


def _bare(text: str) -> str:
    """Lower case, no accents, words alone, articles left out; the possessive of an eponym goes."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    plain = re.sub(r"['\u2019]s\b", "", plain)
    return " ".join(_ARTICLES.sub(" ", re.sub(r"[^\w]+", " ", plain)).split())
