"""What a user can get wrong about a model is one readable message, before anything is trained."""

from __future__ import annotations

import re
from contextlib import suppress

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.lazy_rows import mapped
from pipeline.objective import LARGER_IS_BETTER, SMALLER_IS_BETTER, Objective
from pipeline.training import check_model
from tests.training.models import (
    N_COLUMNS,
    case,
    classes,
    compiled,
    dense,
    hidden,
    numbers,
    regression,
    softmax,
    tokens,
)


def refused(build, data=None, **of_spec):
    """Return the message that a study is refused with."""
    case_ = case(build, data, **of_spec)
    with pytest.raises(BadInput) as error:
        check_model(case_.spec, case_.data, case_.folds[0])
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_model_that_fits_is_returned():
    case_ = case(dense)
    model = check_model(case_.spec, case_.data, case_.folds[0])
    assert model.count_params() == (N_COLUMNS + 1) * 8 + (8 + 1) * 3


# --- the builder ---


def test_a_builder_that_raises():
    message = refused(lambda params: params["units"])
    assert "build_model(" in message
    assert "raised KeyError: 'units'" in message


def test_a_builder_that_returns_no_model():
    assert refused(lambda params: None) == "build_model must return a keras.Model, got NoneType"


def test_a_model_that_is_not_compiled():
    message = refused(lambda params: keras.Sequential([keras.Input((N_COLUMNS,)), softmax()]))
    assert message.startswith("build_model must return a compiled model")


def test_a_model_of_a_distribution_strategy():
    def build(params):
        with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
            return dense(params)

    message = refused(build)
    assert "tf.distribute" in message
    assert "outside strategy.scope()" in message


def test_a_model_without_an_optimizer_to_drive():
    def build(params):
        model = dense(params)
        model.compile(optimizer=None, loss=model.loss)
        return model

    assert "must have one optimizer" in refused(build)


# --- the data ---


def test_another_width_of_input():
    message = refused(
        lambda params: compiled(hidden(), softmax(), params=params, shape=(N_COLUMNS + 1,))
    )
    assert f"x is [n, {N_COLUMNS}]" in message
    assert f"value {N_COLUMNS + 1}" in message.split("Keras says")[1]


def data_with(y):
    return Dataset(classes().x, y)


LABELS = {
    "out of range": (
        dense, data_with(classes().y + 1), ["needs classes 0..2", "from 1 to 3"]
    ),
    "negative": (dense, data_with(classes().y - 1), ["needs classes 0..2", "from -1 to 1"]),
    "not whole": (dense, data_with(classes().y + 0.5), ["whole class numbers", "float64"]),
    "one-hot for a sparse loss": (
        dense, data_with(np.eye(3)[classes().y].astype(int)),
        ["one class number per row", "[n, 3]", "one-hot?"],
    ),
    "too many columns": (
        regression, data_with(np.ones((44, 2))), ["of the output's shape", "[n, 1]", "[n, 2]"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_do_not_suit_the_loss(name):
    build, data, parts = LABELS[name]
    message = refused(build, data)
    for part in parts:
        assert part in message


def test_class_numbers_for_a_categorical_loss():
    message = refused(
        lambda params: compiled(hidden(), softmax(), params=params, loss="categorical_crossentropy")
    )
    assert "sparse_categorical_crossentropy" in message


def test_numbers_for_a_binary_loss():
    message = refused(
        lambda params: compiled(
            keras.layers.Dense(1, "sigmoid"), params=params, loss="binary_crossentropy"
        ),
        numbers(),
    )
    assert "needs y in 0..1" in message


@pytest.mark.parametrize("column", [False, True], ids=["[n]", "[n, 1]"])
def test_one_column_of_numbers_fits_one_output(column):
    case_ = case(regression, numbers(column=column))
    check_model(case_.spec, case_.data, case_.folds[0])


# --- embeddings ---


def embedding(n: int, *, with_input: bool = True):
    """Return a builder of a model of whole numbers, four in a row."""

    def build(params):
        layers = [keras.layers.Embedding(n, 2), keras.layers.Flatten(), softmax()]
        if with_input:
            return compiled(*layers, params=params, shape=(4,))
        model = keras.Sequential(layers)
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    return build


@pytest.mark.parametrize("with_input", [True, False])
def test_an_embedding_has_a_vector_for_every_number(with_input):
    data = tokens()
    most = int(data.x.max())
    assert refused(embedding(most, with_input=with_input), data).endswith(
        f"an Embedding of {most}, needs numbers in 0..{most - 1}, got 0..{most} in X"
    )
    assert "got -1.." in refused(embedding(most + 1), Dataset(data.x - 1, data.y))
    on_disk = Dataset(mapped(data.x), data.y)
    assert f"got 0..{most} in X" in refused(embedding(most, with_input=with_input), on_disk)
    case_ = case(embedding(most + 1, with_input=with_input), data)
    check_model(case_.spec, case_.data, case_.folds[0])


def test_an_embedding_has_a_vector_for_every_token_that_another_fold_may_have():
    data = Dataset(["few words", "few"] * 22, classes().y)

    def words():
        return keras.layers.TextVectorization(max_tokens=9, output_sequence_length=4)

    message = refused(embedding(8), data, preprocess=words)
    assert message.endswith("got 0..8 in X: the layer in preprocess may give 9 tokens")
    case_ = case(embedding(9), data, preprocess=words)
    check_model(case_.spec, case_.data, case_.folds[0])


@pytest.mark.parametrize("named", [True, False])
def test_the_embedding_of_one_of_several_inputs_is_named(named):
    def build(params):
        word, size = keras.Input((1,), name="word"), keras.Input((2,), name="size")
        vector = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(word))
        model = keras.Model([word, size], softmax()(keras.layers.Concatenate()([vector, size])))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    word, size = np.arange(44)[:, None] % 6, np.ones((44, 2))
    x = {"size": size, "word": word} if named else (word, size)
    message = refused(build, Dataset(x, classes().y))
    assert message.endswith("got 0..5 in " + ("X['word']" if named else "X[0]"))


# --- the metric ---


def test_a_metric_that_the_model_does_not_log():
    message = refused(dense, objective=Objective("val_acuracy", "maximize"))
    assert "did you mean 'val_accuracy'?" in message
    assert "val_loss" in message


def test_a_metric_that_it_logs():
    case_ = case(dense, objective=Objective("val_accuracy", "maximize"))
    check_model(case_.spec, case_.data, case_.folds[0])


def test_directions_are_those_of_keras_own_metrics():
    known = {}
    for kind in vars(keras.metrics).values():
        if isinstance(kind, type) and issubclass(kind, keras.metrics.Metric):
            for arguments in ((), (0.5,)):
                with suppress(TypeError, ValueError, AttributeError):  # it takes others
                    metric = kind(*arguments)
                    name = re.sub(r"_\d+$", "", metric.name)  # Keras numbers those it has made
                    known[name] = getattr(metric, "_direction", None)
    assert {"accuracy", "auc", "f1_score", "recall_at_precision"} <= known.keys()
    for name, direction in known.items():
        assert (name in LARGER_IS_BETTER) == (direction == "up"), name
        assert (name in SMALLER_IS_BETTER) == (direction == "down"), name
