"""Each validation row's loss: what `val_loss` is the mean of, in the order of the rows."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.data import Dataset
from pipeline.folds import Fold
from tests.training.models import (
    N_CLASSES,
    advanced,
    case,
    classes,
    compiled,
    dense,
    hidden,
    numbers,
    row_losses,
    softmax,
)


def with_loss(loss, units, activation=None):
    def build(params):
        return compiled(
            hidden(), keras.layers.Dense(units, activation=activation), params=params,
            loss=loss() if isinstance(loss, type) else loss, metrics=[],
        )  # fmt: skip

    return build


def binary(*, column):
    y = (classes().y == 1).astype(int)
    return Dataset(classes().x, y[:, None] if column else y)


def one_hot():
    return Dataset(classes().x, np.eye(N_CLASSES)[classes().y])


LOSSES = {
    "sparse_categorical_crossentropy": (N_CLASSES, "softmax", classes),
    "categorical_crossentropy": (N_CLASSES, "softmax", one_hot),
    keras.losses.CategoricalFocalCrossentropy: (N_CLASSES, "softmax", one_hot),
    "binary_crossentropy": (1, "sigmoid", lambda: binary(column=False)),
    keras.losses.BinaryCrossentropy: (1, "sigmoid", lambda: binary(column=True)),
    "mse": (1, None, numbers),
    keras.losses.MeanSquaredError: (1, None, lambda: numbers(column=True)),
    "huber": (1, None, numbers),
    keras.losses.Huber: (1, None, lambda: numbers(column=True)),
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: getattr(loss, "__name__", loss))
def test_they_are_each_rows_loss_and_val_loss_is_their_mean(loss):
    units, activation, data = LOSSES[loss]
    case_ = case(with_loss(loss, units, activation), data())
    training = case_.trained(1)
    for fold in case_.folds:
        losses = row_losses(training, fold.index)
        assert losses.shape == fold.validation.shape
        assert losses.mean() == pytest.approx(training.history("val_loss")[fold.index, -1], 1e-5)
    model = training.program.model(fold.index, training.states[fold.index], case_.params)
    for row in (0, -1):
        rows = fold.validation[[row]]
        alone = model.evaluate(case_.data.x[rows], case_.data.y[rows], verbose=0)
        assert losses[row] == pytest.approx(alone, 1e-5)


@pytest.mark.parametrize("column", [False, True], ids=["[n]", "[n, 1]"])
def test_an_output_of_one_number_a_row_has_them_too(column):
    def build(params):
        return compiled(
            hidden(), keras.layers.Dense(1), keras.layers.Reshape(()),
            params=params, loss="mse", metrics=[],
        )  # fmt: skip

    case_ = case(build, numbers(column=column))
    training = case_.trained(1)
    for fold in case_.folds:
        predicted = training.program.predict(0, training.states[fold.index], fold.validation)
        errors = predicted - case_.data.y[fold.validation].reshape(-1)
        losses = row_losses(training, fold.index)
        np.testing.assert_allclose(losses, errors**2, rtol=1e-4)
        assert losses.mean() == pytest.approx(training.history("val_loss")[fold.index, -1], 1e-5)


@pytest.mark.parametrize("batch_size", [8, 64])
def test_padding_of_smaller_folds_is_taken_out(batch_size):
    rows = np.random.default_rng(0).permutation(44)
    folds = tuple(Fold(i, rows[n:], rows[:n]) for i, n in enumerate((33, 5, 16)))
    training = case(dense, folds=folds, batch_size=batch_size).trained(1)
    for fold in folds:
        losses = row_losses(training, fold.index)
        assert losses.shape == fold.validation.shape
        assert losses.mean() == pytest.approx(training.history("val_loss")[fold.index, -1], 1e-5)


def test_they_are_without_sample_weights_and_regularisation(mode):
    def build(params):
        l2 = keras.regularizers.L2(0.1)
        return compiled(hidden(kernel_regularizer=l2), softmax(), params=params)

    data = classes(sample_weight=np.linspace(0.0, 3.0, 44))
    case_ = case(build, data)
    training = case_.trained(1, mode=mode)
    for fold in case_.folds:
        predicted = training.program.predict(0, training.states[fold.index], fold.validation)
        likelihood = predicted[np.arange(len(predicted)), data.y[fold.validation]]
        np.testing.assert_allclose(row_losses(training, fold.index), -np.log(likelihood), rtol=1e-4)


def test_they_are_known_under_averaged_weights(mode):
    def build(params):
        optimizer = keras.optimizers.Adam(params["learning_rate"], use_ema=True)
        return compiled(hidden(), softmax(), params=params, optimizer=optimizer)

    training = case(build).trained(2, mode=mode)
    losses = row_losses(training, 1)
    assert losses.mean() == pytest.approx(training.history("val_loss")[1, -1], 1e-5)


def own_function(y, y_pred):
    return tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - y_pred))


class OwnComputeLoss(keras.Model):
    """Computes its loss itself."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - y_pred))


POOL = keras.layers.GlobalAveragePooling1D


def masking(params):
    return compiled(
        keras.layers.Reshape((3, 2)), keras.layers.Masking(), POOL(), keras.layers.Dense(1),
        params=params, loss="mse", metrics=[],
    )  # fmt: skip


def masking_inside(params):
    inside = keras.Sequential([keras.layers.Masking(), POOL()])
    return compiled(
        keras.layers.Reshape((3, 2)), inside, keras.layers.Dense(1),
        params=params, loss="mse", metrics=[],
    )  # fmt: skip


def own_compute_loss(params):
    return compiled(hidden(), keras.layers.Dense(1), params=params, kind=OwnComputeLoss, metrics=[])


MISSING = {
    "the loss is not one of Keras's own": with_loss(own_function, 1),
    "the model has its own compute_loss": own_compute_loss,
    "the model masks time steps": masking,
    "the model masks time steps ": masking_inside,
}


@pytest.mark.parametrize("reason", MISSING)
def test_where_they_cannot_be_known_the_user_is_told_why(reason, mode):
    said: list[str] = []
    case_ = case(MISSING[reason], numbers(column=True))
    training = advanced(case_.training(case_.engine(mode, say=said.append)), 1)
    assert training.last[0].row_losses is None
    assert said == [f"no row-level losses: {reason.strip()}"]
