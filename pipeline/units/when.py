"""When a job starts: at some times of the day, on some days of the week."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import BadInput, require, unknown_name

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
"""In cron's order, where Sunday is 0."""

HOURS_A_DAY = 24


@dataclass(frozen=True)
class When:
    """Some times of the day on some days of the week, in the scheduler's time zone.

    hour, minute: of the first start that is named; the others are whole hours apart
    every_hours: between two starts; it must divide the day, or midnight would break the rhythm
    days: those of DAYS on which it starts; empty for every day
    """

    hour: int = 2
    minute: int = 30
    every_hours: float = HOURS_A_DAY
    days: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(0 <= self.hour < HOURS_A_DAY, "hour", "0 to 23", self.hour)
        require(0 <= self.minute < 60, "minute", "0 to 59", self.minute)
        divisors = [n for n in range(1, HOURS_A_DAY + 1) if HOURS_A_DAY % n == 0]
        allowed = f"whole hours that divide a day ({', '.join(f'{n}h' for n in divisors)})"
        require(self.every_hours in divisors, "--every", allowed, f"{self.every_hours:g}h")
        for day in self.days:
            if day not in DAYS:
                raise unknown_name("day", day, DAYS)

    @classmethod
    def of(cls, at: str, every_secs: float, on: str) -> When:
        """Return it from what a command line says: "02:30", 21600, "mon,thu" or nothing."""
        clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
        if clock is None:
            raise BadInput(f"--at must be a time from 00:00 to 23:59, got {at!r}")
        days = tuple(dict.fromkeys(day.strip().lower() for day in on.split(",") if day))
        return cls(int(clock[1]), int(clock[2]), every_secs / 3600, days)

    @property
    def hours(self) -> list[int]:
        """The hours of the day at which it starts, ascending."""
        starts = range(self.hour, self.hour + HOURS_A_DAY, int(self.every_hours))
        return sorted(hour % HOURS_A_DAY for hour in starts)

    @property
    def cron(self) -> str:
        """Cron's five fields: minute, hours, day of the month, month, days of the week."""
        hours = "*" if self.every_hours == 1 else ",".join(map(str, self.hours))
        days = ",".join(str(DAYS.index(day)) for day in self.days)
        return f"{self.minute} {hours} * * {days or '*'}"

    @property
    def on_calendar(self) -> str:
        """The same for systemd."""
        hours = "*" if self.every_hours == 1 else ",".join(f"{hour:02}" for hour in self.hours)
        days = ",".join(day.capitalize() for day in self.days)
        return f"{days} *-*-* {hours}:{self.minute:02}:00".strip()

    def __str__(self) -> str:
        days = f"every {', '.join(day.capitalize() for day in self.days)}" if self.days else "daily"
        if self.every_hours == 1:
            return f"{days} at {self.minute} past every hour"
        return f"{days} at {', '.join(f'{hour:02}:{self.minute:02}' for hour in self.hours)}"
