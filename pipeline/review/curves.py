"""The best trial's learning curves, and the other trials behind them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from bokeh.models import BoxAnnotation, ColumnDataSource, Range1d, Span

from pipeline.curves import FoldCurves
from pipeline.plots.learning_curves import view
from pipeline.results import StudyResult, TrialResult, ranked
from pipeline.review import house
from pipeline.review.house import CHOSEN, NEUTRAL, TRAINING, VALIDATION, Key, Picture
from pipeline.wording import with_error

N_OTHERS = 60
"""Other trials that are drawn, the best; more are a fog, and a file of many megabytes."""


def learning_curves(result: StudyResult) -> Picture:
    """Return the best trial's curves: mean, folds, training, chosen and equivalent epochs."""
    best, curves, choice = result.best, result.best.curves, result.choice
    assert curves is not None  # a best trial has a value, so it has curves
    metric = result.spec.objective.metric
    of = "folds" if curves.weights is None else "the folds' rows"
    last_epoch, low, high = view(result)
    plot = house.canvas(
        x="epochs", y=f"{metric}, mean over {of}" if curves.n_folds > 1 else metric, height=420,
        x_range=Range1d(0.5, last_epoch + 0.5), y_range=Range1d(low, high),
    )  # fmt: skip
    house.whole_numbers(plot.xaxis[0])
    keys = [*_equivalent(plot, result.evidence.equivalent_epochs), *_others(plot, result)]
    if curves.n_folds > 1:
        keys += _folds(plot, curves)
    keys += _means(plot, best, curves, metric)
    plot.add_layout(Span(location=choice.n_epochs, dimension="height", line_color=CHOSEN))
    plot.scatter(
        [choice.n_epochs], [choice.score], marker="circle", size=11, color=CHOSEN,
        line_color="white",
    )  # fmt: skip
    keys.append(Key("circle", CHOSEN, f"chosen by rule {choice.rule}: {choice.n_epochs} epochs"))
    score = with_error(choice.score, choice.standard_error)
    return Picture(
        name="curves",
        title="Learning curves",
        caption=f"Trial {best.number}, the best of {len(result.trials)}: {metric} {score} after "
        f"{choice.n_epochs} of {curves.n_epochs} trained epochs. The scale holds the best of the "
        "values; what leaves it is worse.",
        plot=plot,
        keys=tuple(keys),
    )


def _equivalent(plot: Any, epochs: Sequence[int]) -> list[Key]:
    for _, run in groupby(enumerate(sorted(epochs)), lambda pair: pair[1] - pair[0]):
        counts = [n_epochs for _, n_epochs in run]
        plot.add_layout(
            BoxAnnotation(
                left=counts[0] - 0.5, right=counts[-1] + 0.5, fill_color=CHOSEN, fill_alpha=0.1,
                line_color=None, level="underlay",
            )
        )  # fmt: skip
    return [Key("band", CHOSEN, "epochs that cannot be told from the best")] if epochs else []


def _others(plot: Any, result: StudyResult) -> list[Key]:
    by_rank = ranked(result.trials, result.spec.objective)
    by_rank += [trial for trial in result.trials if trial.value is None]
    others = [trial for trial in by_rank if trial.curves and trial.number != result.best.number]
    shown = others[:N_OTHERS]
    if not shown:
        return []
    # A trial of one epoch is a point.
    lines = ColumnDataSource(
        {
            "epochs": [_counts(trial) for trial in shown],
            "mean": [trial.curves.mean for trial in shown if trial.curves],
            "trial": [trial.number for trial in shown],
            "rate": [f"{trial.params['learning_rate']:.3g}" for trial in shown],
            "outcome": [trial.outcome.label for trial in shown],
        }
    )
    drawn = plot.multi_line(
        "epochs", "mean", source=lines, line_color=NEUTRAL, line_alpha=0.5, hover_line_alpha=1,
        hover_line_width=2.5, hover_line_color=NEUTRAL,
    )  # fmt: skip
    points = [trial for trial in shown if trial.curves and trial.curves.n_epochs == 1]
    plot.scatter(
        [1] * len(points), [trial.curves.mean[0] for trial in points if trial.curves], size=4,
        color=NEUTRAL, alpha=0.5,
    )  # fmt: skip
    rows = [("trial", "@trial, @outcome"), ("learning rate", "@rate"), ("at epoch", "$snap_x{0}")]
    house.hover(plot, [drawn], rows, line_policy="nearest")
    n = f"{len(shown)} of {len(others)}" if len(shown) < len(others) else f"{len(others)}"
    return [Key("line", NEUTRAL, f"{n} other trial{'s' * (len(others) > 1)}")]


def _counts(trial: TrialResult) -> np.ndarray:
    assert trial.curves is not None
    return np.arange(1, trial.curves.n_epochs + 1)


def _folds(plot: Any, curves: FoldCurves) -> list[Key]:
    counts = list(range(1, curves.n_epochs + 1))
    plot.multi_line(
        [counts] * curves.n_folds, list(curves.values), line_color=VALIDATION, line_width=0.8,
        line_alpha=0.6,
    )  # fmt: skip
    return [Key("line", f"{VALIDATION}99", "validation, each fold")]


def _means(plot: Any, best: TrialResult, curves: FoldCurves, metric: str) -> list[Key]:
    counts, keys, rows = _counts(best), [], [("epochs", "@epochs"), (metric, "@score")]
    errors = curves.standard_error
    source = ColumnDataSource(
        {
            "epochs": counts,
            "mean": curves.mean,
            "score": [
                with_error(float(mean), None if errors is None else float(errors[index]))
                for index, mean in enumerate(curves.mean)
            ],
            "low": [f"{value:.4g}" for value in curves.values.min(axis=0)],
            "high": [f"{value:.4g}" for value in curves.values.max(axis=0)],
        }
    )
    if errors is not None:
        plot.varea(counts, curves.mean - errors, curves.mean + errors, color=VALIDATION, alpha=0.2)
        keys.append(Key("band", VALIDATION, "± standard error"))
        rows.append(("folds", "@low to @high"))
    mean = plot.line("epochs", "mean", source=source, line_color=VALIDATION, line_width=2.6)
    keys.append(Key("line", VALIDATION, "validation, mean"))
    if best.training is not None:
        source.add(best.training, "training")
        plot.line(
            "epochs", "training", source=source, line_color=TRAINING, line_width=2,
            line_dash=[7, 4],
        )  # fmt: skip
        keys.append(Key("dash", TRAINING, "training, mean"))
        source.add([f"{value:.3g}" for value in best.training], "on_training")
        rows.append(("training", "@on_training"))
    if len(counts) == 1:
        plot.scatter("epochs", "mean", source=source, size=6, color=VALIDATION)
    house.hover(plot, [mean], rows, mode="vline", line_policy="nearest")
    return keys
