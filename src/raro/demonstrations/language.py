"""Language: which language a demonstration is written in, by py3langid (97 languages; its model lies in its wheel)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import BadInput
from ..records import Demonstration
from .readers import Refusal

LETTERS = 40  # a text with fewer says too little, and passes
CHARACTERS = (100, 1000)  # of a text are looked at: the second only where the first are not surely in an allowed language
SURE = 0.9  # probability below which a guess is no reason to refuse

_NO_LETTERS = re.compile(r"[\W\d_]+")


class Languages:
    """Refuses what is surely written in a language that is not allowed. allowed: ISO 639-1 codes."""

    def __init__(self, allowed: Sequence[str]):
        try:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier
        except ImportError:
            raise BadInput("demonstrations.languages needs py3langid", "pip install 'raro-pipelines[screens]'") from None
        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self.allowed = frozenset(allowed)
        if unknown := sorted(self.allowed - set(self._identifier.labels)):
            known = ", ".join(sorted(self._identifier.labels))
            raise BadInput(f"demonstrations.languages: '{unknown[0]}' is not known", f"there are: {known}")

    def refuse(self, demonstration: Demonstration) -> Refusal | None:
        """A refusal where question or answer is in another language."""
        for part in ("question", "answer"):
            text = getattr(demonstration, part)
            if all(len(_NO_LETTERS.sub("", text[:most])) < LETTERS for most in CHARACTERS):
                continue
            for most in CHARACTERS:
                language, probability = self._identifier.classify(text[:most])
                if language in self.allowed and probability >= SURE:
                    break
            if language not in self.allowed and probability >= SURE:
                return Refusal("language", f"the {part} is written in '{language}' ({probability:.0%})")
        return None
