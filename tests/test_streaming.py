"""Whole searches of models that no compiled epoch can hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.dry_run import cost_of
from pipeline.errors import BadInput, Interrupted
from pipeline.search import search
from tests.tiny_study import Heard, StopAt, bits, runs_of, tiny

MODEL = """
    import tensorflow as tf

    class LogsItsLastBatch(keras.Model):
        def train_step(self, data):
            return {{**super().train_step(data), "error": tf.constant(0.5)}}

        def test_step(self, data):
            return {{**super().test_step(data), "error": tf.constant(0.5)}}

    seeds = keras.random.SeedGenerator(3)
    inputs = x = keras.Input((3,))
    x = keras.layers.Lambda(lambda x: {function})(x)
    model = {kind}(inputs, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]), "binary_crossentropy",
        metrics=["accuracy"], run_eagerly={eagerly},
    )
    return model
"""


def of(function: str = "x * 1.0", kind: str = "keras.Model", *, eagerly: bool = False) -> str:
    """Return the source of a builder."""
    return MODEL.format(function=function, kind=kind, eagerly=eagerly)


REASONS = {
    "run_eagerly=True": of(eagerly=True),
    "keras.random without a seed": of("x + 0.1 * keras.random.normal(keras.ops.shape(x))"),
    "not an attribute of a layer": of("x + keras.random.normal(keras.ops.shape(x), seed=seeds)"),
    "tf.py_function": of("tf.ensure_shape(tf.py_function(lambda v: v, [x], 'float32'), x.shape)"),
    "tf.random.normal": of("x + 0.1 * tf.random.normal(tf.shape(x))"),
    "which no metric keeps": of(kind="LogsItsLastBatch"),
}

SHORT = """dict(engine='auto', budget=Budget(n_trials={}), space={{
    "learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "max_epochs": 2}})"""


@pytest.mark.long
@pytest.mark.parametrize("reason", REASONS)
def test_a_search_of_it_answers_and_says_why_it_streams(home, reason):
    display = Heard()
    result = search(tiny(home, builder=REASONS[reason], fields=SHORT.format(1)), display=display)
    (line,) = (line for line in display.lines if line.startswith("engine "))
    assert line.startswith("engine stream: no compiled epoch can hold the model: it")
    assert reason in line
    decision = json.loads(result.decision_path.read_text())
    assert decision["engine"]["mode"] == "stream"
    assert reason in decision["engine"]["reason"]
    assert runs_of(home)[0].data.params["engine.mode"] == "stream"
    assert result.best.curves is not None
    assert result.refit is not None
    assert np.isfinite(result.best.curves.values).all()


@pytest.mark.long
def test_a_signal_ends_the_epoch_and_the_same_command_continues_to_the_same_bits(
    home, tmp_path_factory
):
    """Noise in Python and an eager model: everything that is seeded by the epoch."""
    source = of("x + tf.random.normal(tf.shape(x)) + np.random.normal()", eagerly=True)
    fields = SHORT.format(2)
    through = search(tiny(home, builder=source, fields=fields))
    other = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Interrupted):
        search(tiny(other, builder=source, fields=fields), display=StopAt(1, 1))
    display = Heard()
    result = search(tiny(other, builder=source, fields=fields), display=display)
    assert any("goes on after epoch 1, from its snapshot" in line for line in display.lines)
    assert not any(line.startswith("engine ") for line in display.lines)  # recorded, and obeyed
    assert bits(result) == bits(through)


def test_a_compiled_mode_that_is_set_is_refused_before_training(home):
    spec = tiny(home, builder=REASONS["tf.random.normal"])
    with pytest.raises(BadInput, match=r"tf\.random\.normal.*Allowed: engine='stream'"):
        search(spec)


@pytest.mark.long
def test_an_ordinary_model_streams_where_it_is_asked_to_and_its_price_is_told(home):
    fields = "dict(engine='stream', budget=Budget(n_trials=1))"
    cost = cost_of(tiny(home, fields=fields), tracking_uri=None, storage=None)
    assert cost["engine"] == "stream (engine='stream' is set)"
    streamed = search(tiny(home, fields=fields, name="streamed"))
    plain = search(tiny(home, fields="dict(budget=Budget(n_trials=1))"))
    assert streamed.best.curves is not None
    assert plain.best.curves is not None
    np.testing.assert_allclose(streamed.best.curves.values, plain.best.curves.values, rtol=1e-5)
