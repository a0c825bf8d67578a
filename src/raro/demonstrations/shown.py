"""What people may see of questions and answers: the one place that decides, for quarantine, data card, `raro init`, judged
pairs, report, MLflow and `raro chat` alike.

Files for people are written as they may be shown, so that whoever reads them later has nothing to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from ..config import Config, Demonstrations, PersonalKind, ShowText
from .columns import NoColumn
from .personal import PersonalData

BEGINNING, WHOLE = 2000, 100_000  # characters of a text that is masked, to be glanced at or to be read; the rest is cut


class Shown:
    """A text as it may be shown to people: as it is, with every kind of personal data masked, or (it is false) not at all.

    Who screens for personal data must not find it again among what was refused for it: then what would be shown in full is
    masked. Raises BadInput where masking lacks its libraries.
    """

    def __init__(self, settings: Demonstrations, show_text: ShowText):
        self._any = show_text is not ShowText.none
        masked = show_text is ShowText.masked or settings.personal_data
        every = dict.fromkeys(get_args(PersonalKind), "mask")
        self._personal = PersonalData(every, settings.phone_region) if self._any and masked else None

    @classmethod
    def of(cls, config: Config) -> Shown:
        """As the configuration says."""
        return cls(config.demonstrations, config.privacy.show_text)

    @classmethod
    def to_its_asker(cls, config: Config) -> Shown:
        """What a model answers is shown to whoever asked; but what it may have learnt by heart is masked, where its
        demonstrations are not to be shown in full."""
        full = config.privacy.show_text is ShowText.full
        return cls(config.demonstrations, ShowText.full if full else ShowText.masked)

    def __bool__(self) -> bool:
        return self._any

    @property
    def masks(self) -> bool:
        """Whether what is shown is masked."""
        return self._personal is not None

    def __call__(self, text: str, most: int = BEGINNING) -> str:
        """most: characters of a text that has to be masked; the rest of it is cut."""
        return self._personal.clean(text[:most]).text if self._personal else text

    def rows(self, rows: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> list[dict[str, Any]]:
        """The rows, the texts under `keys` (or texts in a mapping there) as they may be shown; without them where none may."""
        keys = frozenset(keys)
        if not self:
            return [{key: value for key, value in row.items() if key not in keys} for row in rows]
        return [{key: self._value(value) if key in keys else value for key, value in row.items()} for row in rows]

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._value(one) for key, one in value.items()}
        return self(value, WHOLE) if isinstance(value, str) else value


def told(error: BaseException, config: Config) -> BaseException:
    """An error as it may be told: one that lists a file's columns, as far as text may be shown."""
    return error.shown(Shown.of(config)) if isinstance(error, NoColumn) else error
