"""Layers with `adapt` inside the model: found before training."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.training import check_model, remarks_on_layers
from tests.training.models import N_COLUMNS, case, classes, compiled, softmax

layers = keras.layers


def holding(*first):
    """Return a builder of a model that begins with these layers, made by functions."""

    def build(params):
        return compiled(*(make() for make in first), layers.Flatten(), softmax(), params=params)

    return build


def checked(build):
    case_ = case(build)
    return check_model(case_.spec, case_.data, case_.folds[0])


def adapted():
    layer = layers.Normalization()
    layer.adapt(classes().x)
    return layer


class Block(keras.Layer):
    """A layer of the user's own with one of Keras's inside."""

    def __init__(self):
        super().__init__()
        self.scaled = layers.Normalization()

    def call(self, inputs):
        return self.scaled(inputs)


@pytest.mark.parametrize(
    "first",
    [
        layers.Normalization,
        lambda: layers.Discretization(num_bins=4),
        lambda: layers.IntegerLookup(max_tokens=9),
        lambda: keras.Sequential([layers.Normalization()]),
        Block,
    ],
)
def test_one_that_was_not_adapted_is_refused(first):
    with pytest.raises(
        BadInput, match=r"must be adapted to rows, and was to none.* give it as pre"
    ):
        checked(holding(first))


def test_adapting_in_build_model_is_refused():
    with pytest.raises(BadInput, match=r"must not adapt a layer, got Normalization.adapt\(…\)"):
        checked(holding(adapted))
    adapted()  # elsewhere it may


def test_one_that_was_adapted_before_is_told():
    layer = adapted()
    (remark,) = remarks_on_layers(checked(holding(lambda: layer)))
    assert "brings along what it has learnt" in remark


def test_one_that_needs_no_rows_is_let_pass():
    given = [lambda: layers.Normalization(mean=1.0, variance=2.0), lambda: layers.Rescaling(0.5)]
    assert remarks_on_layers(checked(holding(*given))) == []


def test_a_ready_made_model_inside_is_let_pass():
    """EfficientNet has a Normalization of its own, which changes nothing without its weights."""

    def ready_made():
        inputs = keras.Input((N_COLUMNS,))
        return keras.Model(inputs, layers.Dense(4)(layers.Normalization()(inputs)))

    model = checked(holding(ready_made))
    assert remarks_on_layers(model) == []
    assert np.isfinite(model.predict(classes().x, verbose=0)).all()
