"""Kubeflow's cron: six fields, seconds first, as the Go library reads them that Kubeflow schedules with (robfig/cron 1.2).

    second minute hour day-of-month month day-of-week        0 0 2 * * 1    at 02:00:00, on Monday

It differs from crontab's: Sunday is 0 and never 7; `?` is `*`; `5/15` means from 5 on in steps of 15; and where day of month
and day of week are both restricted, either is enough (with a `*` in one of them, `*/2` too, both must hold).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from raro.errors import BadInput

MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip
DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
FIELDS = {  # name: lowest, highest, the names of its values
    "second": (0, 59, []),
    "minute": (0, 59, []),
    "hour": (0, 23, []),
    "day of month": (1, 31, []),
    "month": (1, 12, MONTHS),
    "day of week": (0, 6, DAYS),
}
HORIZON = 366 * 17  # days looked ahead: three 29 Februaries come within them, around 2100 too
PART = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d+))?")


@dataclass(frozen=True)
class Field:
    """The values at which one field matches. star: written with a `*`, which day of month and day of week treat apart."""

    name: str
    values: tuple[int, ...]
    star: bool

    @property
    def every(self) -> bool:
        low, high, _ = FIELDS[self.name]
        return len(self.values) == high - low + 1

    def words(self) -> str:
        """`every minute`, `minutes 0, 15 and 30`, `Monday and Friday`."""
        if self.every:
            return f"every {self.name}"
        low, _, names = FIELDS[self.name]
        shown = _listed([names[value - low] if names else str(value) for value in self.values])
        return shown if names else f"{self.name}{'s' if len(self.values) > 1 else ''} {shown}"


@dataclass(frozen=True)
class Cron:
    """A schedule. text: as it was written, blanks settled."""

    text: str
    second: Field
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def on(self, date: datetime) -> bool:
        """Whether it comes on that day at all."""
        day = date.day in self.day.values
        weekday = (date.weekday() + 1) % 7 in self.weekday.values
        either = day and weekday if self.day.star or self.weekday.star else day or weekday
        return date.month in self.month.values and either

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The times that come after `moment`, in its own time zone by the clock on the wall."""
        start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        for date in (start + timedelta(days=i) for i in range(HORIZON)):
            if self.on(date):
                times = ((h, m, s) for h in self.hour.values for m in self.minute.values for s in self.second.values)
                for hour, minute, second in times:
                    if (found := date.replace(hour=hour, minute=minute, second=second)) > moment:
                        yield found

    def words(self) -> str:
        """The schedule in English."""
        if len(self.hour.values) * len(self.minute.values) <= 4:
            clock = [f"{h:02}:{m:02}:{s:02}" for h in self.hour.values for m in self.minute.values for s in self.second.values]
            time = f"at {_listed(clock)}"
        else:
            time = ", ".join(
                ("at " + field.words()) if not field.every else field.words() for field in (self.hour, self.minute)
            )
            time += f", at {self.second.words()}"
        restricted = {"on " + field.words() for field in (self.day, self.weekday) if not field.every}
        joined = " and " if self.day.star or self.weekday.star else " or "
        days = joined.join(sorted(restricted)) or "every day"
        return f"{time}, {days}" + ("" if self.month.every else f", in {self.month.words()}")


def parse(text: str) -> Cron:
    """Raises BadInput naming the field at fault."""
    parts = str(text).split()
    if len(parts) == 5:
        raise BadInput(f"cron '{text}' has five fields, Kubeflow's has six: seconds come first", f"write '0 {text}'")
    if len(parts) != 6:
        raise BadInput(
            f"cron '{text}' has {len(parts)} fields, not six", "write: second minute hour day-of-month month day-of-week"
        )
    cron = Cron(" ".join(parts), *(_field(text, name, part) for name, part in zip(FIELDS, parts, strict=True)))
    if len(cron.second.values) > 1:
        raise BadInput(f"cron '{text}' starts a run more than once a minute", "write one number as the first field, the second")
    if next(cron.after(datetime(2024, 1, 1)), None) is None:
        raise BadInput(f"cron '{text}' never comes: no such day is in any of its months", "correct the day or the month")
    return cron


def _field(text: str, name: str, part: str) -> Field:
    low, high, names = FIELDS[name]
    values: set[int] = set()
    for piece in part.split(","):
        found = PART.fullmatch(piece)
        if not found:
            raise BadInput(f"cron '{text}': '{piece}' is not a {name}", f"give {low} to {high}, *, a list, A-B or A/STEP")
        first, last, step = found.groups()
        star = first in ("*", "?")
        begin = low if star else _value(text, name, first)
        end = high if star or step and not last else begin
        end = _value(text, name, last) if last else end
        if begin > end or star and last or step == "0":
            raise BadInput(
                f"cron '{text}': '{piece}' is not a range of the {name}", "put the smaller first; a step is at least 1"
            )
        values |= set(range(begin, end + 1, int(step or 1)))
    return Field(name, tuple(sorted(values)), star="*" in part or "?" in part)


def _value(text: str, name: str, word: str) -> int:
    low, high, names = FIELDS[name]
    short = [known[:3].lower() for known in names]
    if word.lower() in short:
        return short.index(word.lower()) + low
    if not word.isascii() or not word.isdigit() or not low <= int(word) <= high:
        sunday = "; Sunday is 0" if (name, word) == ("day of week", "7") else ""
        raise BadInput(f"cron '{text}': '{word}' is not a {name}", f"give {low} to {high}{sunday}")
    return int(word)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
