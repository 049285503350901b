"""Which trials share a compiled program, and what folds and trials must not share."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from pipeline.folds import Fold
from pipeline.training import keras_engine
from tests.training.fit import fit
from tests.training.models import (
    advanced,
    all_curves,
    case,
    compiled,
    dense,
    hidden,
    regularised,
    softmax,
    with_every_state,
)


def seeded_dropout_of(params):
    return compiled(
        hidden(), keras.layers.Dropout(params["dropout"], seed=1), softmax(), params=params
    )


@pytest.mark.parametrize(
    ("build", "name"), [(seeded_dropout_of, "dropout"), (regularised, "l2")], ids=["dropout", "L2"]
)
def test_constants_of_the_model_are_not_shared_between_trials(build, name):
    case_ = case(build, params={name: 0.0})
    engine = case_.engine()
    before = advanced(case_.training(engine), 2)
    other = advanced(case_.training(engine, **{name: 0.6}), 2)
    fresh = fit(replace(case_, params={**case_.params, name: 0.6}), case_.folds[0], 2)
    np.testing.assert_array_equal(other.history("loss")[0], fresh.curves["loss"])
    np.testing.assert_array_equal(other.history("val_loss")[0], fresh.curves["val_loss"])
    assert not np.array_equal(before.history("loss"), other.history("loss"))


def test_learning_rate_and_max_epochs_share_a_program():
    case_ = case(dense)
    engine = case_.engine()
    programs = {
        id(engine.program({**case_.params, "learning_rate": rate, "max_epochs": n}))
        for rate in (0.1, 0.01)
        for n in (3, 7)
    }
    assert len(programs) == 1
    slow, fast = (advanced(case_.training(engine, learning_rate=r), 2) for r in (0.001, 0.1))
    assert engine.n_compiled == 1
    assert not np.array_equal(slow.history("loss"), fast.history("loss"))


def test_a_program_is_compiled_per_architecture_and_pair_of_last_batch_sizes():
    """Counted: compiled epochs. Not fold sizes, not trials, not epochs, and none before its use.

    Batches of 8: folds of (20, 24), (28, 16) and (17, 27) rows leave last batches of (4, 0),
    (4, 0) and (1, 3) rows: two pairs of sizes, for each of two architectures.
    """
    rows = np.arange(44)
    folds = tuple(Fold(i, rows[:n], rows[n:]) for i, n in enumerate((20, 28, 17)))
    case_ = case(seeded_dropout_of, folds=folds, params={"dropout": 0.1})
    engine = case_.engine()
    for rate in (0.01, 0.02):
        advanced(case_.training(engine, learning_rate=rate), 2)
    assert engine.n_compiled == 2
    advanced(case_.training(engine, dropout=0.2), 1)
    assert engine.n_compiled == 4


def test_programs_are_bounded_and_one_made_again_gives_the_same_curves(monkeypatch):
    monkeypatch.setattr(keras_engine, "MAX_PROGRAMS", 1)
    case_ = case(seeded_dropout_of, params={"dropout": 0.1})
    engine = case_.engine()
    first_program = engine.program(case_.params)
    first = advanced(case_.training(engine), 2)
    engine.program({**case_.params, "dropout": 0.2})
    again = advanced(case_.training(engine), 2)
    assert again.program is not first_program
    assert engine.n_compiled == 3
    np.testing.assert_array_equal(all_curves(first), all_curves(again))


def n_graphs() -> int:
    gc.collect()
    return sum(issubclass(type(each), FuncGraph) for each in gc.get_objects())


def test_a_program_that_is_dropped_leaves_no_graph_behind(mode, monkeypatch):
    monkeypatch.setattr(keras_engine, "MAX_PROGRAMS", 1)
    case_ = case(seeded_dropout_of, params={"dropout": 0.1})
    engine, counts = case_.engine(mode), []
    for rate in (0.1, 0.2, 0.3):
        advanced(case_.training(engine, dropout=rate), 2)
        counts.append(n_graphs())
    assert counts[1] == counts[2]


# --- folds ---


class OwnsItsOptimizer(keras.Model):
    """Trains with an optimizer that it was not compiled with."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.layer, self.out = hidden(), softmax()
        self.opt = keras.optimizers.Adam(learning_rate)

    def call(self, x):
        return self.out(self.layer(x))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.opt.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._loss_tracker.update_state(loss)
        return self.get_metrics_result()


def owning(params):
    model = OwnsItsOptimizer(params["learning_rate"])
    model.compile(optimizer=None, loss="sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("build", [with_every_state, owning])
def test_folds_do_not_leak_into_each_other(build):
    case_ = case(build)
    together = case_.trained(2)
    backwards = replace(case_, folds=case_.folds[::-1]).trained(2)
    np.testing.assert_array_equal(all_curves(together), all_curves(backwards)[:, ::-1])
    alone = replace(case_, folds=case_.folds[1:]).trained(2)
    np.testing.assert_array_equal(all_curves(together)[:, 1:], all_curves(alone))


def test_an_optimizer_owned_by_the_model_equals_fit():
    case_ = case(owning)
    training = case_.trained(3)
    curves = fit(case_, case_.folds[1], 3).curves
    np.testing.assert_array_equal(training.history("loss")[1], curves["loss"])
    np.testing.assert_array_equal(training.history("val_loss")[1], curves["val_loss"])


class SecondOptimizer(OwnsItsOptimizer):
    """Is compiled with one optimizer and trains its last layer with another."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x))
        own = self.out.trainable_variables
        others = self.layer.trainable_variables
        gradients = tape.gradient(loss, [*own, *others])
        self.opt.apply_gradients(zip(gradients[:2], own, strict=True))
        self.optimizer.apply_gradients(zip(gradients[2:], others, strict=True))
        self._loss_tracker.update_state(loss)
        return self.get_metrics_result()


def second_optimizer(params):
    model = SecondOptimizer(0.01)
    model(np.zeros((1, 6)))
    model.opt.build(model.out.trainable_variables)
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]), loss="sparse_categorical_crossentropy"
    )
    return model


def test_slots_that_keras_does_not_list_belong_to_the_fold():
    case_ = case(second_optimizer)
    together = case_.trained(2)
    curves = fit(case_, case_.folds[1], 2).curves
    np.testing.assert_array_equal(together.history("val_loss")[1], curves["val_loss"])


def test_they_are_in_the_same_order_in_every_process():
    """The slots of one shape would be mixed up in a snapshot otherwise."""
    case_ = case(second_optimizer)
    first, again = (cast("Any", case_.engine().program(case_.params)) for _ in range(2))
    first_names, names = ([v.name for v in program.variables] for program in (first, again))
    assert first_names == names


# --- draws ---


class Noise(keras.layers.Layer):
    """Adds noise from a generator that is not a variable of the model."""

    def __init__(self, draw) -> None:
        super().__init__()
        self.draw = draw

    def call(self, x):
        return x + self.draw(x)


def test_a_seeded_draw_of_keras_is_no_hidden_state():
    def build(params):
        generator = keras.random.SeedGenerator(5)
        noise = Noise(lambda x: keras.random.normal(keras.ops.shape(x), seed=generator))
        noise.generator = generator
        return compiled(hidden(), noise, softmax(), params=params)

    case_ = case(build)
    training = case_.trained(2)
    curves = fit(case_, case_.folds[1], 2).curves
    np.testing.assert_array_equal(training.history("loss")[1], curves["loss"])


# --- the learning rate ---


def test_a_builder_that_ignores_the_learning_rate_is_driven_and_told_once():
    said: list[str] = []

    def build(params):
        optimizer = keras.optimizers.SGD(0.123)
        return compiled(hidden(), softmax(), params=params, optimizer=optimizer)

    case_ = case(build, params={"n": 0})
    engine = case_.engine(say=said.append)
    for n in range(2):
        slow, fast = (
            advanced(case_.training(engine, learning_rate=r, n=n), 1) for r in (1e-3, 0.1)
        )
    assert not np.array_equal(slow.history("loss"), fast.history("loss"))
    assert len(said) == 1
    assert "0.123" in said[0]
    assert "learning_rate" in said[0]


def test_a_builder_that_obeys_is_told_nothing():
    said: list[str] = []
    case_ = case(dense)
    case_.engine(say=said.append).program(case_.params)
    assert said == []
