"""Resampled choices of an epoch: known answers, and what is resampled."""

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.uncertainty import bootstrapped


def best_of_mean(curves: np.ndarray, _: np.ndarray) -> int:
    return int(curves.mean(axis=0).argmin()) + 1


def test_rows_and_folds_that_agree_always_choose_the_same():
    curve = np.array([3.0, 1.0, 2.0])
    epochs = bootstrapped([np.tile(curve, (4, 1)), np.tile(curve + 8, (7, 1))], best_of_mean)
    assert epochs.tolist() == [2] * 500


def test_the_rule_sees_as_many_folds_as_there_are():
    shapes = set()

    def choose(curves: np.ndarray, _: np.ndarray) -> int:
        shapes.add(curves.shape)
        return 1

    assert bootstrapped([np.ones((3, 6)), np.ones((5, 6))], choose, n_resamples=4).shape == (4,)
    assert shapes == {(2, 6)}


def test_the_rule_is_told_which_folds_were_drawn():
    folds = [np.full((2, 3), float(number)) for number in range(4)]

    def choose(curves: np.ndarray, drawn: np.ndarray) -> int:
        np.testing.assert_array_equal(curves[:, 0], drawn)
        return 1

    bootstrapped(folds, choose, n_resamples=20)


def test_folds_are_resampled():
    """Each fold's rows agree; the third outweighs the others whenever it is drawn: 1 − (2/3)³."""
    folds = [np.tile([0.0, 1.0], (4, 1)), np.tile([0.0, 1.0], (9, 1)), np.tile([9.0, 1.0], (2, 1))]
    epochs = bootstrapped(folds, best_of_mean, n_resamples=4000)
    assert np.mean(epochs == 2) == pytest.approx(1 - (2 / 3) ** 3, abs=0.025)


def test_rows_are_resampled_within_a_fold():
    """One fold; the one row that speaks for epoch 2 is drawn with probability 1 − (9/10)^10."""
    rows = np.tile([0.0, 1.0], (10, 1))
    rows[3] = [99.0, 1.0]
    epochs = bootstrapped([rows], best_of_mean, n_resamples=4000)
    assert np.mean(epochs == 2) == pytest.approx(1 - 0.9**10, abs=0.025)


def test_a_fold_drawn_twice_has_rows_of_its_own_each_time():
    rows = np.random.default_rng(0).normal(size=(50, 1))

    def distinct(curves: np.ndarray, _: np.ndarray) -> int:
        return len(np.unique(curves))

    assert set(bootstrapped([rows] * 3, distinct, n_resamples=50)) == {3}


def test_means_scatter_as_means_of_so_many_rows_do():
    rows = np.random.default_rng(0).normal(size=(400, 1))
    means: list[float] = []

    def choose(curves: np.ndarray, _: np.ndarray) -> int:
        means.append(float(curves.mean()))
        return 1

    bootstrapped([rows], choose, n_resamples=2000)
    assert np.std(means) == pytest.approx(rows.std() / 20, rel=0.1)
    assert np.mean(means) == pytest.approx(rows.mean(), abs=0.01)


def test_the_same_seed_draws_the_same(monkeypatch):
    rows = [np.random.default_rng(k).normal(size=(20, 9)) for k in range(3)]
    epochs = bootstrapped(rows, best_of_mean)
    assert (bootstrapped(rows, best_of_mean) == epochs).all()
    assert (bootstrapped(rows, best_of_mean, seed=1) != epochs).any()
    monkeypatch.setattr("pipeline.uncertainty.bootstrap.BLOCK", 50)  # two resamples at a time
    assert (bootstrapped(rows, best_of_mean) == epochs).all()


@pytest.mark.parametrize(
    ("row_losses", "message"),
    [
        ([], "one .n_rows, n_epochs. per fold"),
        ([np.ones(3)], r"got shapes \[\(3,\)\]"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"of one number of epochs, got \[3, 4\]"),
        ([np.full((2, 3), np.nan)], "finite"),
    ],
)
def test_what_cannot_be_used_is_refused(row_losses, message):
    with pytest.raises(BadInput, match=message):
        bootstrapped(row_losses, best_of_mean)
