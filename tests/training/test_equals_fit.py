"""Each engine is `fit`: the same curves and weights, bit for bit, from the same rows."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.folds import Fold, training_weights
from tests.training.fit import assert_equals_fit, fit, some_long
from tests.training.models import (
    N_CLASSES,
    batch_normalised,
    case,
    classes,
    compiled,
    convolutional,
    dense,
    dropout,
    hidden,
    images,
    numbers,
    row_losses,
    softmax,
)

MODELS = {
    "dense": (dense, classes, 0.0),
    "convolutional": (convolutional, images, 0.0),
    # The moving variance is computed by another kernel inside a loop; it is the same to 1e-5.
    "batch_normalised": (batch_normalised, classes, 1e-5),
    "dropout": (dropout, classes, 0.0),
}
# 44 rows in two folds: 22 train, 22 validate.
BATCHES = {"smaller last batch": 8, "no last batch": 11, "batch larger than rows": 32}


@pytest.mark.parametrize("batches", some_long(BATCHES, ["smaller last batch", "no last batch"]))
@pytest.mark.parametrize("name", MODELS)
def test_curves_and_weights_equal_fit(name, batches, mode):
    build, data, atol = MODELS[name]
    case_ = case(build, data(), batch_size=BATCHES[batches])
    assert_equals_fit(case_, every_fold=batches == "smaller last batch", atol=atol, mode=mode)


@pytest.mark.parametrize("batches", some_long(BATCHES, ["smaller last batch"]))
def test_equals_fit_under_xla(batches):
    # With one batch an epoch XLA folds the accuracy's division into the epoch: the last bit moves.
    atol = 1e-7 if batches == "batch larger than rows" else 0.0
    assert_equals_fit(case(dense, batch_size=BATCHES[batches]), mode="xla", atol=atol)


def test_batches_larger_than_all_rows_equal_fit(mode):
    assert_equals_fit(case(dense, batch_size=64), mode=mode)


def test_folds_of_different_sizes_equal_fit(mode):
    rows = np.arange(44)
    folds = (Fold(0, rows[:16], rows[16:]), Fold(1, rows[11:], rows[:11]))
    assert_equals_fit(case(dense, folds=folds), every_fold=True, mode=mode)


# 22 rows validate.
VALIDATION_BATCHES = {"two batches": 15, "no last batch": 11, "larger than rows": 32}


@pytest.mark.parametrize("batches", some_long(VALIDATION_BATCHES, ["two batches"]))
@pytest.mark.parametrize("name", some_long(MODELS, ["convolutional"]))
def test_validation_batches_of_their_own_size_equal_fit(name, batches, mode):
    build, data, atol = MODELS[name]
    case_ = case(build, data(), validation_batch_size=VALIDATION_BATCHES[batches])
    training = assert_equals_fit(case_, every_fold=True, atol=atol, mode=mode)
    assert row_losses(training, 1).shape == (22,)


def test_a_validation_batch_of_another_size_is_what_the_models_test_step_is_given(mode):
    # Its loss is a mean of batches' means: of batches of another size it is another number.
    sizes = {size: case(own_test_step, validation_batch_size=size) for size in (None, 15, 22)}
    curves = [assert_equals_fit(c, mode=mode).history("val_loss") for c in sizes.values()]
    assert not np.array_equal(curves[0], curves[1])
    assert not np.array_equal(curves[1], curves[2])


# --- weights of rows ---


def weighted_model(params):
    model = dense(params)
    model.compile(
        optimizer=model.optimizer, loss=model.loss, metrics=["accuracy"],
        weighted_metrics=[keras.metrics.SparseCategoricalCrossentropy(name="weighted")],
    )  # fmt: skip
    return model


def some_weights(n_rows=44):
    return np.random.default_rng(1).uniform(0, 3, n_rows).astype(np.float32)


def test_sample_weights_equal_fit(mode):
    assert_equals_fit(case(weighted_model, classes(sample_weight=some_weights())), mode=mode)


def test_class_weights_equal_fit_and_leave_validation_unweighted(mode):
    assert_equals_fit(case(weighted_model, class_weight={0: 1.0, 1: 5.0, 2: 0.2}), mode=mode)


def test_class_weights_multiply_sample_weights(mode):
    weights, by_class = some_weights(), {0: 1.0, 1: 5.0, 2: 0.2}
    data = classes(sample_weight=weights)
    product = weights * np.array([by_class[label] for label in data.y], np.float32)
    assert_equals_fit(case(dense, data, class_weight=by_class), train_weight=product, mode=mode)


def test_balanced_class_weights_are_the_training_rows_own():
    rows = np.arange(44)
    folds = (Fold(0, rows[rows % 3 > 0], rows[rows % 3 == 0]), Fold(1, rows[5:], rows[:5]))
    data = classes()
    counts = np.bincount(data.y[folds[0].train], minlength=N_CLASSES)
    weights = training_weights(data, folds[0], "balanced")
    assert weights is not None
    np.testing.assert_allclose(weights[folds[0].train].sum(), len(folds[0].train), rtol=1e-6)
    assert counts[0] == 0  # a class that has no training rows in this fold does not crash
    case_ = case(dense, data, folds=folds, class_weight="balanced")
    training = case_.trained(1)
    for fold in folds:
        fitted = fit(case_, fold, 1, train_weight=training_weights(data, fold, "balanced"))
        assert training.history("loss")[fold.index] == fitted.curves["loss"]
        assert training.history("val_loss")[fold.index] == fitted.curves["val_loss"]


# --- optimizers ---


def with_optimizer(make):
    return lambda params: compiled(
        hidden(), softmax(), params=params, optimizer=make(params["learning_rate"])
    )


def excluding_biases(rate):
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


OPTIMIZERS = {
    "Adam": lambda rate: keras.optimizers.Adam(rate),
    "AdamW": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1),
    "momentum, clipnorm": lambda rate: keras.optimizers.SGD(
        rate, momentum=0.9, nesterov=True, clipnorm=0.1
    ),
    "clipvalue": lambda rate: keras.optimizers.RMSprop(rate, clipvalue=0.01),
    "global clipnorm": lambda rate: keras.optimizers.Adam(rate, global_clipnorm=0.05),
    "weight decay but of biases": excluding_biases,
    # 3 updates an epoch and accumulation over 2: the accumulator is half full between epochs.
    "gradient accumulation": lambda rate: keras.optimizers.Adam(
        rate, gradient_accumulation_steps=2
    ),
    "moving average": lambda rate: keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.7),
    "moving average, overwriting": lambda rate: keras.optimizers.Adam(
        rate, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=4
    ),
    # The first scale overflows nothing; it doubles every 4 updates.
    "loss scaling": lambda rate: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(rate), initial_scale=4.0, dynamic_growth_steps=4
    ),
    "loss scaling, moving average": lambda rate: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.7), initial_scale=4.0
    ),
    "loss scaling that overflows": lambda rate: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(rate), initial_scale=3e38
    ),
    "Muon": lambda rate: keras.optimizers.Muon(rate),
}


QUICK_OPTIMIZERS = [
    "momentum, clipnorm", "global clipnorm", "weight decay but of biases", "gradient accumulation",
    "moving average, overwriting", "loss scaling, moving average",
]  # fmt: skip


@pytest.mark.parametrize("name", some_long(OPTIMIZERS, QUICK_OPTIMIZERS))
def test_optimizers_equal_fit(name, mode):
    assert_equals_fit(case(with_optimizer(OPTIMIZERS[name])), mode=mode)


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_equal_fit_under_xla(name):
    assert_equals_fit(case(with_optimizer(OPTIMIZERS[name])), mode="xla", atol=1e-6)


SCHEDULES = {
    "cosine with warm-up": keras.optimizers.schedules.CosineDecay(
        0.05, decay_steps=9, warmup_steps=2, warmup_target=0.1
    ),
    "pieces": keras.optimizers.schedules.PiecewiseConstantDecay([2, 5], [0.1, 0.01, 0.001]),
    "staircase": keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.7, staircase=True),
}


@pytest.mark.parametrize("name", some_long(SCHEDULES, ["cosine with warm-up"]))
def test_a_schedule_object_of_the_optimizer_equals_fit(name, mode):
    schedule = SCHEDULES[name]
    training = assert_equals_fit(
        case(with_optimizer(lambda rate: keras.optimizers.SGD(schedule))), mode=mode
    )
    assert training.learning_rate_in(training.n_epochs) == pytest.approx(float(schedule(8)))


# --- models with something of their own ---


class OwnTrainStep(keras.Model):
    """Scales its loss and reports a metric of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.norm = keras.metrics.Mean(name="norm")

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = 2.0 * self.compute_loss(x, y, y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._loss_tracker.update_state(loss)
        self.norm.update_state(tf.linalg.global_norm(gradients))
        for metric in self.metrics:
            if metric.name not in ("loss", "norm"):
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


class Subtracts(keras.Model):
    """Computes with y itself: its type must be the one that `fit` hands over."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(y - self(x, training=True)))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._loss_tracker.update_state(loss)
        return self.get_metrics_result()


class OwnTestStep(keras.Model):
    """Validates with its own measure."""

    def test_step(self, data):
        x, _ = data
        self._loss_tracker.update_state(tf.reduce_mean(tf.abs(self(x) - 0.25)))
        return {metric.name: metric.result() for metric in self.metrics}


def own_train_step(params):
    return compiled(hidden(), softmax(), params=params, kind=OwnTrainStep, metrics=[])


def own_test_step(params):
    return compiled(hidden(), softmax(), params=params, kind=OwnTestStep, metrics=[])


def test_a_custom_train_step_equals_fit(mode):
    assert_equals_fit(case(own_train_step), mode=mode)


def test_a_custom_train_step_is_given_labels_of_the_type_that_fit_gives(mode):
    def build(params):
        return compiled(
            hidden(), keras.layers.Dense(1), params=params, kind=Subtracts, loss="mse", metrics=[]
        )

    assert_equals_fit(case(build, numbers(column=True)), mode=mode)


def test_a_custom_test_step_is_honoured_and_hides_row_losses(mode):
    case_ = case(own_test_step)
    said: list[str] = []
    training = assert_equals_fit(case_, mode=mode)
    assert all(epoch.row_losses is None for epoch in training.last.values())
    case_.training(case_.engine(say=said.append))
    assert said == ["no row-level losses: the model has its own test_step"]
