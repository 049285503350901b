"""Fold curves: the monitored metric of every fold after every epoch.

This is the only module in which an epoch is ever a 0-based index. Everywhere else `n_epochs` is a
count: after `n_epochs` epochs the mean is `curves.mean[n_epochs - 1]`, and only `mean_after` says
so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.objective import Objective


@dataclass(frozen=True, eq=False)
class FoldCurves:
    """One trial's learning curves on the monitored metric.

    values: [n_folds, n_epochs], finite, after epoch 1, 2, …
    objective: the metric and its direction
    folds: which of the study's folds the rows are; all of them by default
    """

    values: np.ndarray
    objective: Objective
    folds: tuple[int, ...] = ()

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

    @property
    def mean(self) -> np.ndarray:
        """The mean over folds, [n_epochs]."""
        return self.values.mean(axis=0)

    @property
    def standard_error(self) -> np.ndarray | None:
        """Sample standard deviation over folds / √n_folds, [n_epochs]; None for one fold.

        Folds share training rows, so this understates the error of the mean: no unbiased
        estimator of it exists (Bengio & Grandvalet 2004, Theorem 1).
        """
        if self.n_folds == 1:
            return None
        return self.values.std(axis=0, ddof=1) / np.sqrt(self.n_folds)

    @property
    def best_n_epochs(self) -> int:
        """The number of epochs at which the mean is best; the first of equals."""
        return int(np.argmin(self.objective.as_loss(self.mean))) + 1

    @property
    def value(self) -> float:
        """The best of the mean curve: a trial's value."""
        return self.mean_after(self.best_n_epochs)

    def mean_after(self, n_epochs: int) -> float:
        """Return the mean over folds after `n_epochs` epochs."""
        return float(self.mean[self._index(n_epochs)])

    def standard_error_after(self, n_epochs: int) -> float | None:
        """Return the standard error after `n_epochs` epochs; None for one fold."""
        errors = self.standard_error
        return None if errors is None else float(errors[self._index(n_epochs)])

    def epochs_within(self, loss: float) -> tuple[int, ...]:
        """Return the epoch counts whose mean, turned so that smaller is better, is ≤ `loss`."""
        return tuple(int(i) + 1 for i in np.flatnonzero(self.objective.as_loss(self.mean) <= loss))

    def _index(self, n_epochs: int) -> int:
        if not 1 <= n_epochs <= self.n_epochs:
            raise ValueError(f"n_epochs must be in 1..{self.n_epochs}, got {n_epochs}")
        return n_epochs - 1
