"""Kubeflow's six-field cron: what is refused, the words, and the next times against a twin that looks at every minute."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raro.errors import BadInput
from raro.pipelines.cron import parse

NOW = datetime(2026, 11, 25, 1, 30, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "words", "first"),
    [
        ("0 0 2 * * *", "at 02:00:00, every day", "2026-11-25 02:00:00"),
        ("0 0 2 * * 1", "at 02:00:00, on Monday", "2026-11-30 02:00:00"),
        ("30 15 4,16 ? * wed-FRI", "at 04:15:30 and 16:15:30, on Wednesday, Thursday and Friday", "2026-11-25 04:15:30"),
        ("0 */15 * * * *", "every hour, at minutes 0, 15, 30 and 45, at second 0, every day", "2026-11-25 01:45:00"),
        ("0 5/20 8-9 1 1,jul *",
         "at hours 8 and 9, at minutes 5, 25 and 45, at second 0, on day of month 1, in January and July",
         "2027-01-01 08:05:00"),
        ("0 0 3 1 * 0", "at 03:00:00, on Sunday or on day of month 1", "2026-11-29 03:00:00"),
        ("0 0 0 29 2 ?", "at 00:00:00, on day of month 29, in February", "2028-02-29 00:00:00"),
    ],
)  # fmt: skip
def test_words_and_the_next_time(text, words, first):
    cron = parse(text)
    assert cron.words() == words
    assert f"{next(cron.after(NOW)):%Y-%m-%d %H:%M:%S}" == first


@pytest.mark.parametrize(
    ("text", "line", "remedy"),
    [
        ("0 2 * * 1", "has five fields", "write '0 0 2 * * 1'"),
        ("@daily", "has 1 fields", "second minute hour"),
        ("* 0 2 * * *", "more than once a minute", "one number as the first field"),
        ("0 60 2 * * *", "'60' is not a minute", "0 to 59"),
        ("0 0 2 * * 7", "'7' is not a day of week", "Sunday is 0"),
        ("0 0 22-2 * * *", "'22-2' is not a range of the hour", "smaller first"),
        ("0 0 */0 * * *", "'*/0' is not a range", "at least 1"),
        ("0 0 2 30 2 *", "never comes", "correct the day"),
        ("0 0 2 L * *", "'L' is not a day of month", "1 to 31"),
        ("0 0 2 1- * *", "'1-' is not a day of month", "1 to 31"),
    ],
)
def test_what_is_refused(text, line, remedy):
    with pytest.raises(BadInput, match=re.escape(line)) as refusal:
        parse(text)
    assert remedy in refusal.value.remedy


def test_leap_days_come_three_times_around_a_year_that_is_no_leap_year():
    times = parse("0 0 2 29 2 *").after(datetime(2096, 2, 29, 12))
    assert [time.year for time in islice(times, 3)] == [2104, 2108, 2112]


@settings(max_examples=25, deadline=None)
@given(
    minute=st.sampled_from(["0", "*/7", "3,50", "10-12"]),
    hour=st.sampled_from(["*", "2", "0,23", "5/9"]),
    day=st.sampled_from(["*", "1", "*/3", "28-31", "?"]),
    month=st.sampled_from(["*", "2,3", "12"]),
    weekday=st.sampled_from(["*", "0", "1-5", "*/2"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31)),
)
def test_the_next_times_are_those_of_a_slow_twin(minute, hour, day, month, weekday, start):
    cron = parse(f"0 {minute} {hour} {day} {month} {weekday}")

    def due(moment: datetime) -> bool:
        days = moment.day in cron.day.values, (moment.isoweekday() % 7) in cron.weekday.values
        starred = "*" in day + weekday or "?" in day + weekday
        clock = moment.minute in cron.minute.values and moment.hour in cron.hour.values
        return clock and moment.month in cron.month.values and (all(days) if starred else any(days))

    begin = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    window = 60 * 24 * 3
    slow = [moment for moment in (begin + timedelta(minutes=i) for i in range(window)) if due(moment)]
    end = begin + timedelta(minutes=window)
    assert [moment for moment in islice(cron.after(start), 5000) if moment < end] == slow
