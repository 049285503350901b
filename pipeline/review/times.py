"""When trials ran, how long, and what pruning and early stopping left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.results import Outcome, StudyResult, TrialResult

LONG_PAUSE_SHARE = 0.1
"""Time in which no trial ran is left out when it is longer than this share of the time in which
one did: a search that went on the next night would be two specks."""

Spans = Mapping[int, tuple[datetime, datetime]]
"""When each trial began and ended, by number."""


@dataclass(frozen=True)
class Savings:
    """What a way of ending trials early left out, counted to each trial's max_epochs.

    seconds: at each trial's own speed
    """

    n_trials: int
    n_fold_epochs: int
    seconds: float

    @classmethod
    def of(cls, outcome: Outcome, trials: Sequence[TrialResult]) -> Savings:
        """Return what trials that ended so did not train."""
        ended = [trial for trial in trials if trial.outcome is outcome and trial.n_fold_epochs]
        left_out = {trial.number: _left_out(trial) for trial in ended}
        seconds = sum(
            trial.seconds / trial.n_fold_epochs * left_out[trial.number] for trial in ended
        )
        return cls(len(ended), sum(left_out.values()), seconds)


def wall_seconds(spans: Spans) -> float:
    """Return how long a search took from its first trial to its last, without long pauses."""
    return Clock.of(list(spans.values())).length


def savings_in_words(result: StudyResult) -> str:
    """Return what pruning and early stopping saved, in a sentence or two."""
    ways = {"pruning": Outcome.PRUNED, "early stopping": Outcome.STOPPED_EARLY}
    trained = sum(trial.n_fold_epochs for trial in result.trials)
    parts = [
        f"{verb} {_plural(saved.n_trials, 'trial')} left out {saved.n_fold_epochs:,} fold-epochs, "
        f"about {duration(saved.seconds)}"
        for verb, outcome in ways.items()
        if (saved := Savings.of(outcome, result.trials)).n_trials
    ]
    text = f"The trials trained {trained:,} fold-epochs"
    if parts:
        text += f". To their max_epochs, {' and '.join(parts)}, at their own speed"
    if result.n_extra_fold_epochs:
        text += f". The answer took {result.n_extra_fold_epochs:,} fold-epochs more"
    return f"{text}."


@dataclass(frozen=True)
class Clock:
    """Seconds of a search, without its long pauses.

    pauses: the moment on this clock, and the seconds that were left out there
    """

    start: datetime
    breaks: tuple[tuple[datetime, float], ...]
    length: float

    @classmethod
    def of(cls, spans: Sequence[tuple[datetime, datetime]]) -> Clock:
        """Return the clock of trials that ran in these times."""
        begun = sorted(spans)
        gaps, end = [], begun[0][1]
        for begin, its_end in begun:
            gaps.append((begin, max((begin - end).total_seconds(), 0.0)))
            end = max(end, its_end)
        whole = (end - begun[0][0]).total_seconds()
        running = whole - sum(gap for _, gap in gaps)
        breaks = tuple((at, gap) for at, gap in gaps if gap > LONG_PAUSE_SHARE * running)
        return cls(begun[0][0], breaks, max(whole - sum(gap for _, gap in breaks), 1e-3))

    def at(self, moment: datetime) -> float:
        """Return the seconds on this clock."""
        left_out = sum(gap for at, gap in self.breaks if at <= moment)
        return (moment - self.start).total_seconds() - left_out

    @property
    def pauses(self) -> list[tuple[float, float]]:
        """Where time was left out, and how much: (seconds on this clock, seconds)."""
        return [(self.at(at), gap) for at, gap in self.breaks]


def duration(seconds: float) -> str:
    """Return "0.7 s", "42 s", "3 min 20 s", "5 h 12 min" or "2 d 3 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = timedelta(seconds=round(seconds))
    minutes, secs = divmod(whole.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(whole.days, "d"), (hours, "h"), (minutes, "min"), (secs, "s")]
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def _left_out(trial: TrialResult) -> int:
    """Return the fold-epochs from where the trial ended to its max_epochs."""
    assert trial.curves is not None
    n_left = max(int(trial.params["max_epochs"]) - trial.curves.n_epochs, 0)
    return n_left * trial.curves.n_folds


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
