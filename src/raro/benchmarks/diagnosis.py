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
_ARTICLES = re.compile(r"^(?:(?:a|an|the)\b\s*)+|\bthe\b")
"""Before a name; within it `a` may be a letter: hemophilia A, hepatitis A virus."""


def matches(answer: str, expert: str) -> bool:
    """Whether the answer names the expert's diagnosis and nothing else."""
    if len(answer) > MAX_CHARS:
        return False
    (said, parts), (wanted, names) = _named(answer), _named(expert)
    return bool(said) and (said == wanted or bool(parts) and parts <= names)


def _named(text: str) -> tuple[str, set[str]]:
    """(the text as it stands, the names it gives: what is outside of its brackets, and what is in them where that is a name by
    itself, an abbreviation or a second name of three letters or more). An answer must give no name but the expert's: a second
    guess in brackets is a second guess."""
    text = _LEAD.sub("", text.strip())
    inside = [name for one in _BRACKETS.findall(text) if len((name := _bare(one)).replace(" ", "")) >= 3]
    without = _bare(_BRACKETS.sub(" ", text))
    return _bare(text), {without, *inside} - {""}


def _bare(text: str) -> str:
    """Lower case, no accents, words alone, articles left out; the possessive of an eponym goes."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    plain = re.sub(r"['\u2019]s\b", "", plain)
    words = " ".join(re.sub(r"[^\w]+", " ", plain).split())
    return " ".join(_ARTICLES.sub(" ", words).split())
