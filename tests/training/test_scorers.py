"""scikit-learn's scorers, on each epoch's predictions for the validation rows."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import Fold
from pipeline.training import check_scorers
from tests.training.models import advanced, case, classes, compiled, dense, hidden, softmax

ALL_CLASSES = {"auc": "roc_auc_ovr", "balanced": "balanced_accuracy", "likelihood": "neg_log_loss"}


def by_hand(case_, training, fold):
    """Return what the scorers must give, from a second pass over the rows."""
    data, rows = case_.data, fold.validation
    predicted = training.program.predict(fold.index, training.states[fold.index], rows)
    y, weight = data.y[rows], None
    if data.sample_weight is not None:
        weight = data.sample_weight[rows]
    return [
        roc_auc_score(y, predicted, multi_class="ovr", sample_weight=weight),
        balanced_accuracy_score(y, predicted.argmax(axis=1), sample_weight=weight),
        -log_loss(y, predicted, sample_weight=weight),
    ]


def scores(training, fold):
    return training.last[fold].metrics()[-len(ALL_CLASSES) :]


@pytest.mark.parametrize("mode", ["plain", "xla", "stream"])
def test_they_are_those_of_the_epochs_own_predictions(mode):
    case_ = case(dense, scorers=ALL_CLASSES)
    training = case_.trained(2, mode=mode)
    assert training.program.metric_names[-3:] == ("val_auc", "val_balanced", "val_likelihood")
    for fold in case_.folds:
        np.testing.assert_allclose(
            scores(training, fold.index), by_hand(case_, training, fold), rtol=1e-5
        )


def test_rows_are_weighed(mode):
    case_ = case(dense, classes(sample_weight=np.linspace(0.1, 3.0, 44)), scorers=ALL_CLASSES)
    training = case_.trained(1, mode=mode)
    fold = case_.folds[1]
    np.testing.assert_allclose(scores(training, 1), by_hand(case_, training, fold), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [8, 64])
def test_padding_of_smaller_folds_is_taken_out(batch_size):
    rows = np.random.default_rng(0).permutation(44)
    folds = tuple(Fold(i, rows[n:], rows[:n]) for i, n in enumerate((33, 12, 16)))
    case_ = case(dense, folds=folds, batch_size=batch_size, scorers=ALL_CLASSES)
    training = case_.trained(1)
    for fold in folds:
        np.testing.assert_allclose(
            scores(training, fold.index), by_hand(case_, training, fold), rtol=1e-5
        )


class OwnTestStep(keras.Model):
    """Hides its predictions."""

    def test_step(self, data):
        x, y = data
        self.compute_metrics(x, y, self(x, training=False))
        return self.get_metrics_result()


def own_test_step(params):
    return compiled(hidden(), softmax(), params=params, kind=OwnTestStep)


def averaged(params):
    optimizer = keras.optimizers.Adam(params["learning_rate"], use_ema=True)
    return compiled(hidden(), softmax(), params=params, optimizer=optimizer)


def test_a_test_step_that_hides_predictions_costs_a_second_pass_and_that_is_said(mode):
    said: list[str] = []
    case_ = case(own_test_step, scorers=ALL_CLASSES)
    training = advanced(case_.training(case_.engine(mode, say=said.append)), 1)
    expected = by_hand(case_, training, case_.folds[0])
    np.testing.assert_allclose(scores(training, 0), expected, rtol=1e-5)
    why = "scorers take a second pass over the validation rows: the model has its own test_step"
    assert why in said


def test_averaged_weights_are_scored(mode):
    case_ = case(averaged, scorers=ALL_CLASSES)
    training = case_.trained(2, mode=mode)
    expected = by_hand(case_, training, case_.folds[0])
    np.testing.assert_allclose(scores(training, 0), expected, rtol=1e-5)


def test_nothing_else_changes(mode):
    plain, scored = case(dense).trained(2, mode=mode), case(dense, scorers=ALL_CLASSES)
    again = scored.trained(2, mode=mode)
    for name in plain.program.metric_names:
        np.testing.assert_array_equal(plain.history(name), again.history(name))


def test_going_on_from_a_snapshot_gives_the_same_scores():
    case_ = case(dense, scorers=ALL_CLASSES)
    whole, engine = case_.trained(3), case_.engine()
    begun = advanced(case_.training(engine), 1)
    going_on = case_.training(engine)
    going_on.restore(begun.snapshot())
    advanced(going_on, 2)
    np.testing.assert_array_equal(whole.history("val_auc"), going_on.history("val_auc"))


# --- what each kind of output is taken for ---


def model(units, activation=None, *, loss):
    def build(params):
        return compiled(
            hidden(), keras.layers.Dense(units, activation), params=params, loss=loss, metrics=[]
        )

    return build


def answers(kind):
    x, y = classes().x, classes().y
    labels = {
        "binary": (y == 2).astype(int),
        "signs": np.where(y == 2, 1, -1),
        "one-hot": np.eye(3)[y],
        "labels": np.stack([y > 0, y > 1], axis=1).astype(float),
        "number": x.sum(axis=1),
        "numbers": x[:, :2],
    }
    return Dataset(x, labels.get(kind, y))


BINARY = ["roc_auc", "f1", "average_precision", "balanced_accuracy"]
LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)
OUTPUTS = {
    "sigmoid": ("binary", model(1, "sigmoid", loss="binary_crossentropy"), BINARY),
    "logit": ("binary", model(1, loss=LOGITS), [*BINARY, "neg_log_loss"]),
    "two columns": ("binary", model(2, "softmax", loss="sparse_categorical_crossentropy"), BINARY),
    "hinge": ("signs", model(1, loss="hinge"), ["roc_auc", "accuracy"]),
    "squares of a sigmoid": ("binary", model(1, "sigmoid", loss="mse"), BINARY),
    "one-hot": ("one-hot", model(3, "softmax", loss="categorical_crossentropy"), ["f1_macro"]),
    "labels": ("labels", model(2, "sigmoid", loss="binary_crossentropy"), ["f1_macro", "roc_auc"]),
    "a number": ("number", model(1, loss="mse"), ["r2", "neg_mean_absolute_error"]),
    "numbers": ("numbers", model(2, loss=keras.losses.Huber()), ["r2"]),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_taken_for_what_the_loss_takes_them_for(name):
    kind, build, scorers = OUTPUTS[name]
    case_ = case(build, answers(kind), scorers=scorers, learning_rate=0.1, max_epochs=8)
    check_scorers(case_.spec, case_.data, case_.folds)
    training = case_.trained(8)
    values = training.last[0].metrics()[-len(scorers) :]
    assert np.isfinite(values).all()
    # Chance is 0.5; reading them upside down is below it.
    areas = [value for name, value in zip(scorers, values, strict=True) if name == "roc_auc"]
    assert all(area > 0.6 for area in areas)


def refused(build, data, scorers, **options):
    case_ = case(build, data, scorers=scorers, **options)
    with pytest.raises(BadInput) as caught:
        check_scorers(case_.spec, case_.data, case_.folds, options.get("test"))
    return str(caught.value)


def test_a_fold_of_one_class_is_refused_before_training():
    one_class = (
        Fold(0, np.arange(22), np.arange(22, 44)),
        Fold(1, np.arange(40), np.arange(40, 41)),
    )
    kind, build, _ = OUTPUTS["sigmoid"]
    message = refused(build, answers(kind), ["roc_auc"], folds=one_class)
    assert message.startswith(
        "scorer 'roc_auc' must have a value on the validation rows of fold 1, which are of class 0"
    )


def test_a_scorer_that_the_outputs_cannot_answer_is_refused_saying_what_they_are():
    kind, build, _ = OUTPUTS["a number"]
    message = refused(build, answers(kind), ["roc_auc"])
    assert "outputs are taken for numbers, as the loss is mean_squared_error" in message


def test_test_rows_must_have_a_value_too():
    kind, build, _ = OUTPUTS["sigmoid"]
    case_ = case(build, answers(kind), scorers=["roc_auc"])
    with pytest.raises(BadInput, match="must have a value on the test rows"):
        check_scorers(case_.spec, case_.data, case_.folds, case_.data.take(np.arange(1)))
