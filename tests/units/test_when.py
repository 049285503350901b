import re

import pytest

from pipeline.errors import BadInput
from pipeline.units import When

HOUR = 3600.0


@pytest.mark.parametrize(
    ("at", "every", "on", "cron", "on_calendar", "text"),
    [
        ("02:30", 24, "", "30 2 * * *", "*-*-* 02:30:00", "daily at 02:30"),
        ("0:05", 24, "sat", "5 0 * * 6", "Sat *-*-* 00:05:00", "every Sat at 00:05"),
        (
            *("22:00", 8, "mon, Thu,mon", "0 6,14,22 * * 1,4", "Mon,Thu *-*-* 06,14,22:00:00"),
            "every Mon, Thu at 06:00, 14:00, 22:00",
        ),
        ("23:59", 1, "", "59 * * * *", "*-*-* *:59:00", "daily at 59 past every hour"),
        ("12:00", 12, "sun", "0 0,12 * * 0", "Sun *-*-* 00,12:00:00", "every Sun at 00:00, 12:00"),
    ],
)
def test_times_are_written_as_each_scheduler_reads_them(at, every, on, cron, on_calendar, text):
    when = When.of(at, every * HOUR, on)
    assert (when.cron, when.on_calendar, str(when)) == (cron, on_calendar, text)


@pytest.mark.parametrize(
    ("at", "every_secs", "on", "says"),
    [
        ("24:00", 24 * HOUR, "", "--at must be a time from 00:00 to 23:59, got '24:00'"),
        ("2.30", 24 * HOUR, "", "--at must be a time"),
        ("02:60", 24 * HOUR, "", "--at must be a time"),
        ("02:30", 5 * HOUR, "", r"--every must be whole hours that divide a day \(1h, .*got '5h'"),
        ("02:30", 1800.0, "", "got '0.5h'"),
        ("02:30", 48 * HOUR, "", "got '48h'"),
        ("02:30", float("inf"), "", "got 'infh'"),
        ("02:30", -HOUR, "", "got '-1h'"),
        ("02:30", 24 * HOUR, "mon,thur", "unknown day 'thur'; did you mean 'thu'"),
    ],
)
def test_a_time_that_is_none_is_refused_in_words(at, every_secs, on, says):
    with pytest.raises(BadInput, match=says):
        When.of(at, every_secs, on)


def test_starts_are_as_far_apart_over_midnight_as_in_the_day():
    hours = When(hour=5, every_hours=6).hours
    assert {(b - a) % 24 for a, b in zip(hours, [*hours[1:], hours[0]], strict=True)} == {6}
    assert re.fullmatch(r"30 5,11,17,23 \* \* \*", When(hour=5, every_hours=6).cron)
