"""What becomes of `model.compile(jit_compile=…)`: a decision that is told."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from pipeline.errors import BadInput
from pipeline.training import measure, measured_engine
from pipeline.training.models import call_builder
from tests.training.models import advanced, case, compiled, hidden, softmax


def asking(jit_compile, *, layer=None, **of_compile):
    """Return a builder whose model asks for this; compiled twice, as the last word counts."""

    def build(params):
        layers = [hidden(), softmax()] if layer is None else [hidden(), layer(), softmax()]
        model = compiled(*layers, params=params)
        model.compile(model.optimizer, model.loss, jit_compile=jit_compile, **of_compile)
        return model

    return build


def why(measured):
    """Return the reason of the mode; that of the validation batch follows, where it was timed."""
    return measured.reason.partition(";")[0]


def measured(build, **of_spec):
    case_ = case(build, **of_spec)
    return measured_engine(case_.spec, case_.data, case_.folds)


@pytest.mark.parametrize(("jit_compile", "mode"), [(True, "xla"), (False, "plain")])
def test_true_and_false_decide(jit_compile, mode, monkeypatch):
    monkeypatch.setattr(measure, "WORTH_MEASURING_SECS", 0.0)
    found = measured(asking(jit_compile))
    assert found.engine.setup.mode == mode
    assert why(found) == f"model.compile has jit_compile={jit_compile}"


def test_a_builder_may_load_a_model_that_was_compiled(tmp_path):
    saved = asking(True)({"learning_rate": 0.1})
    saved.optimizer.build(saved.trainable_variables)
    saved.save(tmp_path / "model.keras")

    def build(params):
        model = keras.models.load_model(tmp_path / "model.keras")
        model.optimizer.learning_rate = params["learning_rate"]
        return model

    case_ = case(build)
    model = call_builder(case_.spec, {"learning_rate": 0.2}, seed=0)
    assert model.loss == "sparse_categorical_crossentropy"
    assert float(model.optimizer.learning_rate) == pytest.approx(0.2)


def test_auto_is_measured(monkeypatch):
    monkeypatch.setattr(measure, "WORTH_MEASURING_SECS", 0.0)
    assert "with XLA" in measured(asking("auto")).reason


def test_of_positions_and_methods_of_ones_own_the_last_word_counts():
    class Own(keras.Sequential):
        def compile(self, optimizer, loss):
            super().compile(optimizer, loss, None, None, None, False, 1, True)

    def build(params):
        model = Own([keras.Input((6,)), softmax()])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    assert why(measured(build)) == "model.compile has jit_compile=True"


@pytest.mark.parametrize(("mode", "jit_compile"), [("plain", True), ("xla", False)])
def test_a_mode_that_is_set_wins_and_says_so(mode, jit_compile):
    said: list[str] = []
    case_ = case(asking(jit_compile))
    case_.engine(mode, say=said.append).program(case_.params)
    assert said == [
        f"model.compile has jit_compile={jit_compile}, and the study is trained in mode "
        f"'{mode}' all the same"
    ]


@pytest.mark.parametrize(("mode", "jit_compile"), [("plain", False), ("xla", True)])
def test_a_mode_that_agrees_says_nothing(mode, jit_compile):
    said: list[str] = []
    case_ = case(asking(jit_compile))
    case_.engine(mode, say=said.append).program(case_.params)
    assert said == []


class Unique(keras.layers.Layer):
    """Has a result whose size XLA cannot know."""

    def call(self, x):
        return (
            x
            + 0.0 * tf.cast(tf.size(tf.where(tf.reshape(x, [-1]) > 0)), x.dtype)
            + 0.0 * (tf.strings.to_number(tf.strings.as_string(x)))
        )


class SaysSo(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.supports_jit = False

    def call(self, x):
        return x


def test_a_layer_that_keras_knows_xla_cannot_compile_is_trained_without(monkeypatch):
    monkeypatch.setattr(measure, "WORTH_MEASURING_SECS", 0.0)
    found = measured(asking("auto", layer=SaysSo))
    assert found.engine.setup.mode == "plain"
    assert why(found) == "Keras says that XLA cannot compile SaysSo"


@pytest.mark.parametrize("jit_compile", ["auto", True])
def test_what_xla_cannot_compile_is_trained_without_and_it_is_said(jit_compile, monkeypatch):
    monkeypatch.setattr(measure, "WORTH_MEASURING_SECS", 0.0)
    found = measured(asking(jit_compile, layer=Unique))
    assert found.engine.setup.mode == "plain"
    assert "XLA cannot compile the model: " in found.reason


def test_xla_that_is_set_for_what_it_cannot_compile_is_refused():
    case_ = case(asking("auto", layer=Unique))
    with pytest.raises(BadInput, match=r"XLA cannot compile the model: .*Allowed: engine='plain'"):
        advanced(case_.training(case_.engine("xla")), 1)
