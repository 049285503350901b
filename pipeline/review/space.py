"""The space that was searched: which parameters mattered, and the value against each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.models import DataRange1d, FactorRange, NumeralTickFormatter, Range1d

from pipeline.plots.style import scale
from pipeline.results import Outcome, StudyResult, TrialResult
from pipeline.review import house
from pipeline.review.house import CHOSEN, VALIDATION, Key, Picture
from pipeline.space import is_categorical, is_logarithmic
from pipeline.wording import with_error


def importance_bars(shares: Mapping[str, float]) -> Picture | None:
    """Return each parameter's share of the variance of the values; None without any."""
    if not shares:
        return None
    names = list(shares)
    plot = house.canvas(
        x="share of the variance of the values", y="", height=60 + 34 * len(names),
        y_range=FactorRange(*reversed(names)), x_range=Range1d(0, 1),
    )  # fmt: skip
    plot.xaxis.formatter = NumeralTickFormatter(format="0%")
    plot.ygrid.visible = False
    bars = plot.hbar(
        y="name", right="share", height=0.6, color=VALIDATION,
        source={"name": names, "share": list(shares.values())},
    )  # fmt: skip
    house.hover(plot, [bars], [("@name", "@share{0.0%}")])
    return Picture(
        name="importances",
        title="Which parameters mattered",
        caption="Functional ANOVA (Hutter et al. 2014) over the trials with a value, or over the "
        "places of all where trials pause. It is about the whole space, its bad corners included, "
        "and not about how to tune the best trial.",
        plot=plot,
    )


def slices(result: StudyResult) -> tuple[list[Picture], tuple[Key, ...]]:
    """Return the value against each sampled parameter, one figure each, and the key to all."""
    varied = result.spec.varied
    trials = [trial for trial in result.trials if trial.curves is not None]
    # A parameter may be absent from some trials, or from all.
    having = {name: [trial for trial in trials if name in trial.params] for name in varied}
    pictures = [_slice(name, varied[name], of, result) for name, of in having.items() if of]
    outcomes = [each for each in Outcome if any(trial.outcome is each for trial in trials)]
    star = Key("star", CHOSEN, f"trial {result.best.number}, the best")
    return pictures, (*house.keys_of(outcomes), star)


def _slice(name: str, kind: Any, trials: list[TrialResult], result: StudyResult) -> Picture:
    objective = result.spec.objective
    means = {trial.number: _best_mean(trial) for trial in trials}
    low, high = scale([np.array(list(means.values()))], objective)
    margin = 0.08 * (high - low or abs(high) or 1.0)
    values = [trial.params[name] for trial in trials]
    plot, places = _axes(name, kind, values, objective.metric, (low - margin, high + margin))
    drawn = []
    for outcome in Outcome:
        of_it = [i for i, trial in enumerate(trials) if trial.outcome is outcome]
        if not of_it:
            continue
        color = house.OF_OUTCOME[outcome]
        drawn.append(
            plot.scatter(
                "place", "mean", marker=house.MARKER_OF[outcome], size=9, fill_alpha=0.6,
                fill_color=color, line_color=color,
                source={
                    "place": [places[i] for i in of_it],
                    "mean": [means[trials[i].number] for i in of_it],
                    "score": [_score(trials[i]) for i in of_it],
                    "trial": [trials[i].number for i in of_it],
                    "value": [_shown(values[i]) for i in of_it],
                    "outcome": [outcome.label] * len(of_it),
                },
            )
        )  # fmt: skip
    at_best = [i for i, trial in enumerate(trials) if trial.number == result.best.number]
    plot.scatter(
        [places[i] for i in at_best], [means[trials[i].number] for i in at_best],
        marker="star", size=18, fill_color=CHOSEN, line_color="white",
    )  # fmt: skip
    rows = [("trial", "@trial, @outcome"), (name, "@value"), (objective.metric, "@score")]
    house.hover(plot, drawn, rows)
    return Picture(
        name=f"slice-{list(result.spec.varied).index(name)}",
        title=name,
        caption="",
        plot=plot,
    )


def _axes(
    name: str, kind: Any, values: list[Any], metric: str, limits: tuple[float, float]
) -> tuple[Any, list[Any]]:
    """Return an empty plot, and where each value lies on its axis."""
    axes = {"y": f"best mean {metric}", "height": 260, "y_range": Range1d(*limits)}
    if is_categorical(kind):
        names = [_shown(choice) for choice in kind.choices]
        return house.canvas(x=name, x_range=FactorRange(*dict.fromkeys(names)), **axes), [
            _shown(v) for v in values
        ]
    if is_logarithmic(kind):
        low, high = min(values) / 1.2, max(values) * 1.2
        plot = house.canvas(
            x=f"{name}, log scale", x_axis_type="log", x_range=Range1d(low, high), **axes
        )
        house.logarithmic(plot.xaxis[0], low, high)
        return plot, values
    return house.canvas(x=name, x_range=DataRange1d(range_padding=0.08), **axes), values


def _best_mean(trial: TrialResult) -> float:
    """Return the trial's value, and of one without the best that its mean came to."""
    assert trial.curves is not None
    return trial.curves.value if trial.value is None else trial.value


def _score(trial: TrialResult) -> str:
    assert trial.curves is not None
    n_epochs = trial.best_n_epochs or trial.curves.best_n_epochs
    return with_error(_best_mean(trial), trial.curves.standard_error_after(n_epochs))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
