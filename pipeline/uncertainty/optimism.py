"""How much too good the best looks because it was chosen for looking best."""

from __future__ import annotations

import numpy as np

from pipeline.errors import BadInput, require
from pipeline.uncertainty.checks import by_repeat, check_finite

MAX_FOLDS = 5
"""The largest number of folds for which `within_trial` is to be shown: with ten it adds more than
twice what there is to correct. See there."""


def within_trial(losses: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Return the estimated bias of the minimum over epochs; None for one fold.

    losses: [n_folds, n_epochs] of one trial, smaller is better
    weights: how much each fold counts in the mean, [n_folds]; None: alike

    mean over folds of (fold's loss at the epoch that is best on average − fold's own minimum), to
    be added to the minimum (Tibshirani & Tibshirani 2009, §2). Never negative. It needs a complete
    grid: one trial's epochs, not the trials of a search.

    A fold's own minimum is that of a noisier curve, and the more so the more folds there are.
    Measured (`python tests/benchmarks/optimism.py`, 200 data sets a setting; in standard errors of
    the mean, below zero is too good), at a sharp optimum the minimum and the corrected one were off
    by −0.26 and +0.03 with 5 folds, by −0.31 and +0.53 with 10, by −0.29 and +1.10 with 20. At a
    flat one there is less to correct: −0.08 and +0.18, −0.10 and +0.36, −0.11 and +0.69.

    Raises BadInput for losses that are not finite.
    """
    (folds,) = by_repeat(losses, 1)
    if len(folds) == 1:
        return None
    chosen = folds[:, np.average(folds, axis=0, weights=weights).argmin()]
    return float(np.average(chosen - folds.min(axis=1), weights=weights))


def over_trials(
    row_losses: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> float:
    """Return the loss to expect of "take the best trial", corrected for having chosen it.

    row_losses: each row's out-of-fold loss in each trial, [n_rows, n_trials]; a row with a NaN (it
        was never validated, or not in every trial) is left out
    weights: how much each row counts in the mean, [n_rows]; None: alike

    Bootstrap bias-corrected cross-validation: take the best trial on rows drawn with replacement,
    look at its loss on the rows that were not drawn, average (Tsamardinos, Greasidou &
    Borboudakis 2018, Algorithm 5). It corrects for the choice among the columns only. If each
    trial's column is at that trial's best epoch, the choice of the epoch is not corrected; a column
    for every pair of trial and epoch corrects both.

    Measured with 3 to 20 folds (`python tests/benchmarks/optimism.py`, 200 data sets a setting; in
    standard errors of the mean, below zero is too good), at a sharp and at a flat optimum the
    minimum was off by −0.48 to −0.18, the estimate from trials at their best epochs by −0.27 to
    −0.08, that from pairs by 0.00 to +0.21, and nested cross-validation by −0.03 to +0.02.

    Raises BadInput for fewer than two rows without NaN.
    """
    losses = np.asarray(row_losses, dtype=np.float64)
    if losses.ndim != 2 or 0 in losses.shape:
        raise BadInput(
            "row_losses must be [n_rows, n_trials] with at least one of each, "
            f"got shape {losses.shape}"
        )
    known = ~np.isnan(losses).any(axis=1)
    losses, counts = losses[known], np.ones(known.sum()) if weights is None else weights[known]
    n_rows = len(losses)
    require(n_rows >= 2, "rows validated in every trial", "≥ 2", n_rows)
    check_finite("row_losses without NaN", losses)
    require(n_resamples >= 1, "n_resamples", "≥ 1", n_resamples)

    rng = np.random.default_rng(seed)
    estimates = []
    for _ in range(n_resamples):
        n_drawn = np.bincount(rng.integers(n_rows, size=n_rows), minlength=n_rows)
        left_out = n_drawn == 0
        if left_out.any():  # all but certain, unless there are only a few rows
            best = ((n_drawn * counts) @ losses).argmin()
            estimates.append(np.average(losses[left_out, best], weights=counts[left_out]))
    require(estimates, "n_resamples", "enough to leave a row out at least once", n_resamples)
    return float(np.mean(estimates))
