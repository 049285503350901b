"""Several inputs and outputs, by name or in order: trained as `fit` does, and told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.preprocessing import StandardScaler

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import Folds
from pipeline.training import (
    Setup,
    check_model,
    fit_on_all_rows,
    measured_engine,
    write_fold_models,
)
from tests.training.fit import assert_equals_fit, fit, some_long
from tests.training.models import N_CLASSES, N_COLUMNS, advanced, case, classes, hidden, regression

LOSSES = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
METRICS = {"kind": ["accuracy"], "size": ["mae"]}


def things(**of_dataset: Any) -> Dataset:
    """Return rows of an image of 3 × 2 and a table, each of a kind and a size."""
    flat = classes()
    image = np.random.default_rng(2).normal(size=(flat.n_rows, 3, 2))
    x = {"table": flat.x, "image": image}
    return Dataset(x, {"kind": flat.y, "size": flat.x.sum(1) + image.sum((1, 2))}, **of_dataset)


def in_order(data: Dataset) -> Dataset:
    return replace(data, x=tuple(data.x.values()), y=tuple(data.y.values()))


def of_things(params, *, named: bool = True, kind=keras.Model, **of_compile: Any):
    table, image = keras.Input((N_COLUMNS,), name="table"), keras.Input((3, 2), name="image")
    x = keras.layers.Concatenate()([table, keras.layers.Flatten()(image)])
    x = keras.layers.Dropout(0.2)(hidden(kernel_regularizer="l2")(x))
    outputs = {
        "kind": keras.layers.Dense(N_CLASSES, "softmax", name="kind")(x),
        "size": keras.layers.Dense(1, name="size")(x),
    }
    inputs = {"table": table, "image": image}
    model = kind(*((inputs, outputs) if named else map(list, (inputs.values(), outputs.values()))))
    options = {"loss": LOSSES, "metrics": METRICS, "loss_weights": {"kind": 2.0, "size": 0.1}}
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]), **{**options, **of_compile}
    )  # fmt: skip
    return model


def of_ordered_things(params):
    return of_things(
        params, named=False, loss=list(LOSSES.values()), metrics=list(METRICS.values()),
        loss_weights=[2.0, 0.1],
    )  # fmt: skip


def weighted_things(params):
    measures = {"kind": [keras.metrics.SparseCategoricalCrossentropy(name="ce")], "size": ["mse"]}
    return of_things(params, weighted_metrics=measures)


WEIGHTS = np.random.default_rng(1).uniform(0, 3, 44)
DATA = {
    "named": (of_things, things()),
    "in order": (of_ordered_things, in_order(things())),
    "labels named, outputs in order": (
        lambda params: of_things(params, named=False), things()
    ),
    "weights of rows": (weighted_things, things(sample_weight=WEIGHTS)),
    "weights of rows and outputs": (
        weighted_things, things(sample_weight={"kind": WEIGHTS, "size": WEIGHTS[::-1]})
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", some_long(DATA, ["named", "weights of rows and outputs"]))
def test_curves_and_weights_equal_fit(how, mode):
    training = assert_equals_fit(case(*DATA[how]), mode=mode)
    assert {"val_loss", "val_kind_loss", "val_kind_accuracy", "val_size_mae"} <= set(
        training.program.metric_names
    )


@pytest.mark.long
def test_they_equal_fit_under_xla():
    # XLA fuses the sum of the losses into the epoch: the last bit moves.
    assert_equals_fit(case(of_things, things()), mode="xla", n_epochs=2, atol=1e-6)


class OwnStep(keras.Model):
    """Trains on the rows' weights by itself, which `fit` hands over for each output."""

    def train_step(self, data):
        x, y, weight = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            errors = tf.square(y["size"] - y_pred["size"][:, 0]) * weight["size"]
            loss = tf.reduce_mean(errors) + tf.reduce_mean(y_pred["kind"][:, 0] * weight["kind"])
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self._loss_tracker.update_state(loss)
        return {"loss": self._loss_tracker.result()}


def test_a_custom_train_step_is_given_what_fit_gives(mode):
    case_ = case(
        lambda params: of_things(params, kind=OwnStep, metrics=None),
        things(sample_weight=WEIGHTS.astype(np.float32)),
    )
    training = case_.trained(2, mode=mode)
    assert training.history("loss")[1].tolist() == fit(case_, case_.folds[1], 2).curves["loss"]


def test_row_losses_are_missing_and_it_is_said(mode):
    case_ = case(of_things, things())
    said: list[str] = []
    training = advanced(case_.training(case_.engine(mode, say=said.append)), 1)
    assert training.row_losses() is None
    assert said == ["no row-level losses: the model has 2 losses"]


def test_inputs_are_preprocessed_one_by_one_on_training_rows():
    case_ = case(of_things, things(), preprocess={"table": StandardScaler()})
    training = case_.trained(1)
    table = case_.data.x["table"]
    for fold in case_.folds:
        scaled = StandardScaler().fit(table[fold.train]).transform(table)
        fitted = fit(case_, fold, 1, x={**case_.data.x, "table": scaled})
        assert training.history("val_loss")[fold.index] == fitted.curves["val_loss"]


# --- after training ---


@pytest.mark.parametrize(("build", "data"), [DATA["named"], DATA["in order"]])
def test_refit_predicts_by_name_alone_together_and_loaded(build, data, tmp_path):
    case_ = case(build, data)
    both = fit_on_all_rows(
        case_.spec, data, case_.params, n_epochs=1, folds=[2, 3], setup=Setup("plain")
    )  # fmt: skip
    first, second = (each.predict(data.x) for each in both.each())
    mean = both.predict(data.x)
    assert list(mean) == ["kind", "size"]
    for name, of_mean in mean.items():
        np.testing.assert_allclose(of_mean, (first[name] + second[name]) / 2, rtol=1e-5)
    kind, size = data.y.values() if isinstance(data.y, dict) else data.y
    scores, alone = both.score(data), both.each()[0].score(data)
    assert scores["size_mae"] == pytest.approx(np.abs(mean["size"][:, 0] - size).mean(), rel=1e-5)
    assert scores["kind_accuracy"] == pytest.approx((mean["kind"].argmax(1) == kind).mean())
    assert alone["size_mae"] == pytest.approx(np.abs(first["size"][:, 0] - size).mean(), rel=1e-5)
    assert both.why_not_served(both.save(tmp_path), data.x) == ""


@pytest.mark.parametrize(("build", "data"), [DATA["named"], DATA["in order"]])
def test_out_of_fold_predictions_have_a_column_for_each_output(build, data, tmp_path):
    case_ = case(build, data)
    folds = Folds(case_.folds, data.n_rows)
    table = np.load(
        write_fold_models(tmp_path, case_.trained(1), folds, data) / "out_of_fold.npz"
    )  # fmt: skip
    assert set(table) == {"row", "fold", *(f"{a}_{b}" for a in ("prediction", "label") for b in
                                           ("kind", "size"))}  # fmt: skip
    assert table["prediction_kind"].shape == (44, N_CLASSES)
    kind, size = data.y.values() if isinstance(data.y, dict) else data.y
    np.testing.assert_array_equal(table["label_kind"], kind[table["row"]])
    np.testing.assert_array_equal(table["label_size"], size[table["row"]])


# --- what does not fit together ---


def renamed(nest, **names):
    return {names.get(key, key): part for key, part in nest.items()}


GOOD = things()
WRONG = {
    "another input's name": (
        of_things, replace(GOOD, x=renamed(GOOD.x, image="picture")),
        "X must be named as the model's inputs: 'table', 'image', got a dict of 'table', 'picture'",
    ),
    "an input too many": (
        of_things, replace(GOOD, x={**GOOD.x, "more": WEIGHTS}), "'table', 'image', 'more'",
    ),
    "one array for two inputs": (
        of_things, replace(GOOD, x=GOOD.x["table"]), "part for each .* 'image', got one array",
    ),
    "inputs in order for inputs by name": (
        of_things, replace(GOOD, x=tuple(GOOD.x.values())), "X must be a dict, .*a tuple of 2",
    ),
    "too few inputs": (
        of_ordered_things, replace(in_order(GOOD), x=(GOOD.x["table"],)), "got a tuple of 1",
    ),
    "another output's name": (
        of_things, replace(GOOD, y=renamed(GOOD.y, size="weight")), "y must be named .*'weight'",
    ),
    "one array for two outputs": (
        of_things, replace(GOOD, y=GOOD.y["kind"]), "y must have a part for each .*one array",
    ),
    "two arrays for one output": (
        regression, Dataset(classes().x, GOOD.y), "y must be one array, .*'kind', 'size'",
    ),
    "labels of one output that do not suit its loss": (
        of_things, replace(GOOD, y={**GOOD.y, "kind": GOOD.y["kind"] + 1}),
        r"needs classes 0..2, got y\['kind'\] of shape \[n\], dtype int64, from 1 to 3",
    ),
    "weights of labels by name for outputs in order": (
        lambda params: of_things(params, named=False), things(sample_weight=WEIGHTS),
        "y must be a tuple where the model's outputs are a list: 'kind', 'size', in this order",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_parts_that_are_not_the_models_are_refused(what):
    build, data, says = WRONG[what]
    case_ = case(build, data)
    with pytest.raises(BadInput, match=says):
        check_model(case_.spec, data, case_.folds[0])


@pytest.mark.parametrize("how", DATA)
def test_parts_that_are_the_models_pass(how):
    case_ = case(*DATA[how])
    check_model(case_.spec, case_.data, case_.folds[0])


def test_a_subclass_that_knows_its_inputs_itself_is_trained():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = keras.layers.Dense(1)

        def call(self, x):
            flat = keras.ops.reshape(x["image"], (-1, 6))
            return self.out(flat), keras.ops.sum(x["table"], axis=1)

    def build(params):
        model = Own()
        model.compile(keras.optimizers.SGD(params["learning_rate"]), ["mse", "mae"])
        return model

    case_ = case(build, replace(things(), y=(GOOD.y["size"], GOOD.y["size"])))
    check_model(case_.spec, case_.data, case_.folds[0])
    assert measured_engine(case_.spec, case_.data, case_.folds).engine.setup.mode == "plain"
    training = assert_equals_fit(case_)
    predicted = training.program.predict(0, training.states[0], np.arange(3))
    assert list(predicted) == ["0", "1"]
