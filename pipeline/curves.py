"""Fold curves: the monitored metric of every fold after every epoch.

This is the only module in which an epoch is ever a 0-based index. Everywhere else `n_epochs` is a
count: after `n_epochs` epochs the mean is `curves.mean[n_epochs - 1]`, and only `mean_after` says
so.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from pipeline.objective import Objective


def centred_average(values: np.ndarray, window: int) -> np.ndarray:
    """Return values [..., n] averaged over `window` of them, an odd number, along the last axis.

    Centred; at the ends the window is cut, never padded.
    """
    half = window // 2
    averages = [
        values[..., max(0, index - half) : index + half + 1].mean(axis=-1)
        for index in range(values.shape[-1])
    ]
    return np.stack(averages, axis=-1)


@dataclass(frozen=True, eq=False)
class FoldCurves:
    """One trial's learning curves on the monitored metric.

    values: [n_folds, n_epochs], finite, after epoch 1, 2, …
    objective: the metric and its direction
    folds: which of the study's folds the rows are; all of them by default
    n_repeats: how often the rows were split anew (RepeatedKFold); the folds of one repeat lie
        together
    """

    values: np.ndarray
    objective: Objective
    folds: tuple[int, ...] = ()
    n_repeats: int = 1

    def __post_init__(self) -> None:
        # A copy: curves are often a view of a buffer that training goes on filling.
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(
                f"fold curves must be [n_folds, n_epochs] with at least one of each, "
                f"got shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError("fold curves must be finite; a diverged trial has no curves to choose")
        folds = tuple(self.folds) or tuple(range(len(values)))
        if len(folds) != len(values) or len(set(folds)) != len(folds):
            raise ValueError(f"fold curves of {len(values)} rows cannot belong to folds {folds}")
        if self.n_repeats < 1 or len(values) % self.n_repeats:
            raise ValueError(f"{len(values)} folds cannot be {self.n_repeats} repeats of one split")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "folds", folds)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return self.values.shape[0]

    @property
    def n_epochs(self) -> int:
        """Number of epochs that every fold has trained."""
        return self.values.shape[1]

    @functools.cached_property
    def mean(self) -> np.ndarray:
        """The mean over folds, [n_epochs]."""
        mean = self.values.mean(axis=0)
        mean.flags.writeable = False
        return mean

    @property
    def standard_error(self) -> np.ndarray | None:
        """Sample standard deviation over folds / √folds, [n_epochs]; None for one fold a repeat.

        Repeats use the same rows again: they steady the mean but add no data. So the variance is
        averaged over repeats, and divided by the folds of one.

        Folds share training rows, so this understates the error of the mean: no unbiased
        estimator of it exists (Bengio & Grandvalet 2004, Theorem 1).
        """
        n_folds = self.n_folds // self.n_repeats
        if n_folds == 1:
            return None
        by_repeat = self.values.reshape(self.n_repeats, n_folds, self.n_epochs)
        return np.sqrt(by_repeat.var(axis=1, ddof=1).mean(axis=0) / n_folds)

    @functools.cached_property
    def best_n_epochs(self) -> int:
        """The number of epochs at which the mean is best; the first of equals.

        Kept, as the mean is: a search looks at it for all trials after each of them.
        """
        return int(np.argmin(self.objective.as_loss(self.mean))) + 1

    @property
    def value(self) -> float:
        """The best of the mean curve: a trial's value."""
        return self.mean_after(self.best_n_epochs)

    def until(self, n_epochs: int) -> FoldCurves:
        """Return the curves' first `n_epochs` epochs."""
        values = self.values[:, : self._index(n_epochs) + 1]
        return FoldCurves(values, self.objective, self.folds, self.n_repeats)

    def mean_after(self, n_epochs: int) -> float:
        """Return the mean over folds after `n_epochs` epochs."""
        return float(self.mean[self._index(n_epochs)])

    def after(self, n_epochs: int) -> np.ndarray:
        """Return the folds' values after `n_epochs` epochs, [n_folds]."""
        return self.values[:, self._index(n_epochs)]

    def standard_error_after(self, n_epochs: int) -> float | None:
        """Return the standard error after `n_epochs` epochs; None for one fold."""
        errors = self.standard_error
        return None if errors is None else float(errors[self._index(n_epochs)])

    @property
    def losses(self) -> np.ndarray:
        """The mean turned so that smaller is better, [n_epochs]."""
        return self.objective.as_loss(self.mean)

    def loss_after(self, n_epochs: int) -> float:
        """Return the mean after `n_epochs` epochs, turned so that smaller is better."""
        return float(self.losses[self._index(n_epochs)])

    @property
    def fold_bests(self) -> tuple[int, ...]:
        """For each fold by itself, the number of epochs at which it is best."""
        indices = self.objective.as_loss(self.values).argmin(axis=1)
        return tuple(int(index) + 1 for index in indices)

    def differences_to(self, n_epochs: int) -> FoldCurves:
        """Return each fold's loss less its own loss after `n_epochs` epochs, as curves."""
        losses = self.objective.as_loss(self.values)
        differences = losses - losses[:, [self._index(n_epochs)]]
        return FoldCurves(differences, Objective(), self.folds, self.n_repeats)

    def smoothed(self, window: int) -> FoldCurves:
        """Return each fold's loss averaged over `window` epochs, an odd number, as curves.

        Centred; at the ends the window is cut, never padded.
        """
        losses = centred_average(self.objective.as_loss(self.values), window)
        return FoldCurves(losses, Objective(), self.folds, self.n_repeats)

    def epochs_where(self, holds: np.ndarray) -> tuple[int, ...]:
        """Return the epoch counts at which a condition [≤ n_epochs] holds, smallest first."""
        return tuple(int(index) + 1 for index in np.flatnonzero(holds))

    def _index(self, n_epochs: int) -> int:
        if not 1 <= n_epochs <= self.n_epochs:
            raise ValueError(f"n_epochs must be in 1..{self.n_epochs}, got {n_epochs}")
        return n_epochs - 1
