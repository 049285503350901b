"""Learning rate × epochs: how a larger learning rate moves the epochs that are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.plots import style
from pipeline.results import Outcome, StudyResult, TrialResult, ranked

Equivalent = Callable[[TrialResult], np.ndarray]
"""Says of each of a trial's epochs whether it cannot be told from the winner's best, [n_epochs]."""

BEYOND = 1.5
"""The winner is shown to half as many epochs again as were chosen, and as far as any other."""

HALF_STRIP = 1.25
"""Factor from the outermost learning rates to the ends of the map."""


def plot_map(
    result: StudyResult, path: Path, *, equivalent: Equivalent | None = None
) -> Path | None:
    """Draw the mean metric of every trial after every epoch, by learning rate.

    equivalent: which epochs of a trial cannot be told from the winner's best; they are outlined.
        Left out: those within one standard error of the folds' differences to it

    A learning rate's strip reaches halfway to its neighbours, on the logarithmic scale, and is
    blank where nothing was trained. Of trials with the same learning rate the best is shown, of
    those without a value the one trained longest. Returns None, and draws nothing, when all trials
    had the same.
    """
    trials = _one_a_rate(result)
    rates = np.array([trial.params["learning_rate"] for trial in trials])
    if len(rates) < 2 or rates.min() <= 0:
        return None
    figure = style.figure(5)
    axes = figure.subplots()
    objective, edges = result.spec.objective, _edges(rates)
    losses = objective.as_loss(_means(trials))
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(losses) + 1) + 0.5,
        losses,
        # What matters differs by little near the best: half of the colours for a quarter of it.
        norm=PowerNorm(0.5, *style.scale([losses], Objective())),
        cmap="viridis_r",
        rasterized=True,
    )
    equivalent = equivalent or within_one_standard_error(result.best)
    _outline(axes, edges, _inside(trials, losses.shape, equivalent))
    _mark(axes, result, trials)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0.5, _top(result, trials) + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.set_xlabel("learning rate", fontsize=style.NORMAL, color=style.TEXT)
    axes.set_ylabel("epochs", fontsize=style.NORMAL, color=style.TEXT)
    style.bare(axes)
    bar = figure.colorbar(
        mesh, ax=axes, extend="max", pad=0.02,
        format=lambda loss, _: f"{objective.as_loss(np.asarray(loss)):.3g}",
    )  # fmt: skip
    bar.set_label(f"mean {objective.metric}", fontsize=style.NORMAL, color=style.TEXT)
    bar.ax.tick_params(labelsize=style.SMALL)
    better = "lower"
    if objective.direction == "maximize":
        bar.ax.invert_yaxis()
        better = "higher"
    style.headline(
        axes,
        f"{result.spec.name}: learning rate against epochs",
        f"mean {objective.metric} of each trial after each epoch, {better} is better; blank: not "
        "trained",
    )
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=style.SMALL)
    return style.saved(figure, path)


def within_one_standard_error(winner: TrialResult) -> Equivalent:
    """Return the criterion that pairs each fold with itself: mean difference ≤ its standard error.

    Trials on other folds than the winner's cannot be compared so. With one fold, ties alone are in.
    """
    best = winner.curves
    assert best is not None
    n_epochs = winner.best_n_epochs
    assert n_epochs is not None
    level = best.objective.as_loss(best.after(n_epochs))

    def equivalent(trial: TrialResult) -> np.ndarray:
        curves = trial.curves
        if curves is None:
            return np.zeros(0, dtype=bool)
        if curves.folds != best.folds:
            return np.zeros(curves.n_epochs, dtype=bool)
        losses = curves.objective.as_loss(curves.values) - level[:, np.newaxis]
        differences = FoldCurves(losses, Objective(), curves.folds, curves.n_repeats)
        error = differences.standard_error
        return differences.mean <= (0.0 if error is None else error)

    return equivalent


def _one_a_rate(result: StudyResult) -> list[TrialResult]:
    """Return the trials to show, by learning rate; the winner as it was trained on."""
    trials = [result.best, *(t for t in result.trials if t.number != result.best.number)]
    by_rank = ranked(trials, result.spec.objective)
    without_value = [trial for trial in trials if trial.value is None]
    by_rank += sorted(without_value, key=lambda trial: -trial.n_fold_epochs)
    shown: dict[float, TrialResult] = {}
    for trial in by_rank:
        shown.setdefault(trial.params["learning_rate"], trial)
    return [shown[rate] for rate in sorted(shown)]


def _edges(rates: np.ndarray) -> np.ndarray:
    """Return the strips' boundaries, [n_trials + 1]: geometric midpoints, and a little around."""
    middles = np.sqrt(rates[:-1] * rates[1:])
    return np.array([rates[0] / HALF_STRIP, *middles, rates[-1] * HALF_STRIP])


def _top(result: StudyResult, trials: Sequence[TrialResult]) -> float:
    """Return the last epoch to show: the winner's, trained on alone, would squeeze all others."""
    longest = {trial.number: trial.curves.n_epochs for trial in trials if trial.curves}
    of_winner = longest.pop(result.best.number)
    return max(min(of_winner, BEYOND * result.choice.n_epochs), *longest.values(), 1)


def _means(trials: Sequence[TrialResult]) -> np.ndarray:
    """Return the mean curves as columns, [most epochs, n_trials], NaN where not trained."""
    n_epochs = max(trial.curves.n_epochs for trial in trials if trial.curves)
    means = np.full((n_epochs, len(trials)), np.nan)
    for column, trial in enumerate(trials):
        if trial.curves is not None:
            means[: trial.curves.n_epochs, column] = trial.curves.mean
    return means


def _inside(
    trials: Sequence[TrialResult], shape: tuple[int, ...], equivalent: Equivalent
) -> np.ndarray:
    inside = np.zeros(shape, dtype=bool)
    for column, trial in enumerate(trials):
        if trial.curves is not None:
            inside[: trial.curves.n_epochs, column] = equivalent(trial)
    return inside


def _outline(axes: Axes, edges: np.ndarray, inside: np.ndarray) -> None:
    """Draw the border between cells that are inside and cells that are not."""
    padded = np.pad(inside, 1)
    heights = np.arange(len(inside) + 1) + 0.5
    across = [
        [(edges[column], heights[row]), (edges[column + 1], heights[row])]
        for row, column in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    ]
    up = [
        [(edges[column], heights[row]), (edges[column], heights[row + 1])]
        for row, column in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    ]
    lines = LineCollection(
        across + up, colors=style.TEXT, linewidths=1.5, capstyle="projecting",
        label="cannot be told from the winner's best",
    )  # fmt: skip
    axes.add_collection(lines)


def _mark(axes: Axes, result: StudyResult, trials: Sequence[TrialResult]) -> None:
    """Mark where the learning rates lie in their strips, what came of them, and the choice."""
    finished = [(t.params["learning_rate"], t.best_n_epochs) for t in trials if t.best_n_epochs]
    axes.plot(*zip(*finished, strict=True), "o", markersize=5, color=style.TEXT,
              markeredgecolor="white", label="a trial's best epoch")  # fmt: skip
    for outcome, marker in ((Outcome.PRUNED, "v"), (Outcome.FAILED, "X")):
        rates = [t.params["learning_rate"] for t in trials if t.outcome is outcome]
        if rates:
            axes.plot(
                rates, [0.02] * len(rates), marker, transform=axes.get_xaxis_transform(),
                color=style.QUIET, markersize=7, markeredgecolor="white", label=outcome.label,
            )  # fmt: skip
    rate, n_epochs = result.best.params["learning_rate"], result.choice.n_epochs
    axes.plot(
        rate, n_epochs, "*", markersize=15, color=style.CHOSEN, markeredgecolor="white", zorder=5,
        label=f"chosen: {rate:.3g}, {style.counted(n_epochs)}",
    )  # fmt: skip
