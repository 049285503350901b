"""The best trial's learning curves, what may be chosen from them, and what each rule chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.choice import EpochChoice, choices_of_all_rules
from pipeline.curves import FoldCurves
from pipeline.plots import style
from pipeline.results import StudyResult, TrialResult
from pipeline.wording import with_error

BEYOND = 1.5
"""Other trials are shown to half as many epochs again as the best one was trained."""


def plot_curves(
    result: StudyResult,
    path: Path,
    *,
    equivalent_epochs: Sequence[int],
    small: Path | None = None,
) -> Path:
    """Draw the best trial's curves with its folds, the chosen epoch, and all rules' choices.

    equivalent_epochs: the epoch counts that cannot be told from the best, shaded
    small: where to write half of its size, too
    """
    best, choice, curves = result.best, result.choice, result.best.curves
    assert curves is not None  # a best trial has a value, so it has curves
    rules = choices_of_all_rules(curves, max(best.horizon, curves.n_epochs))
    figure = style.figure(6)
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3.4, 1.2))
    others = [
        trial.curves for trial in result.trials if trial.curves and trial.number != best.number
    ]
    _shade(top, equivalent_epochs, label="cannot be told from the best")
    _shade(bottom, equivalent_epochs)
    _draw_others(top, others)
    _draw_best(top, best, curves)
    for axes in (top, bottom):
        axes.axvline(choice.n_epochs, color=style.CHOSEN, linewidth=1.2, zorder=4)
        style.bare(axes)
    top.plot(
        choice.n_epochs, choice.score, "o", color=style.CHOSEN, markersize=8, zorder=6,
        markeredgecolor="white", label=f"chosen by rule {choice.rule}",
    )  # fmt: skip
    _draw_rules(bottom, rules, choice)
    _limit(top, result)
    top.set_ylabel(result.spec.objective.metric, fontsize=style.NORMAL, color=style.TEXT)
    bottom.set_xlabel("epochs", fontsize=style.NORMAL, color=style.TEXT)
    score = with_error(choice.score, choice.standard_error)
    of = "" if curves.weights is None else "the rows of "
    folds = f"over {of}{curves.n_folds} folds" if curves.n_folds > 1 else "on one fold"
    style.headline(
        top,
        f"{result.spec.name}: learning rate {best.params['learning_rate']:.3g} "
        f"for {style.counted(choice.n_epochs)}",
        f"{result.spec.objective.metric} {score} {folds}, trial {best.number} "
        f"of {len(result.trials)}",
        *((best.diagnosis.words, best.diagnosis.gap_words) if best.diagnosis else ()),
    )
    top.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=style.SMALL,
        borderaxespad=0,
    )  # fmt: skip
    return style.saved(figure, path, small=small)


def _draw_others(axes: Axes, others: Sequence[FoldCurves]) -> None:
    for index, curves in enumerate(others):
        axes.plot(
            _counts(curves.n_epochs), curves.mean, color=style.FAINT, linewidth=0.9, zorder=1,
            marker="." if curves.n_epochs == 1 else None,
            label=None if index else f"{len(others)} other trial{'s' * (len(others) > 1)}",
        )  # fmt: skip


def _draw_best(axes: Axes, best: TrialResult, curves: FoldCurves) -> None:
    counts = _counts(curves.n_epochs)
    marker = "o" if curves.n_epochs == 1 else None
    if curves.n_folds > 1:
        labels = ["validation, each fold"] + [""] * (curves.n_folds - 1)
        axes.plot(counts, curves.values.T, color=style.VALIDATION, linewidth=0.6, alpha=0.5,
                  marker=marker, label=labels)  # fmt: skip
    if curves.standard_error is not None:
        low, high = curves.mean - curves.standard_error, curves.mean + curves.standard_error
        axes.fill_between(counts, low, high, color=style.VALIDATION, alpha=0.2, linewidth=0,
                          label="± standard error")  # fmt: skip
    of_folds = ", mean" if curves.n_folds > 1 else ""
    axes.plot(counts, curves.mean, color=style.VALIDATION, linewidth=2.4, marker=marker, zorder=5,
              label=f"validation{of_folds}")  # fmt: skip
    if best.training is not None:
        axes.plot(counts, best.training, color=style.TRAINING, linewidth=1.8, marker=marker,
                  linestyle=(0, (4, 2)), zorder=4, label=f"training{of_folds}")  # fmt: skip


def _draw_rules(axes: Axes, rules: dict[str, EpochChoice | str], chosen: EpochChoice) -> None:
    """Draw one row a rule: labels of rules that agree cannot overlap."""
    for row, (name, choice) in enumerate(rules.items()):
        color = style.CHOSEN if name == chosen.rule else style.TEXT
        if isinstance(choice, EpochChoice):
            axes.hlines(row, 0, choice.n_epochs, color=style.FAINT, linewidth=0.8)
            axes.plot(choice.n_epochs, row, "o", color=color, markersize=5, zorder=5)
            label, left = str(choice.n_epochs), float(choice.n_epochs)
        else:
            color, label, left = style.QUIET, "no choice on these curves", 0.5
        axes.annotate(
            label, (left, row), xytext=(7, 0), textcoords="offset points", va="center",
            color=color, fontsize=style.TINY, zorder=6,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip
    axes.set_yticks(range(len(rules)), list(rules))
    axes.set_ylim(len(rules) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=style.TINY)


def view(result: StudyResult) -> tuple[float, float, float]:
    """Return what to show: the last epoch, and the lowest and highest value.

    The best of the values are held; a curve that leaves the picture flattens no other.
    """
    curves = result.best.curves
    assert curves is not None
    training = [] if result.best.training is None else [result.best.training]
    low, high = style.scale([curves.values, *training], result.spec.objective)
    low, high = min(low, result.choice.score), max(high, result.choice.score)
    margin = 0.05 * (high - low or abs(high) or 1.0)
    longest = max(curves.n_epochs, *(t.curves.n_epochs for t in result.trials if t.curves), 1)
    return min(longest, BEYOND * curves.n_epochs), low - margin, high + margin


def _limit(axes: Axes, result: StudyResult) -> None:
    last_epoch, low, high = view(result)
    axes.set_ylim(low, high)
    axes.set_xlim(0.5, last_epoch + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def _shade(axes: Axes, epochs: Iterable[int], label: str | None = None) -> None:
    for n_epochs in sorted(epochs):
        axes.axvspan(n_epochs - 0.5, n_epochs + 0.5, color=style.CHOSEN, alpha=0.1, linewidth=0,
                     zorder=0, label=label)  # fmt: skip
        label = None


def _counts(n_epochs: int) -> np.ndarray:
    return np.arange(1, n_epochs + 1)
