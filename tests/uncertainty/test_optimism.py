"""Corrections for having chosen the best: known answers, and what they are for."""

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.uncertainty import over_trials, within_trial


def test_a_fold_is_charged_for_what_its_own_minimum_would_have_gained():
    """The mean is best at epoch 2, where the folds lie 1, 0 and 2 above their own minima."""
    losses = np.array([[4.0, 3.0, 2.0], [5.0, 1.0, 4.0], [1.0, 3.0, 8.0]])
    assert within_trial(losses) == 1.0


def test_folds_that_agree_have_no_bias():
    assert within_trial(np.array([[3.0, 1.0, 2.0]] * 4) + np.arange(4.0)[:, None]) == 0.0


def test_it_scales_with_the_losses_and_ignores_what_a_fold_adds():
    losses = np.round(np.random.default_rng(0).normal(size=(5, 20)) * 64) / 64
    bias = within_trial(losses)
    assert bias is not None
    assert bias > 0
    assert within_trial(4 * losses + 8 * np.arange(5)[:, None]) == pytest.approx(4 * bias)


def test_one_fold_says_nothing_about_its_own_optimism():
    assert within_trial(np.array([[3.0, 1.0, 2.0]])) is None


def test_one_trial_is_nothing_chosen():
    rows = np.random.default_rng(0).normal(5, 1, (200, 1))
    assert over_trials(rows) == pytest.approx(rows.mean(), abs=0.01)


def test_among_equal_trials_the_best_is_no_better_than_the_others():
    """The minimum of 20 trials of expected loss 0 looks like −0.19; their truth is 0."""
    rng = np.random.default_rng(0)
    tables = rng.normal(size=(30, 100, 20))
    naive = np.mean([table.mean(axis=0).min() for table in tables])
    corrected = np.mean([over_trials(table, n_resamples=100) for table in tables])
    assert naive < -0.15
    assert corrected == pytest.approx(0.0, abs=0.04)


def test_an_obvious_best_needs_no_correction():
    rows = np.random.default_rng(0).normal(size=(200, 3)) + np.array([0.0, 50.0, 60.0])
    assert over_trials(rows) == pytest.approx(rows[:, 0].mean(), abs=0.02)


def test_rows_without_a_loss_in_every_trial_are_left_out():
    rows = np.random.default_rng(0).normal(size=(50, 4))
    unseen = np.vstack([rows, [[np.nan] * 4, [0.0, -99.0, np.nan, 0.0]]])
    assert over_trials(unseen, seed=3) == over_trials(rows, seed=3)


@pytest.mark.parametrize(
    ("row_losses", "message"),
    [
        (np.ones(3), r"\[n_rows, n_trials\].*got shape \(3,\)"),
        (np.array([[1.0], [np.nan]]), "rows validated in every trial must be ≥ 2, got 1"),
        (np.array([[1.0], [np.inf]]), "finite, got 1 of 2 values"),
    ],
)
def test_what_cannot_be_used_is_refused(row_losses, message):
    with pytest.raises(BadInput, match=message):
        over_trials(row_losses)


def test_losses_that_are_not_finite_are_refused():
    with pytest.raises(BadInput, match="finite"):
        within_trial(np.array([[1.0, np.nan], [1.0, 1.0]]))
