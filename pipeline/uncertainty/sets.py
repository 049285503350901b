"""Which candidates, epochs or trials, cannot be told from the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.linalg import helmert

from pipeline.errors import require
from pipeline.uncertainty.checks import by_repeat, check_confidence

N_DRAWS = 1000
"""For a critical value: at 95 % confidence its tail then holds 50 draws."""


def confidence_set(
    losses: np.ndarray,
    *,
    n_repeats: int = 1,
    validation_to_training: float = 0.0,
    confidence: float = 0.95,
    seed: int = 0,
) -> np.ndarray | None:
    """Return whether each candidate is in the set, [n_candidates]; None for one fold a repeat.

    losses: [n_folds, n_candidates], smaller is better: one trial's epochs, or each trial at its
        best epoch
    n_repeats: how often the rows were split anew; the folds of one repeat lie together
    validation_to_training: n_validation/n_training widens the set by the correction of Nadeau &
        Bengio (2003)
    seed: of the draws behind the critical values

    The set holds the candidate that is best in expectation with the given confidence. Candidate e
    is left out if max over j of (mean_e − mean_j) / standard error of that difference, fold by
    fold, exceeds the critical value of as many t variables, correlated as the differences are:
    multiple comparisons with the best (Hsu 1984), the set read as in Hansen, Lunde & Nason (2011,
    §2). The empirical best is always in. Candidates with equal losses are in or out together; one
    that is worse by the same amount in every fold is out.

    Measured with 3 to 20 folds (`python tests/benchmarks/coverage.py`, 200 data sets a setting): at
    95 %, the uncorrected set held the truly best epoch in 95.5 % to 100 % of data sets and the
    truly best trial in 93.5 % to 100 % (a Monte Carlo standard error is up to 1.7 %). Corrected, it
    held both in 97.5 % or more and had up to four times as many epochs: hence no correction by
    default. Differences of the same folds share most of what makes scores vary together.

    Raises BadInput for losses that are not finite, and arguments out of range.
    """
    check_confidence(confidence)
    require(validation_to_training >= 0, "validation_to_training", "≥ 0", validation_to_training)
    repeats = by_repeat(losses, n_repeats)
    n_folds = repeats.shape[1]
    if n_folds == 1:
        return None
    null = _Null.drawn(n_repeats, n_folds - 1, np.random.default_rng(seed))
    kept = np.empty(repeats.shape[2], dtype=bool)
    # The critical value of several comparisons is never below that of one, nor above Bonferroni's.
    # Between the two it is drawn, which takes most of the time.
    of_one = stats.t.isf(1 - confidence, n_folds - 1)
    of_all = stats.t.isf((1 - confidence) / max(1, len(kept) - 1), n_folds - 1)
    for candidate in range(len(kept)):
        differences = repeats[:, :, [candidate]] - repeats
        statistic, directions = _studentized(differences, validation_to_training)
        largest = statistic.max()
        kept[candidate] = largest <= of_one or (
            largest <= of_all and largest <= null.quantile(directions, confidence)
        )
    return kept


def _studentized(differences: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean / standard error, [n_candidates], and directions, [n_contrasts, n_candidates].

    differences: [n_repeats, folds of one, n_candidates]

    A direction is the differences' contrasts over folds, at unit length; zero where they do not
    vary. Two directions' product is their differences' correlation.
    """
    _, n_folds, n_candidates = differences.shape
    means = differences.mean(axis=(0, 1))
    contrasts = (helmert(n_folds) @ differences).reshape(-1, n_candidates)
    lengths = np.sqrt((contrasts**2).sum(axis=0))
    errors = lengths * np.sqrt((1 / n_folds + ratio) / len(contrasts))
    certain = np.where(means == 0, 0.0, np.copysign(np.inf, means))
    varies = lengths > 0
    return (
        np.divide(means, errors, out=certain, where=varies),
        np.divide(contrasts, lengths, out=np.zeros_like(contrasts), where=varies),
    )


@dataclass(frozen=True, eq=False)
class _Null:
    """Draws of what t statistics would be if all candidates were equally good.

    normals: [n_draws, n_contrasts], the means' part
    products: [n_draws, pairs of contrasts], the standard errors' part: Wishart matrices over their
        degrees of freedom, each pair once

    Normal differences with correlations uᵢ·uⱼ have t statistics z·u / √(uᵀ S u). Each comparison
    so has an error estimate of its own, as in the data: one for all, as in the multivariate t
    distribution, would make the critical value too small.

    Single precision: what it changes is far below what other draws would.
    """

    normals: np.ndarray
    products: np.ndarray

    @classmethod
    def drawn(cls, n_repeats: int, freedom: int, rng: np.random.Generator) -> _Null:
        """Return N_DRAWS draws. Repeats add contrasts, but no degrees of freedom."""
        n_contrasts = n_repeats * freedom
        normals = rng.standard_normal((N_DRAWS, n_contrasts))
        samples = rng.standard_normal((N_DRAWS, freedom, n_contrasts))
        wishart = samples.swapaxes(1, 2) @ samples / freedom
        first, second = np.triu_indices(n_contrasts)
        products = wishart[:, first, second] * np.where(first == second, 1, 2)
        return cls(normals.astype(np.float32), products.astype(np.float32))

    def quantile(self, directions: np.ndarray, confidence: float) -> float:
        """Return the quantile of the largest statistic, directions: [n_contrasts, n_candidates]."""
        directions = directions[:, directions.any(axis=0)].astype(np.float32)
        first, second = np.triu_indices(len(directions))
        variances = self.products @ (directions[first] * directions[second])
        np.maximum(variances, np.finfo(np.float32).eps, out=variances)  # rounding, near zero
        statistics = (self.normals @ directions) / np.sqrt(variances)
        return float(np.quantile(statistics.max(axis=1), confidence))
