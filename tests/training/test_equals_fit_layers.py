"""Each engine is `fit` for layers, losses and metrics that keep or draw something of their own."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pipeline.data import Dataset
from tests.training.fit import assert_equals_fit, fit, some_long
from tests.training.models import (
    N_CLASSES,
    N_COLUMNS,
    case,
    classes,
    compiled,
    dense,
    hidden,
    numbers,
    regression,
    regularised,
    softmax,
    tokens,
)


def seeded_dropout(params):
    return compiled(hidden(), keras.layers.Dropout(0.3, seed=7), softmax(), params=params)


def embedded(params):
    return compiled(
        keras.layers.Embedding(16, 4), keras.layers.Flatten(), softmax(),
        params=params, shape=(4,), dtype="int32",
    )  # fmt: skip


def frozen(params):
    layer = keras.layers.BatchNormalization()
    layer.trainable = False
    return compiled(hidden(trainable=False), layer, hidden(), softmax(), params=params)


def with_auc(params):
    return compiled(
        hidden(), keras.layers.Dense(1, activation="sigmoid"), params=params,
        loss="binary_crossentropy", metrics=[keras.metrics.AUC(name="auc"), "accuracy"],
    )  # fmt: skip


def noisy(params):
    return compiled(
        keras.layers.GaussianNoise(0.1), hidden(), keras.layers.AlphaDropout(0.2), softmax(),
        params=params,
    )  # fmt: skip


def recurrent(params):
    return compiled(
        keras.layers.Reshape((N_COLUMNS, 1)), keras.layers.GRU(4, dropout=0.2), softmax(),
        params=params,
    )  # fmt: skip


def stateful(params):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input(batch_shape=(params["batch_size"], N_COLUMNS)),
        layers.Reshape((N_COLUMNS, 1)), layers.GRU(4, stateful=True), softmax(),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(params["learning_rate"]), own_loss, metrics=[within])
    return model


def own_loss(y, y_pred):
    return keras.ops.mean(keras.ops.square(keras.ops.cast(y, "float32") - y_pred[:, 0]))


def within(y, y_pred):
    return keras.ops.abs(keras.ops.cast(y, "float32") - y_pred[:, 0]) < 0.5


class OwnMetric(keras.metrics.Metric):
    """Keeps the largest output."""

    def __init__(self):
        super().__init__(name="largest")
        self.largest = self.add_weight(name="largest", initializer="zeros")

    def update_state(self, y, y_pred, sample_weight=None):
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(y_pred)))

    def result(self):
        return self.largest


def own_loss_and_metrics(params):
    return compiled(
        hidden(), softmax(), params=params, loss=own_loss, metrics=[within, OwnMetric()]
    )


def weighted_loss(params):
    model = dense(params)
    model.compile(model.optimizer, model.loss, loss_weights=0.25, metrics=["accuracy"])
    return model


class Penalty(keras.layers.Layer):
    """Adds a loss of its own, of what passes through it."""

    def call(self, x):
        self.add_loss(0.3 * keras.ops.mean(keras.ops.square(x)))
        return x


def penalised(params):
    return compiled(
        hidden(activity_regularizer="l1", bias_regularizer="l2"), Penalty(), softmax(),
        params=params,
    )  # fmt: skip


class RunningMean(keras.layers.Layer):
    """Subtracts a mean that training moves, and counts the batches of both kinds."""

    def build(self, shape):
        self.mean = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False)
        self.n_calls = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False
        )  # fmt: skip

    def call(self, x, training=False):
        self.n_calls.assign(self.n_calls + 1)
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(x, axis=0))
        return (x - self.mean) / keras.ops.sqrt(keras.ops.cast(self.n_calls, x.dtype))


def with_own_state(params):
    return compiled(hidden(), RunningMean(), softmax(), params=params)


def on_a_frozen_backbone(params):
    """Return a head on layers that are frozen as a whole, statistics included."""
    backbone = keras.Sequential(
        [keras.Input((N_COLUMNS,)), hidden(), keras.layers.BatchNormalization(), hidden()]
    )
    backbone.layers[1].moving_mean.assign([0.5] * 8)
    backbone.trainable = False
    return compiled(backbone, keras.layers.BatchNormalization(), softmax(), params=params)


def binary():
    data = classes()
    return Dataset(data.x, (data.y == 1).astype(int))


MODELS_WITH_MORE = {
    "L2": (regularised, classes, 0.0),
    "a loss with a weight": (weighted_loss, classes, 0.0),
    "losses of layers": (penalised, classes, 0.0),
    "a layer's own state": (with_own_state, classes, 0.0),
    "a frozen backbone": (on_a_frozen_backbone, classes, 1e-5),
    "own loss and metrics": (own_loss_and_metrics, classes, 0.0),
    "seeded dropout": (seeded_dropout, classes, 0.0),
    "noise": (noisy, classes, 0.0),
    "recurrent": (recurrent, classes, 0.0),
    "embedding of integers": (embedded, tokens, 0.0),
    "frozen layers": (frozen, classes, 1e-5),
    "AUC": (with_auc, binary, 0.0),
    "regression": (regression, numbers, 0.0),
    "regression on one column": (regression, lambda: numbers(column=True), 0.0),
}


QUICK_MODELS = [
    "L2", "a loss with a weight", "losses of layers", "a layer's own state", "a frozen backbone",
    "own loss and metrics", "seeded dropout", "embedding of integers", "frozen layers", "AUC",
    "regression",
]  # fmt: skip


@pytest.mark.parametrize("name", some_long(MODELS_WITH_MORE, QUICK_MODELS))
def test_equals_fit_for(name, mode):
    build, data, atol = MODELS_WITH_MORE[name]
    assert_equals_fit(case(build, data()), atol=atol, mode=mode)


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS_WITH_MORE)
def test_equals_fit_under_xla_for(name):
    build, data, atol = MODELS_WITH_MORE[name]
    assert_equals_fit(case(build, data()), mode="xla", atol=max(atol, 1e-6))


def test_what_is_frozen_stays_as_it_was_built(mode):
    training = case(on_a_frozen_backbone).trained(2, mode=mode)
    before, after = (
        training.program.model(0, state, training.params).layers[0].get_weights()
        for state in (training.program.initial_state(0), training.states[0])
    )
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any((each == 0.5).all() for each in after)


def test_a_stateful_layer_carries_its_state_on_as_in_fit(mode):
    assert_equals_fit(case(stateful, batch_size=11), mode=mode)


def mixed_precision(params):
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        return compiled(
            hidden(), keras.layers.Dense(N_CLASSES),
            keras.layers.Activation("softmax", dtype="float32"), params=params,
        )  # fmt: skip
    finally:
        keras.mixed_precision.set_dtype_policy(policy)


def test_mixed_precision_equals_fit(mode):
    training = assert_equals_fit(case(mixed_precision), mode=mode)
    assert training.last[0].row_losses is not None


def test_preprocessing_is_fitted_on_the_folds_training_rows():
    from sklearn.preprocessing import StandardScaler

    case_ = case(dense, preprocess=StandardScaler())
    training = case_.trained(1)
    for fold in case_.folds:
        x = StandardScaler().fit(case_.data.x[fold.train]).transform(case_.data.x)
        fitted = fit(case_, fold, 1, x=x)
        assert training.history("val_loss")[fold.index] == fitted.curves["val_loss"]
