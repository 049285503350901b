import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.objective import Objective

LOSS = Objective()
ACCURACY = Objective("val_accuracy", "maximize")


def test_default_is_the_validation_loss_minimised():
    assert (LOSS.metric, LOSS.direction) == ("val_loss", "minimize")


def test_direction_may_be_left_out_for_any_loss():
    assert Objective("val_head_loss").direction == "minimize"


@pytest.mark.parametrize(
    ("metric", "direction", "says"),
    [
        ("loss", None, "must be a validation metric.*got 'loss'; did you mean 'val_loss'"),
        ("val_auc", "max", "must be 'minimize' or 'maximize', got 'max'"),
        (None, None, "objective.metric must be a name such as 'val_loss', got None"),
    ],
)
def test_bad_objective_says_what_is_allowed(metric, direction, says):
    with pytest.raises(BadInput, match=says):
        Objective(metric, direction)


def test_the_direction_of_anything_else_must_be_stated_unless_a_scorer_or_keras_has_it():
    auc = Objective("val_auc")
    assert auc.directed(["auc"]).direction == "maximize"
    assert Objective("val_neg_log_loss").directed(["neg_log_loss"]).direction == "maximize"
    assert Objective("val_loss").directed(["auc"]) == LOSS
    for name in ("val_my_auc", "val_size_mae", "val_true_positives"):
        with pytest.raises(BadInput, match=f"direction must be stated for '{name}'"):
            Objective(name).directed(["auc"])
    with pytest.raises(BadInput, match="must be 'maximize' for 'val_auc', got 'minimize'"):
        Objective("val_auc", "minimize").directed(["auc"])


def test_the_direction_of_keras_own_metrics_is_known():
    assert Objective("val_MAE").directed([]).direction == "minimize"
    assert Objective("val_accuracy").directed([]) == ACCURACY
    assert Objective("val_mse", "maximize").directed([]).direction == "maximize"  # as is said


def test_the_mean_is_over_folds_or_rows():
    assert Objective().weights([10, 30]) is None
    assert Objective(mean="rows").weights([10, 30]).tolist() == [10.0, 30.0]
    with pytest.raises(BadInput, match=r"objective\.mean must be 'folds' or 'rows', got 'row'"):
        Objective(mean="row")  # type: ignore[arg-type]


def test_a_study_of_before_there_was_another_mean_keeps_its_signature():
    assert repr(Objective()) == "Objective(metric='val_loss', direction='minimize')"
    assert repr(Objective(mean="rows")) != repr(Objective())


@pytest.mark.parametrize("objective", [LOSS, ACCURACY])
def test_as_loss_is_its_own_inverse(objective):
    values = np.array([0.25, 1.0, -2.0])
    np.testing.assert_array_equal(objective.as_loss(objective.as_loss(values)), values)


def test_as_loss_makes_smaller_better():
    values = np.array([0.7, 0.9, 0.8])
    assert np.argmin(LOSS.as_loss(values)) == 0
    assert np.argmin(ACCURACY.as_loss(values)) == 1


@pytest.mark.parametrize(
    ("objective", "good", "bad"), [(LOSS, 0.25, 0.5), (ACCURACY, 0.5, 0.25)], ids=["min", "max"]
)
def test_better_follows_the_direction_and_needs_more_than_the_margin(objective, good, bad):
    assert objective.better(good, bad)
    assert not objective.better(bad, good)
    assert not objective.better(good, good)
    assert objective.better(good, bad, margin=0.2)
    assert not objective.better(good, bad, margin=0.25)


@pytest.mark.parametrize("objective", [LOSS, ACCURACY], ids=["min", "max"])
def test_nan_beats_nothing(objective):
    for value in (-1e300, 0.0, 1e300):
        assert not objective.better(float("nan"), value)


def test_a_metric_has_a_twin_on_training_rows():
    assert Objective().training_metric == "loss"
    assert Objective("val_val_auc", "maximize").training_metric == "val_auc"
