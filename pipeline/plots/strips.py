"""What the map shows: of each learning rate one trial, its strip, and its mean after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.results import StudyResult, TrialResult, ranked

Equivalent = Callable[[TrialResult], np.ndarray]
"""Says of each of a trial's epochs whether it cannot be told from the winner's best, [n_epochs]."""

Segment = list[tuple[float, float]]
"""Two points: (learning rate, epochs)."""

BEYOND = 1.5
"""The winner is shown to half as many epochs again as were chosen, and as far as any other."""

HALF_STRIP = 1.25
"""Factor from the outermost learning rates to the ends of the map."""


@dataclass(frozen=True, eq=False)
class Strips:
    """The map's strips, by learning rate. Each reaches halfway to its neighbours, on the log scale.

    trials: one a learning rate: the best, of those without a value the one trained longest
    edges: the strips' boundaries, [n_trials + 1]
    means: the mean curves as columns, [most epochs, n_trials], NaN where not trained
    borders: between what cannot be told from the winner's best and what can
    last_epoch: the last to show: the winner's, trained on alone, would squeeze all others
    """

    trials: tuple[TrialResult, ...]
    edges: np.ndarray
    means: np.ndarray
    borders: list[Segment]
    last_epoch: float


def strips_of(result: StudyResult, equivalent: Equivalent | None = None) -> Strips | None:
    """Return the strips of a study; None when all trials had the same learning rate.

    equivalent: which epochs of a trial cannot be told from the winner's best. Left out: those
        within one standard error of the folds' differences to it
    """
    trials = _one_a_rate(result)
    rates = np.array([trial.params["learning_rate"] for trial in trials])
    if len(rates) < 2 or rates.min() <= 0:
        return None
    edges, means = _edges(rates), _means(trials)
    equivalent = equivalent or within_one_standard_error(result.best)
    borders = _borders(edges, _inside(trials, means.shape, equivalent))
    return Strips(tuple(trials), edges, means, borders, _last_epoch(result, trials))


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
        differences = curves.of_losses(losses)
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


def _last_epoch(result: StudyResult, trials: Sequence[TrialResult]) -> float:
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
    """Return which cells are equivalent to the winner's best, [n_epochs, n_trials]."""
    cells = np.zeros(shape, dtype=bool)
    for column, trial in enumerate(trials):
        if trial.curves is not None:
            cells[: trial.curves.n_epochs, column] = equivalent(trial)
    return cells


def _borders(edges: np.ndarray, inside: np.ndarray) -> list[Segment]:
    """Return the lines between cells that are inside and cells that are not.

    edges: of the strips, [n_trials + 1]; inside: [n_epochs, n_trials]
    """
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
    return across + up
