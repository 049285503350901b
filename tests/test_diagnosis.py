"""Hand-made curves with known answers, then curves of real trainings."""

import numpy as np
import pytest

from pipeline.curves import FoldCurves
from pipeline.diagnosis import Diagnosis, Fit, diagnose
from pipeline.objective import Objective

OBJECTIVES = (Objective(), Objective("val_accuracy", "maximize"))
EPOCHS = np.arange(1, 41)
FALLING = 2.0 - 0.04 * EPOCHS
LEVEL = np.exp(-EPOCHS / 3.0)
VALLEY = LEVEL + 0.02 * np.clip(EPOCHS - 15, 0, None)
JAGGED = LEVEL + 0.5 * (EPOCHS % 2)


def curves(mean, n_folds=5, noise=0.0, objective=OBJECTIVES[0], seed=0):
    """Return folds apart by constants, with noise of their own; `mean` is a loss."""
    random = np.random.default_rng(seed)
    values = mean + np.linspace(-0.1, 0.1, n_folds)[:, np.newaxis] * (n_folds > 1)
    values = values + noise * random.normal(size=values.shape)
    return FoldCurves(objective.as_loss(values), objective)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["minimize", "maximize"])
@pytest.mark.parametrize("n_folds", [1, 2, 5])
@pytest.mark.parametrize("noise", [0.0, 0.005])
@pytest.mark.parametrize(
    ("mean", "kind"),
    [
        (FALLING, Fit.UNDERFIT),
        (LEVEL, Fit.GOOD),
        (VALLEY, Fit.OVERFITTING),
        (JAGGED, Fit.UNSTABLE),
    ],
    ids=["falling", "level", "valley", "jagged"],
)
def test_a_plain_curve_is_named(mean, kind, noise, n_folds, objective):
    given = curves(mean, n_folds, noise, objective, seed=1)
    found = diagnose(given, objective.as_loss(1.0 - 0.02 * EPOCHS))
    assert found.kind is kind
    assert diagnose(given, None).kind is kind


def test_overfitting_begins_where_the_rise_is_more_than_noise():
    steady = diagnose(curves(VALLEY), -FALLING[::-1])
    noisy = diagnose(curves(VALLEY, noise=0.05), -FALLING[::-1])
    assert steady.from_epoch in range(15, 18)
    assert noisy.from_epoch in range(18, 30)


def test_a_rise_that_is_over_again_is_not_overfitting():
    hill = LEVEL + 0.3 * np.exp(-((EPOCHS - 20.0) ** 2) / 20)
    assert diagnose(curves(hill), 1.0 - 0.02 * EPOCHS).kind is Fit.GOOD


def test_validation_and_training_that_both_get_worse_are_unstable():
    assert diagnose(curves(VALLEY), VALLEY).kind is Fit.UNSTABLE
    assert diagnose(curves(VALLEY), np.where(EPOCHS > 5, np.nan, VALLEY)).kind is Fit.OVERFITTING


def test_the_same_in_another_unit_has_the_same_name():
    given = curves(VALLEY, noise=0.02)
    training = 1.0 - 0.02 * EPOCHS
    scaled = FoldCurves(1e6 * given.values - 3e5, given.objective)
    one, other = diagnose(given, training), diagnose(scaled, 1e6 * training - 3e5)
    assert (one.kind, one.from_epoch) == (other.kind, other.from_epoch)
    assert other.gap_at_end == pytest.approx(1e6 * (one.gap_at_end or 0))


def test_folds_that_disagree_are_noise():
    """Two folds gain what two others lose: their mean, risen a little, says nothing."""
    slopes = np.array([-1.0, -0.9, 1.0, 1.0])[:, np.newaxis]
    assert diagnose(FoldCurves(0.02 * slopes * EPOCHS, Objective()), None).kind is Fit.GOOD
    assert diagnose(FoldCurves(0.02 * abs(slopes) * EPOCHS, Objective()), None).kind is (
        Fit.OVERFITTING
    )


def test_a_steady_gain_far_below_the_scores_error_is_not_worth_a_word():
    assert diagnose(curves(LEVEL - 1e-6 * EPOCHS), None).kind is Fit.GOOD
    assert diagnose(curves(LEVEL - 1e-6 * EPOCHS, n_folds=1), None).kind is Fit.GOOD


@pytest.mark.parametrize("n_folds", [1, 2, 5])
def test_equal_epochs_are_level(n_folds):
    found = diagnose(curves(np.full(40, 0.5), n_folds), np.full(40, 0.25))
    assert found.kind is Fit.GOOD
    assert found.gap == found.gap_at_end == pytest.approx(0.25)


@pytest.mark.parametrize(("n_folds", "n_epochs"), [(1, 1), (1, 4), (2, 1), (5, 1)])
def test_too_few_epochs_tell_nothing_but_the_gap(n_folds, n_epochs):
    found = diagnose(curves(FALLING[:n_epochs], n_folds), FALLING[:n_epochs] - 0.5)
    assert found.kind is Fit.TOO_SHORT
    assert found.gap == pytest.approx(0.5)


def test_two_epochs_of_several_folds_show_which_way_it_goes():
    assert diagnose(curves(np.array([2.0, 1.0])), np.array([2.0, 1.0])).kind is Fit.UNDERFIT
    assert diagnose(curves(np.array([1.0, 2.0])), np.array([2.0, 1.0])).kind is Fit.OVERFITTING


def test_gaps_are_of_losses_at_the_best_epoch_and_the_last():
    objective = OBJECTIVES[1]
    accuracy = FoldCurves(np.array([[0.5, 0.9, 0.7], [0.5, 0.8, 0.6]]), objective)
    found = diagnose(accuracy, np.array([0.6, 0.95, 1.0]))
    assert found.gap == pytest.approx(0.95 - 0.85)
    assert found.gap_at_end == pytest.approx(1.0 - 0.65)
    without = diagnose(accuracy, None)
    assert (without.gap, without.gap_at_end) == (None, None)


def test_training_is_as_long_as_validation():
    with pytest.raises(ValueError, match=r"training must be \[40 epochs\].*got shape \(3,\)"):
        diagnose(curves(LEVEL), np.ones(3))


@pytest.mark.parametrize(("kind", "from_epoch"), [(Fit.GOOD, 3), (Fit.OVERFITTING, None)])
def test_overfitting_and_nothing_else_has_a_beginning(kind, from_epoch):
    with pytest.raises(ValueError, match="from_epoch says where overfitting begins"):
        Diagnosis(kind, from_epoch)


def test_the_sentence_has_the_epoch_and_the_gaps():
    assert Diagnosis(Fit.OVERFITTING, 23, 0.03, 0.125).sentence == (
        "overfitting from epoch 23 on: validation gets worse while training goes on improving "
        "(validation less training: 0.03 at the best epoch, 0.12 at the last)"
    )
    assert Diagnosis(Fit.DIVERGED).sentence == Fit.DIVERGED.value


def test_flat_curves_are_rarely_named_falsely():
    """The share that `N_STANDARD_ERRORS` promises, on curves that are noise about a level."""
    kinds = [diagnose(curves(LEVEL, 5, 0.03, seed=seed), None).kind for seed in range(200)]
    assert kinds.count(Fit.GOOD) > 180


def trained(n_rows, n_features, learning_rate, n_epochs, signal=1.0):
    """Return the curves of logistic regressions by full-batch gradient descent, on five folds."""
    random = np.random.default_rng(1)
    x = random.normal(size=(n_rows, n_features))
    y = signal * x[:, 0] + random.logistic(size=n_rows) > 0
    fold_of_row = np.arange(n_rows) % 5
    validation, training = [], []
    for fold in range(5):
        held_out, weights = fold_of_row == fold, np.zeros(n_features)
        losses = []
        for _ in range(n_epochs):
            error = 1 / (1 + np.exp(-x[~held_out] @ weights)) - y[~held_out]
            weights -= learning_rate * error @ x[~held_out] / len(error)
            all_losses = np.logaddexp(0, np.where(y, -1, 1) * (x @ weights))
            losses.append((all_losses[held_out].mean(), all_losses[~held_out].mean()))
        on_validation, on_training = np.transpose(losses)
        validation.append(on_validation)
        training.append(on_training)
    return FoldCurves(np.array(validation), Objective()), np.mean(training, axis=0)


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ({"n_rows": 1000, "n_features": 3, "learning_rate": 0.02, "n_epochs": 30}, Fit.UNDERFIT),
        ({"n_rows": 1000, "n_features": 3, "learning_rate": 1.0, "n_epochs": 60}, Fit.GOOD),
        ({"n_rows": 100, "n_features": 40, "learning_rate": 1.0, "n_epochs": 60}, Fit.OVERFITTING),
        ({"n_rows": 1000, "n_features": 3, "learning_rate": 80.0, "n_epochs": 30}, Fit.UNSTABLE),
    ],
    ids=lambda value: value.label if isinstance(value, Fit) else "",
)
def test_a_real_training_is_named(case, kind):
    assert diagnose(*trained(**case)).kind is kind
