"""One bar a trial: when it ran, and how it ended."""

from __future__ import annotations

from bokeh.models import Range1d, Span

from pipeline.results import Outcome, StudyResult, TrialResult
from pipeline.review import house
from pipeline.review.house import CHOSEN, NEUTRAL, Key, Picture
from pipeline.review.times import Clock, Spans, duration, savings_in_words


def timeline(result: StudyResult, spans: Spans) -> Picture | None:
    """Return one bar a trial; None where no times are known.

    A bar ends when the trial did and is as long as it was trained; a thin line begins where the
    trial did, so an interrupted one has a longer line.
    """
    trials = [trial for trial in result.trials if trial.number in spans]
    if not trials:
        return None
    clock = Clock.of([spans[trial.number] for trial in trials])
    unit, name = _unit(clock.length)
    begins = [clock.at(spans[trial.number][0]) / unit for trial in trials]
    ends = [clock.at(spans[trial.number][1]) / unit for trial in trials]
    trained = [max(end - t.seconds / unit, begin)
               for begin, end, t in zip(begins, ends, trials, strict=True)]  # fmt: skip
    numbers = [trial.number for trial in trials]
    plot = house.canvas(
        x=f"{name} since the first trial began", y="trial",
        height=min(110 + 16 * len(trials), 620), x_range=Range1d(0, clock.length / unit * 1.01),
        y_range=Range1d(max(numbers) + 0.7, min(numbers) - 0.7),
    )  # fmt: skip
    house.whole_numbers(plot.yaxis[0])
    plot.ygrid.visible = False
    plot.segment(begins, numbers, ends, numbers, line_color=NEUTRAL, line_width=1)
    bars = plot.hbar(
        y="trial", left="trained", right="end", height=0.7, fill_color="color", line_color=None,
        source={
            "trial": numbers, "trained": trained, "end": ends,
            "color": [_color(trial, result) for trial in trials],
            "outcome": [trial.outcome.label for trial in trials],
            "began": [f"{spans[n][0]:%Y-%m-%d %H:%M:%S}" for n in numbers],
            "took": [duration(trial.seconds) for trial in trials],
            "epochs": [f"{0 if t.curves is None else t.curves.n_epochs} of {t.params['max_epochs']}"
                       for t in trials],
        },
    )  # fmt: skip
    rows = [("trial", "@trial, @outcome"), ("began", "@began"), ("trained for", "@took"),
            ("epochs", "@epochs")]  # fmt: skip
    house.hover(plot, [bars], rows)
    for moment, pause in clock.pauses:
        plot.add_layout(Span(location=moment / unit, dimension="height", line_color=NEUTRAL,
                             line_dash="dotted"))  # fmt: skip
        house.note(plot, f" {duration(pause)} left out", x=moment / unit, y=6, y_units="screen",
                   text_baseline="bottom")  # fmt: skip
    outcomes = [outcome for outcome in Outcome if any(t.outcome is outcome for t in trials)]
    keys = [Key("band", house.OF_OUTCOME[outcome], outcome.label) for outcome in outcomes]
    return Picture(
        name="timeline",
        title="When each trial ran",
        caption=savings_in_words(result),
        plot=plot,
        keys=(*keys, Key("band", CHOSEN, f"trial {result.best.number}, the best")),
    )


def _color(trial: TrialResult, result: StudyResult) -> str:
    is_best = trial.number == result.best.number
    return CHOSEN if is_best else house.OF_OUTCOME[trial.outcome]


def _unit(seconds: float) -> tuple[float, str]:
    """Return the seconds of the unit that such a time is read in, and its name."""
    if seconds < 300:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 4 * 3600 else (3600.0, "hours")
