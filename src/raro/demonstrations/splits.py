"""Train, dev and test: by the data's own column, or by hash of the group, so that a row keeps its split when the data grows.

Nothing that belongs together is ever divided. With hashing and the question as its own group that holds by construction, and
nothing is remembered; otherwise each group's and each question's split is, by 15 bytes of digest, on disk.
"""

from __future__ import annotations

from hashlib import sha256

from ..config import Demonstrations
from ..errors import BadInput
from ..records import Demonstration
from .readers import Refusal
from .screens import short_digest
from .seen import Seen

SPLITS = ("train", "dev", "test")
_NAMES = {"train": 0, "training": 0, "dev": 1, "validation": 1, "valid": 1, "val": 1, "test": 2}


def hashed_split(group: str, dev_share: float, test_share: float) -> str:
    """The split of a group, from nothing but its name and the shares."""
    place = int.from_bytes(sha256(f"split\0{group}".encode()).digest()[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "dev" if place < test_share + dev_share else "train"


class Splits:
    """Places demonstrations, and holds that no group and no question lies in two splits."""

    def __init__(self, settings: Demonstrations):
        self.settings = settings
        self._seen = Seen("groups", "questions")

    def place(self, demonstration: Demonstration, named: str) -> str | Refusal:
        """The demonstration's split. named: what the split column says.

        A question that another group has already put in another split is refused. Raises BadInput where the column puts one
        group in two splits.
        """
        settings = self.settings
        if settings.split:
            number = _NAMES.get(named.casefold())
            if number is None:
                return Refusal("unknown_split", f"column '{settings.split}' names none of train, dev and test")
            before = self._seen.first("groups", short_digest(demonstration.group), number)
            if before not in (None, number):
                raise BadInput(
                    f"column '{settings.split}' puts one group in two splits: '{demonstration.source}' is in {SPLITS[number]}, "
                    f"an earlier row of its group in {SPLITS[before]}",
                    "give each group (or equal questions) one split, or leave demonstrations.split empty",
                )
        else:
            number = SPLITS.index(hashed_split(demonstration.group, settings.dev_share, settings.test_share))
        if settings.group and self._seen.first("questions", short_digest(demonstration.question), number) not in (None, number):
            return Refusal("split_leak", f"another group has the same question in another split than {SPLITS[number]}")
        return SPLITS[number]
