"""A final diagnosis, matched by its name: MedCaseReasoning's expert answers are a few words.

Exact, or exact after what does not change a diagnosis is taken away: case, accents, signs, articles, British spelling, Roman
numerals, a sentence around it, an abbreviation or second name in brackets. No synonyms: `myocardial infarction` and `heart
attack` do not match here, nor does a diagnosis that is less or more specific than the expert's. So this is a lower bound, and
cannot be flattered by a list of guesses. tests/test_diagnosis.py shows what it misjudges.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 400
"""Longer answers are wrong unread: a differential is no diagnosis."""
_LEAD = re.compile(
    r"^(?:(?:the|my|a|most likely|likely|probable|final|primary|correct|working|patient'?s?)\s+)*"
    r"(?:diagnosis|answer|condition|disease)\s*(?:is|was|would be|:|=)+\s*(?:most likely|likely|probably)?\s*"
    r"|^(?:the|this) patient (?:most likely |likely |probably )?(?:has|had)\s+",
    re.IGNORECASE,
)
_TAIL = re.compile(r"\s+(?:is|was) the (?:most likely |likely |final |correct )?(?:diagnosis|answer)\W*$", re.IGNORECASE)
_NO_ANSWER = re.compile(r"\?|~~")
"""A question is none, and what is struck out (Markdown) was taken back."""
_BRACKETS = re.compile(r"\(([^()]*)\)")
_PLURAL = re.compile(r"\((?:s|es)\)", re.IGNORECASE)
_QUALIFIERS = frozenset(
    [
        *("left", "right", "bilateral", "unilateral", "acute", "subacute", "chronic", "primary", "secondary"),
        *("metastatic", "recurrent", "severe", "moderate", "mild", "early", "late", "active", "inactive", "positive"),
        *("negative", "suspected", "confirmed", "type", "stage", "grade", "class", "group", "phase", "congenital"),
        *("acquired", "benign", "malignant", "in", "situ", "of", "the", "and", "or", "with", "without"),
    ]
)
"""Words that say which, and name nothing: alone in brackets they belong to the diagnosis and are no name for it."""
_ARTICLES = re.compile(r"\b(?:an|the)\b|(?:^|(?<=\bof )|(?<=\bin )|(?<=\bby )|(?<=\bto )|(?<=\bfrom )|(?<=\bwith ))a(?= )")
"""The A of hepatitis A is none."""
_SIGNS = [
    (re.compile(r"(?<=\w)\+(?!\w)"), " positive "),
    (re.compile(r"(?<=\w)[-\u2212](?!\w)"), " negative "),
    (re.compile("<"), " below "),
    (re.compile(">"), " above "),
    (re.compile("&"), " and "),
]
"""HER2+ is not HER2-."""
_GREEK = {"\u03b1": "alpha", "\u03b2": "beta", "\u03b3": "gamma", "\u03b4": "delta", "\u03ba": "kappa", "\u03bb": "lambda"}
_SPELT = str.maketrans({sign: f" {name} " for sign, name in _GREEK.items()} | {"\u00e6": "ae", "\u0153": "oe"})
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "x": 10, "xi": 11, "xii": 12}
_NUMBERED = re.compile(rf"\b(type|stage|grade|class|factor|group|phase|category) ({'|'.join(_ROMAN)})\b")


def matches(answer: str, expert: str) -> bool:
    """Whether the answer names the expert's diagnosis and nothing else."""
    if len(answer) > MAX_CHARS or _NO_ANSWER.search(answer):
        return False
    (said, parts), (wanted, names) = _named(answer), _named(expert)
    return bool(said) and (said == wanted or bool(parts) and parts <= names)


def saying(answer: str) -> str:
    """One spelling for answers that differ in what does not change a diagnosis."""
    return _named(answer)[0] or answer


def _named(text: str) -> tuple[str, set[str]]:
    """(the text as it stands, the names it gives: what is outside of its brackets, and what is in them where that is a name by
    itself, an abbreviation or a second name). An answer must give no name but the expert's: a second guess in brackets is a
    second guess."""
    text = _TAIL.sub("", _LEAD.sub("", _PLURAL.sub("", text.strip())))
    inside = {name for one in _BRACKETS.findall(text) if _names(name := _bare(one))}
    without = _BRACKETS.sub(lambda found: " " if _names(_bare(found[1])) else f" {found[1]} ", text)
    return _bare(text), {_bare(without), *inside} - {""}


def _names(bare: str) -> bool:
    return any(len(word) > 1 and word not in _QUALIFIERS and word not in _ROMAN and not word.isdigit() for word in bare.split())


def _bare(text: str) -> str:
    """Lower case, no accents, words alone, articles left out, one spelling; the possessive of an eponym goes."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    plain = re.sub(r"['\u2019]s\b", "", plain.translate(_SPELT))
    for sign, word in _SIGNS:
        plain = sign.sub(word, plain)
    plain = " ".join(_ARTICLES.sub(" ", " ".join(re.sub(r"[\W_]+", " ", plain).split())).split())
    plain = _NUMBERED.sub(lambda found: f"{found[1]} {_ROMAN[found[2]]}", plain)
    return re.sub(r"our\b", "or", re.sub("[ao]e", "e", plain))
