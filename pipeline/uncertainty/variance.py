"""Where the scatter of a score comes from: the seed, the fold, or neither."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.errors import BadInput
from pipeline.uncertainty.checks import check_confidence, check_finite
from pipeline.uncertainty.intervals import Interval


@dataclass(frozen=True)
class Component:
    """One part of the variance, in the square of the score's unit; never below zero."""

    estimate: float
    interval: Interval

    def __post_init__(self) -> None:
        if self.estimate < 0 or self.interval.low < 0:
            raise ValueError(f"a variance must be ≥ 0, got {self.estimate} in {self.interval}")


@dataclass(frozen=True)
class VarianceComponents:
    """Of score = mean + seed + fold + residual, each with a variance of its own.

    The residual holds what seed and fold do together: each pair was trained once.
    """

    seed: Component
    fold: Component
    residual: Component

    @property
    def estimates(self) -> dict[str, float]:
        """Each component's estimate, by name."""
        parts = {"seed": self.seed, "fold": self.fold, "residual": self.residual}
        return {name: part.estimate for name, part in parts.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Each component's share of their sum, 0..1; all zero where nothing varies."""
        total = sum(self.estimates.values())
        return {name: value / total if total else 0.0 for name, value in self.estimates.items()}

    @classmethod
    def of(cls, values: np.ndarray, *, confidence: float = 0.95) -> VarianceComponents:
        """Return the components of values [n_seeds, n_folds], each trained once.

        Estimates are those of the analysis of variance, a negative one shown as zero. The
        residual's interval is exact for normal scores; those of seed and fold are modified
        large-sample intervals for a difference of two mean squares (Ting et al. 1990; Burdick &
        Graybill 1992, §3.3), cut at zero.

        Raises BadInput for fewer than two seeds or folds, or values that are not finite.
        """
        check_confidence(confidence)
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or min(values.shape) < 2:
            raise BadInput(
                "values must be [n_seeds, n_folds] with at least two of each, "
                f"got shape {values.shape}"
            )
        check_finite("values", values)
        n_seeds, n_folds = values.shape
        # Constants change nothing; without them, equal values leave no rounding behind.
        values = values - values[0, 0]
        by_seed = values.mean(axis=1, keepdims=True)
        by_fold = values.mean(axis=0, keepdims=True)
        residuals = values - by_seed - by_fold + values.mean()
        residual = _MeanSquare.of(residuals, (n_seeds - 1) * (n_folds - 1))
        seed = _MeanSquare(n_folds * float(by_seed.var(ddof=1)), n_seeds - 1)
        fold = _MeanSquare(n_seeds * float(by_fold.var(ddof=1)), n_folds - 1)
        tail = (1 - confidence) / 2
        return cls(
            seed=_excess(seed, residual, n_folds, tail, confidence),
            fold=_excess(fold, residual, n_seeds, tail, confidence),
            residual=Component(
                residual.value,
                Interval(
                    residual.value / residual.ratio(tail),
                    residual.value / residual.ratio(1 - tail),
                    confidence,
                ),
            ),
        )


@dataclass(frozen=True)
class _MeanSquare:
    """A sum of squares over its degrees of freedom."""

    value: float
    freedom: int

    @classmethod
    def of(cls, residuals: np.ndarray, freedom: int) -> _MeanSquare:
        return cls(float((residuals**2).sum()) / freedom, freedom)

    def ratio(self, tail: float) -> float:
        """Return the upper `tail` point of F with these and infinite degrees of freedom."""
        return float(stats.chi2.isf(tail, self.freedom)) / self.freedom


def _excess(
    effect: _MeanSquare, residual: _MeanSquare, n_levels: int, tail: float, confidence: float
) -> Component:
    """Return (effect − residual) / n_levels: the variance of an effect's levels."""
    difference = effect.value - residual.value
    reach_down = _reach(effect, residual, tail)
    reach_up = _reach(effect, residual, 1 - tail)
    return Component(
        max(0.0, difference) / n_levels,
        Interval(
            max(0.0, difference - reach_down) / n_levels,
            max(0.0, difference + reach_up) / n_levels,
            confidence,
        ),
    )


def _reach(effect: _MeanSquare, residual: _MeanSquare, tail: float) -> float:
    """Return how far the bound lies from the difference of the mean squares.

    Both bounds have one form, at `tail` and at 1 − `tail`. The cross term is such that the bound is
    zero exactly where the F test of "no effect" is at its critical value.
    """
    of_effect = 1 - 1 / effect.ratio(tail)
    of_residual = 1 / residual.ratio(1 - tail) - 1
    f = float(stats.f.isf(tail, effect.freedom, residual.freedom))
    cross = ((f - 1) ** 2 - (of_effect * f) ** 2 - of_residual**2) / f
    square = (
        (of_effect * effect.value) ** 2
        + (of_residual * residual.value) ** 2
        + cross * effect.value * residual.value
    )
    return math.sqrt(max(0.0, square))
