import numpy as np
import pytest

from pipeline.curves import FoldCurves, centred_average
from pipeline.objective import Objective

LOSS = Objective()
ACCURACY = Objective("val_accuracy", "maximize")


def test_mean_and_standard_error_are_over_folds():
    curves = FoldCurves(np.array([[1.0, 2.0], [3.0, 2.0]]), LOSS)
    np.testing.assert_array_equal(curves.mean, [2.0, 2.0])
    assert curves.standard_error is not None
    np.testing.assert_allclose(curves.standard_error, [1.0, 0.0])  # √2 / √2, by hand


def test_one_fold_has_no_standard_error():
    curves = FoldCurves(np.array([[1.0, 2.0]]), LOSS)
    assert curves.standard_error is None
    assert curves.standard_error_after(1) is None


def test_value_is_the_best_of_the_mean_not_the_mean_of_the_bests():
    curves = FoldCurves(np.array([[0.0, 3.0, 4.0], [4.0, 2.0, 0.0]]), LOSS)
    assert curves.best_n_epochs == 1
    assert curves.value == 2.0


@pytest.mark.parametrize(
    ("objective", "n_epochs", "value"), [(LOSS, 2, 0.25), (ACCURACY, 1, 0.75)], ids=["min", "max"]
)
def test_best_follows_the_direction(objective, n_epochs, value):
    curves = FoldCurves(np.array([[0.75, 0.25, 0.5]]), objective)
    assert (curves.best_n_epochs, curves.value) == (n_epochs, value)


def test_the_first_of_equals_is_best():
    assert FoldCurves(np.array([[3.0, 1.0, 2.0, 1.0]]), LOSS).best_n_epochs == 2


def test_epochs_are_counts():
    curves = FoldCurves(np.array([[3.0, 2.0, 1.0]]), LOSS)
    assert [curves.mean_after(n) for n in (1, 2, 3)] == [3.0, 2.0, 1.0]
    assert curves.epochs_where(curves.mean <= 2.0) == (2, 3)
    for outside in (0, -1, 4):
        with pytest.raises(ValueError, match=f"must be in 1..3, got {outside}"):
            curves.mean_after(outside)


def test_losses_turn_a_maximised_metric():
    curves = FoldCurves(np.array([[0.5, 0.75, 0.25]]), ACCURACY)
    assert curves.epochs_where(curves.losses <= -0.5) == (1, 2)
    assert curves.loss_after(2) == -0.75


def test_a_fold_by_itself_has_a_best_epoch():
    values = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    assert FoldCurves(values, LOSS).fold_bests == (2, 1)
    assert FoldCurves(values, ACCURACY).fold_bests == (1, 3)


def test_differences_are_each_folds_own():
    curves = FoldCurves(np.array([[0.5, 0.75], [0.25, 0.125]]), ACCURACY)
    np.testing.assert_array_equal(curves.differences_to(1).values, [[0, -0.25], [0, 0.125]])


def test_repeats_do_not_shrink_the_standard_error():
    once = np.array([[1.0], [2.0], [3.0], [4.0]])
    naive = FoldCurves(np.tile(once, (5, 1)), LOSS).standard_error_after(1)
    repeated = FoldCurves(np.tile(once, (5, 1)), LOSS, n_repeats=5).standard_error_after(1)
    assert repeated == FoldCurves(once, LOSS).standard_error_after(1)
    assert naive is not None
    assert repeated is not None
    assert repeated > 2 * naive


def test_repeats_of_one_fold_have_no_standard_error():
    assert FoldCurves(np.ones((3, 2)), LOSS, n_repeats=3).standard_error is None


def test_folds_that_are_no_whole_repeats_are_refused():
    with pytest.raises(ValueError, match="5 folds cannot be 2 repeats"):
        FoldCurves(np.ones((5, 2)), LOSS, n_repeats=2)


@pytest.mark.parametrize("values", [[1.0, 2.0], np.empty((0, 3)), np.empty((3, 0)), [[[1.0]]]])
def test_curves_are_a_rectangle_with_at_least_one_fold_and_epoch(values):
    with pytest.raises(ValueError, match="n_folds, n_epochs"):
        FoldCurves(values, LOSS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_curves_are_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        FoldCurves(np.array([[1.0, bad]]), LOSS)


def test_folds_are_all_by_default_and_distinct():
    values = np.ones((2, 1))
    assert FoldCurves(values, LOSS).folds == (0, 1)
    assert FoldCurves(values, LOSS, folds=(4, 1)).folds == (4, 1)
    for folds in ((1, 1), (0, 1, 2)):
        with pytest.raises(ValueError, match="cannot belong to folds"):
            FoldCurves(values, LOSS, folds=folds)


def test_curves_keep_their_values_while_training_fills_the_buffer():
    buffer = np.array([[1.0, 2.0, 0.0]])
    curves = FoldCurves(buffer[:, :2], LOSS)
    buffer[:] = 9.0
    np.testing.assert_array_equal(curves.values, [[1.0, 2.0]])
    with pytest.raises(ValueError, match="read-only"):
        curves.values[0, 0] = 5.0


def test_a_centred_average_does_not_lag_and_is_cut_at_the_ends():
    assert centred_average(np.arange(10.0), 7)[3:7].tolist() == [3, 4, 5, 6]
    assert centred_average(np.array([[0.0, 3.0, 6.0], [1.0, 1.0, 1.0]]), 3).tolist() == [
        [1.5, 3.0, 4.5],
        [1.0, 1.0, 1.0],
    ]


ROWS_OF_FOLDS = np.array([10.0, 30.0, 60.0])
UNEVEN = np.array([[4.0, 1.0], [2.0, 3.0], [1.0, 2.0]])


def over_rows(values=UNEVEN, **changed):
    return FoldCurves(values, Objective(mean="rows"), weights=ROWS_OF_FOLDS, **changed)


def test_over_rows_each_fold_counts_with_its_rows():
    curves = over_rows()
    rows = np.repeat(UNEVEN, ROWS_OF_FOLDS.astype(int), axis=0)
    np.testing.assert_allclose(curves.mean, rows.mean(axis=0))
    assert curves.best_n_epochs == 1
    assert FoldCurves(UNEVEN, LOSS).best_n_epochs == 2
    assert curves.over == "the rows of 3 fold(s)"


def test_over_rows_the_standard_error_is_that_of_a_ratio():
    curves, shares = over_rows(), ROWS_OF_FOLDS[:, None] / ROWS_OF_FOLDS.sum()
    squares = (shares * (UNEVEN - curves.mean)) ** 2
    error = np.sqrt(3 / 2 * squares.sum(axis=0))
    assert curves.standard_error == pytest.approx(error)


def test_folds_that_weigh_the_same_count_alike():
    alike = FoldCurves(UNEVEN, LOSS, weights=np.full(3, 7.0))
    np.testing.assert_allclose(alike.contributions, UNEVEN)
    assert alike.standard_error == pytest.approx(FoldCurves(UNEVEN, LOSS).standard_error)


def test_differences_over_rows_are_those_of_contributions():
    curves = over_rows()
    parts = curves.contributions
    np.testing.assert_allclose(curves.differences_to(1).contributions, parts - parts[:, [0]])
    np.testing.assert_array_equal(curves.until(1).weights, ROWS_OF_FOLDS)


def test_repeats_over_rows_steady_the_mean_and_add_no_data():
    values, weights = np.vstack([UNEVEN, UNEVEN]), np.tile(ROWS_OF_FOLDS, 2)
    twice = FoldCurves(values, Objective(mean="rows"), n_repeats=2, weights=weights)
    np.testing.assert_allclose(twice.mean, over_rows().mean)
    assert twice.standard_error == pytest.approx(over_rows().standard_error)
