"""Personal data: found by patterns and check digits, then masked, counted, or a reason to drop the row.

Numbers are checked by libraries, not by their look alone: phone numbers by phonenumbers, card, account and national numbers by
python-stdnum. Names and addresses are found only where a title, a label or a street's form gives them away: a name in running
text is NOT found, and no setting here makes a text anonymous. docs/data.md sets the kinds beside HIPAA's eighteen identifiers
(45 CFR 164.514(b)(2)). Nothing is sent anywhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from ..config import Demonstrations
from ..errors import BadInput

Span = tuple[int, int]

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    r"Nov(?:ember)?|Dec(?:ember)?)"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # how each of them begins
_DAY, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d{2}"
_CAPITAL = r"(?!(?:MRN|DOB|SSN|VIN|IMEI|NHS|ID)\b)[A-Z\u00c0-\u00dd][\w'\u2019-]+"  # but not the next thing's label
_SURNAMES = rf"(?:,?\s+(?:[A-Z]\.|{_CAPITAL}))"
_TITLE = r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Herr|Frau|Mme)\b\.?"
_PERSON = r"(?:[Pp]atient(?:'s)?(?: name)?|[Nn]ame|[Cc]lient|[Pp]laintiff|[Dd]efendant)\s*:"
_STREET = r"(?:Street|St\.|Avenue|Ave\.?|Road|Rd\.|Boulevard|Blvd\.?|Lane|Ln\.|Drive|Dr\.|Court|Ct\.|Way|Place|Square)"
_NUMBERED = (
    r"medical record|patient|chart|case|docket|member|policy|account|licen[cs]e|passport|health plan|accession|certificate"
)
_LABEL = rf"\b(?:MRN|(?:{_NUMBERED}) (?:number|no\.?|id))\s*(?:is|:|#)?\s*#?\s*"
_DEVICE = r"\b(?:VIN|serial (?:number|no\.?)|device id|IMEI)\s*(?:is|:|#)?\s*"

# Where a pattern has a group, the group is what is personal; the words around it stay.
_PATTERNS: Mapping[str, list[re.Pattern[str]]] = {
    "email": [re.compile(r"[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")],
    "url": [re.compile(r"\b(?:https?://|www\.)[^\s<>\"')\]]+", re.I)],
    "name": [
        re.compile(rf"\b{_TITLE}\s+({_CAPITAL}{_SURNAMES}{{0,2}})"),
        re.compile(rf"\b{_PERSON}\s*({_CAPITAL}{_SURNAMES}{{0,3}})"),
    ],
    "address": [
        re.compile(rf"\b\d{{1,5}}[A-Za-z]?\s+(?:{_CAPITAL}\s+){{1,4}}{_STREET}(?!\w)(?:,?\s*(?:Apt|Suite|Unit)\.?\s*\w+)?"),
        re.compile(r"\b[A-Z]{2}\s+\d{5}(?:-\d{4})?\b"),
        re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]?\s+\d[A-Z]{2}\b"),
    ],
    "date": [
        re.compile(rf"\b{_YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])\b"),
        re.compile(rf"\b{_DAY}[/.-]{_DAY}[/.-](?:{_YEAR}|\d{{2}})\b"),
    ],
    "date in words": [  # a date too
        re.compile(rf"\b{_MONTH}\.?\s+{_DAY}(?:st|nd|rd|th)?(?:,?\s+{_YEAR})?\b"),
        re.compile(rf"\b{_DAY}(?:st|nd|rd|th|\.)?\s+(?:of\s+)?{_MONTH}(?:,?\s+{_YEAR})?\b"),
    ],
    "age": [re.compile(r"\b(9\d|1[0-2]\d)(?=[- ]?years?[- ]old\b|\s+years\s+of\s+age\b|[- ]?y/?o\b)", re.I)],
    "record_number": [re.compile(rf"{_LABEL}((?=[A-Z\d/-]*\d)[A-Z\d][A-Z\d/-]{{3,24}})", re.I)],
    "device": [
        re.compile(r"\b(?:[0-9A-F]{2}[:-]){5}[0-9A-F]{2}\b", re.I),
        re.compile(rf"{_DEVICE}((?=[A-Z\d-]*\d)[A-Z\d-]{{5,24}})", re.I),
    ],
}
# SSN and ITIN; NHS; German IdNr; Spanish DNI; French NIR
_NATIONAL = r"\d{3}-\d{2}-\d{4}|\d{3}[ -]\d{3}[ -]\d{4}|\d{2} ?\d{3} ?\d{3} ?\d{3}|\d{8}-?[A-Z]|[12] ?(?:\d ?){13}\d"
_ACCOUNT = r"[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){3,7}(?: ?[A-Z\d]{1,3})?|\d(?:[ -]?\d){12,18}"
# What looks like one, and is then checked.
_CANDIDATES: Mapping[str, re.Pattern[str]] = {
    "national_id": re.compile(rf"(?<![\w-])(?:{_NATIONAL})(?![\w-])"),
    "account": re.compile(rf"(?<![\w-])(?:{_ACCOUNT})(?![\w-])"),
    "ip": re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]{3,39}:[0-9A-Fa-f:]{1,39})(?![\w:])"),
}


_DIGIT = re.compile(r"\d")
# The digits that the shortest match of a kind has.
_DIGITS = {"address": 1, "date": 1, "age": 2, "phone": 7, "national_id": 8, "record_number": 1, "account": 2}


def possible(kind: str, text: str, digits: int) -> bool:
    """False only where the text cannot hold the kind, for it lacks a sign that each form of it has. digits: of the text."""
    match kind:
        case "email":
            return "@" in text
        case "url":
            return "://" in text or "www." in text.lower()
        case "ip":
            return digits >= 4 or ":" in text
        case "device":
            return digits > 0 or text.count(":") + text.count("-") >= 5
    return digits >= _DIGITS.get(kind, 0)


class Cleaned(NamedTuple):
    """text: with the places masked. found: kinds and how often each was seen. dropped: the kind for which the row must go."""

    text: str
    found: dict[str, int]
    dropped: str


class PersonalData:
    """Looks for the kinds that are named. actions: kind -> drop, mask or keep. region: whose phone numbers need no code."""

    def __init__(self, actions: Mapping[str, str], region: str):
        self.actions, self.region = actions, region
        self._checks: dict[str, Callable[[str], bool]] = _checks()
        try:
            import phonenumbers
        except ImportError:
            raise BadInput("demonstrations.personal_data needs phonenumbers", "pip install 'raro-pipelines[screens]'") from None
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise BadInput(
                f"demonstrations.phone_region '{region}' is not a country's code", "write two letters, for example US"
            )
        self._phones = phonenumbers.PhoneNumberMatcher

    @classmethod
    def of(cls, settings: Demonstrations) -> PersonalData | None:
        """As the settings say; None where they name no kind."""
        return cls(settings.personal_data, settings.phone_region) if settings.personal_data else None

    def clean(self, text: str) -> Cleaned:
        """The text without what must be masked. Of places that overlap, the first kind in the order of `actions` wins."""
        taken: list[tuple[int, int, str]] = []
        found: dict[str, int] = {}
        digits = len(_DIGIT.findall(text))
        for kind, action in self.actions.items():
            if not possible(kind, text, digits):
                continue
            for start, end in self._spans(kind, text):
                if any(start < other_end and end > other_start for other_start, other_end, _ in taken):
                    continue
                found[kind] = found.get(kind, 0) + 1
                if action == "drop":
                    return Cleaned(text, found, kind)
                taken.append((start, end, kind))
        for start, end, kind in sorted(taken, reverse=True):
            if self.actions[kind] == "mask":
                text = f"{text[:start]}[{kind.replace('_', ' ')}]{text[end:]}"
        return Cleaned(text, found, "")

    def _spans(self, kind: str, text: str) -> Iterator[Span]:
        if kind == "phone":
            yield from ((match.start, match.end) for match in self._phones(text, self.region))
        elif kind in _CANDIDATES:
            yield from (match.span() for match in _CANDIDATES[kind].finditer(text) if self._checks[kind](match[0]))
        else:
            patterns = _PATTERNS[kind]
            if kind == "date" and any(month in text for month in _MONTHS):
                patterns = [*patterns, *_PATTERNS["date in words"]]
            for pattern in patterns:
                yield from (match.span(pattern.groups) for match in pattern.finditer(text))


def _checks() -> dict[str, Callable[[str], bool]]:
    """For each kind of number whether its check digits, or its range, are right."""
    try:
        from stdnum import iban, luhn
        from stdnum.de import idnr
        from stdnum.es import dni
        from stdnum.fr import nir
        from stdnum.gb import nhs
        from stdnum.us import itin, ssn
    except ImportError:
        raise BadInput("demonstrations.personal_data needs python-stdnum", "pip install 'raro-pipelines[screens]'") from None
    return {
        "national_id": lambda text: any(one.is_valid(text) for one in (ssn, itin, nhs, idnr, dni, nir)),
        "account": lambda text: iban.is_valid(text) if text[0].isalpha() else luhn.is_valid(re.sub(r"[ -]", "", text)),
        "ip": _is_address,
    }


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
