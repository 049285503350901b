"""Fold curves: the monitored metric of every fold after every epoch.

This is the only module in which an epoch is ever a 0-based index. Everywhere else `n_epochs` is a
count: after `n_epochs` epochs the mean is `curves.mean[n_epochs - 1]`, and only `mean_after` says
so.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

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


def mean_over_folds(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return the mean of values [n_folds, ...] over folds. weights: [n_folds]; None: alike."""
    return values.mean(axis=0) if weights is None else np.average(values, axis=0, weights=weights)


def contributions(values: np.ndarray, weights: np.ndarray | None, n_repeats: int = 1) -> np.ndarray:
    """Return what each fold contributes to the mean, in the shape of values [n_folds, n].

    Their plain mean is the weighted one, and the plain standard error of their mean is that of a
    ratio of sums over folds, Σ wₖ vₖ / Σ wₖ, to first order (Cochran 1977, §6.4). They are linear
    in the values, so those of a difference are the difference of those: whatever is made for folds
    that count alike is right for those that do not. Where folds count alike they are the values.

    weights: [n_folds], or None; n_repeats: the folds of one repeat lie together
    """
    if weights is None:
        return values
    of_repeats = values.reshape(n_repeats, -1, values.shape[-1])
    shares = weights.reshape(n_repeats, -1, 1)
    shares = shares / shares.mean(axis=1, keepdims=True)
    means = (shares * of_repeats).mean(axis=1, keepdims=True)
    return (means + shares * (of_repeats - means)).reshape(values.shape)


@dataclass(frozen=True)
class FoldScore:
    """A metric's mean over folds, and its standard error; None for one fold."""

    mean: float
    standard_error: float | None


@dataclass(frozen=True, eq=False)
class FoldCurves:
    """One trial's learning curves on the monitored metric.

    values: [n_folds, n_epochs], finite, after epoch 1, 2, …
    objective: the metric and its direction
    folds: which of the study's folds the rows are; all of them by default
    n_repeats: how often the rows were split anew (RepeatedKFold); the folds of one repeat lie
        together
    weights: how much each fold counts in the mean, [n_folds]; None: alike
    """

    values: np.ndarray
    objective: Objective
    folds: tuple[int, ...] = ()
    n_repeats: int = 1
    weights: np.ndarray | None = None

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
        if self.weights is not None:
            weights = np.array(self.weights, dtype=np.float64)
            if weights.shape != (len(values),) or not (weights > 0).all():
                raise ValueError(f"weights of {len(values)} folds must be > 0, got {weights}")
            object.__setattr__(self, "weights", weights)
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
        """The mean over folds, or over their rows, [n_epochs]."""
        mean = mean_over_folds(self.values, self.weights)
        mean.flags.writeable = False
        return mean

    @property
    def over(self) -> str:
        """What the mean is over, in words."""
        folds = f"{self.n_folds} fold(s)"
        return folds if self.weights is None else f"the rows of {folds}"

    @property
    def contributions(self) -> np.ndarray:
        """What each fold contributes to the mean, [n_folds, n_epochs]; see the function."""
        return contributions(self.values, self.weights, self.n_repeats)

    @property
    def standard_error(self) -> np.ndarray | None:
        """Sample standard deviation over folds / √folds, [n_epochs]; None for one fold a repeat.

        Of contributions, where folds do not count alike. Repeats use the same rows again: they
        steady the mean but add no data. So the variance is averaged over repeats, and divided by
        the folds of one.

        Folds share training rows, so this understates the error of the mean: no unbiased
        estimator of it exists (Bengio & Grandvalet 2004, Theorem 1).
        """
        n_folds = self.n_folds // self.n_repeats
        if n_folds == 1:
            return None
        by_repeat = self.contributions.reshape(self.n_repeats, n_folds, self.n_epochs)
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
        return replace(self, values=self.values[:, : self._index(n_epochs) + 1])

    def mean_after(self, n_epochs: int) -> float:
        """Return the mean over folds after `n_epochs` epochs."""
        return float(self.mean[self._index(n_epochs)])

    def after(self, n_epochs: int) -> np.ndarray:
        """Return the folds' values after `n_epochs` epochs, [n_folds]."""
        return self.values[:, self._index(n_epochs)]

    def contributions_after(self, n_epochs: int) -> np.ndarray:
        """Return what each fold contributes to the mean after `n_epochs` epochs, [n_folds]."""
        return self.contributions[:, self._index(n_epochs)]

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
        return self.of_losses(losses - losses[:, [self._index(n_epochs)]])

    def smoothed(self, window: int) -> FoldCurves:
        """Return each fold's loss averaged over `window` epochs, an odd number, as curves.

        Centred; at the ends the window is cut, never padded.
        """
        return self.of_losses(centred_average(self.objective.as_loss(self.values), window))

    def of_losses(self, losses: np.ndarray) -> FoldCurves:
        """Return curves of the same folds whose values [n_folds, n_epochs] are losses."""
        return replace(self, values=losses, objective=Objective())

    def epochs_where(self, holds: np.ndarray) -> tuple[int, ...]:
        """Return the epoch counts at which a condition [≤ n_epochs] holds, smallest first."""
        return tuple(int(index) + 1 for index in np.flatnonzero(holds))

    def _index(self, n_epochs: int) -> int:
        if not 1 <= n_epochs <= self.n_epochs:
            raise ValueError(f"n_epochs must be in 1..{self.n_epochs}, got {n_epochs}")
        return n_epochs - 1
