"""What no compiled epoch can hold is trained as `fit` trains it, and said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.training import check_model, measured_engine
from tests.training.fit import assert_equals_fit
from tests.training.models import (
    N_CLASSES,
    advanced,
    all_curves,
    case,
    classes,
    compiled,
    dense,
    dropout,
    hidden,
    softmax,
    with_every_state,
)


def eagerly(build):
    """Return the same model, compiled to run eagerly."""

    def build_eager(params):
        model = build(params)
        model.run_eagerly = True
        return model

    return build_eager


class Noise(keras.layers.Layer):
    """Adds what a function draws."""

    def __init__(self, draw) -> None:
        super().__init__()
        self.draw = draw

    def call(self, x):
        return x + self.draw(x)


def with_noise(draw):
    return lambda params: compiled(hidden(), Noise(draw), softmax(), params=params)


def in_python(function, call=tf.py_function):
    """Return a Python function of arrays as one of tensors."""
    return lambda x: tf.ensure_shape(call(function, [x], tf.float32), x.shape)


def drawn_by_numpy(x):
    return np.random.normal(size=x.shape).astype(np.float32)


def with_hidden_generator(params):
    generator = keras.random.SeedGenerator()
    return with_noise(lambda x: keras.random.normal(keras.ops.shape(x), seed=generator))(params)


class LogsItsLastBatch(keras.Model):
    """Reports a value that no metric averages over the epoch."""

    def train_step(self, data):
        super().train_step(data)
        return {"loss": self._loss_tracker.result(), **self.test_step(data)}

    def test_step(self, data):
        x, _ = data
        error = tf.reduce_mean(tf.abs(self(x) - 0.25))
        return {"loss": error, "error": error}


def logs_its_last_batch(params):
    return compiled(hidden(), softmax(), params=params, kind=LogsItsLastBatch, metrics=[])


class LooksAtValues(keras.Model):
    """Decides in Python, from a tensor's value: shapes alone are not enough to build it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.large, self.small = hidden(), softmax(), softmax()

    def call(self, x):
        x = self.first(x)
        logits = self.large(x) + self.small(x)
        return logits if float(tf.reduce_mean(x)) > 0 else logits / N_CLASSES


def looks_at_values(params):
    model = LooksAtValues()
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]), "mse", metrics=["mae"], run_eagerly=True
    )
    return model


@dataclass(frozen=True)
class Reason:
    """A model, what the user is told of it, and what does not equal `fit`: its own draws."""

    build: Any
    why: str
    equals_fit: bool = True
    mind: str = ""


REASONS = {
    "run_eagerly": Reason(
        eagerly(with_every_state), "compiled with run_eagerly=True", mind="outside its variables"
    ),
    "unseeded draws": Reason(
        with_noise(lambda x: keras.random.normal(keras.ops.shape(x))),
        "draws from keras.random without a seed",
    ),
    "a seed generator that no layer owns": Reason(with_hidden_generator, "not an attribute"),
    "a Python function": Reason(
        with_noise(in_python(lambda x: x * 0.5)), "tf.py_function", mind="tf.py_function"
    ),
    "a Python function that draws": Reason(
        with_noise(in_python(drawn_by_numpy, tf.numpy_function)), "tf.numpy_function",
        equals_fit=False, mind="tf.numpy_function",
    ),
    "tf.random": Reason(
        with_noise(lambda x: tf.random.normal(tf.shape(x))), "tf.random.normal",
        equals_fit=False, mind="same numbers in every epoch",
    ),
    "logs that no metric keeps": Reason(
        logs_its_last_batch, r"returns \['error'\], which no metric keeps"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_it_is_refused_by_the_compiled_epoch_and_streamed_by_default(name):
    reason = REASONS[name]
    case_ = case(reason.build)
    with pytest.raises(BadInput, match=rf"compiled epoch: .*{reason.why}.*engine='stream'"):
        case_.engine("plain").program(case_.params)
    said: list[str] = []
    measured = measured_engine(case_.spec, case_.data, case_.folds, say=said.append)
    assert measured.engine.setup.mode == "stream"
    assert "no compiled epoch can hold the model: it" in measured.reason
    notes = [line for line in said if not line.startswith("no row-level losses")]
    assert len(notes) == bool(reason.mind)
    assert reason.mind in "".join(notes)


@pytest.mark.parametrize("name", [name for name in REASONS if REASONS[name].equals_fit])
def test_it_equals_fit(name):
    assert_equals_fit(case(REASONS[name].build), mode="stream", every_fold=True)


@pytest.mark.parametrize("name", REASONS)
def test_it_goes_on_from_a_snapshot_to_the_same_bits_whatever_was_trained_before(name):
    case_ = case(REASONS[name].build)
    engine = case_.engine("stream")
    stopped = advanced(case_.training(engine), 1)
    snapshot = stopped.snapshot()
    through = advanced(stopped, 2)
    advanced(case_.training(engine, learning_rate=0.5), 1)
    going_on = case_.training(case_.engine("stream"))
    going_on.restore(snapshot)
    np.testing.assert_array_equal(all_curves(advanced(going_on, 2)), all_curves(through))


def test_epochs_draw_other_numbers_in_python():
    seen = []

    def draw(x):
        seen.append(drawn_by_numpy(x))
        return seen[-1]

    case_ = case(with_noise(in_python(draw, tf.numpy_function)), folds=case(dense).folds[:1])
    advanced(case_.training(case_.engine("stream")), 2)
    first, second = (draws for draws in seen[-2 * 6 :: 6])  # 3 batches to train on, 3 to validate
    assert not np.array_equal(first, second)


def test_a_model_that_needs_values_to_be_built_equals_fit():
    data = classes()
    one_hot = Dataset(data.x, np.eye(N_CLASSES)[data.y])
    case_ = case(looks_at_values, one_hot)
    check_model(case_.spec, case_.data, case_.folds[0])
    assert_equals_fit(case_, mode="stream")


def test_a_step_that_cannot_be_traced_says_so_and_what_it_raised():
    class Broken(keras.Model):
        def train_step(self, data):
            raise RuntimeError("out of paper")

    case_ = case(lambda params: compiled(softmax(), params=params, kind=Broken))
    with pytest.raises(BadInput, match=r"first step raised RuntimeError: .*out of paper"):
        measured_engine(case_.spec, case_.data, case_.folds)


def test_logs_that_the_search_cannot_use_are_refused():
    class LogsNothing(keras.Model):
        def train_step(self, data):
            super().train_step(data)
            return {"error": tf.constant(0.0)}

    case_ = case(lambda params: compiled(softmax(), params=params, kind=LogsNothing))
    with pytest.raises(BadInput, match=r"unknown metric in the model's logs 'loss'.*error"):
        case_.engine("stream").program(case_.params)


def test_a_variable_of_nobody_is_named():
    """A counter at module level goes on from fold to fold, and is lost with the process."""
    counter = tf.Variable(0.0)

    def draw(x):
        counter.assign_add(1.0)
        return x * 0.01 * counter

    said: list[str] = []
    case_ = case(with_noise(draw))
    case_.engine("stream", say=said.append).program(case_.params)
    assert len(said) == 1
    assert "AssignAddVariableOp: what the model keeps outside its variables is shared" in said[0]


@pytest.mark.parametrize("jit_compile", [True, False])
def test_the_models_own_jit_compile_is_honoured(jit_compile):
    """XLA draws other dropout masks, and the compiled epoch decides for itself."""

    def build(params):
        model = dropout(params)
        model.compile(model.optimizer, model.loss, jit_compile=jit_compile)
        return model

    case_ = case(build)
    training = case_.trained(2, mode="stream")
    plain = case_.trained(2, mode="xla" if jit_compile else "plain")
    np.testing.assert_allclose(training.history("loss"), plain.history("loss"), rtol=1e-5)


def test_several_steps_an_execution_are_one_learning_rate_each():
    def build(params):
        model = dense(params)
        model.compile(model.optimizer, model.loss, metrics=["accuracy"], steps_per_execution=2)
        return model

    ours, plain = (case(b).trained(2, mode="stream") for b in (build, dense))
    np.testing.assert_array_equal(all_curves(ours), all_curves(plain))
