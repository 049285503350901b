"""Models train on mapped and sparse rows as on the same rows in memory, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from scipy import sparse
from sklearn.preprocessing import MaxAbsScaler

from pipeline.data import Dataset, take_rows
from pipeline.lazy_rows import LazyRows
from pipeline.training import Mode, check_model, fit_on_all_rows, measured_engine
from pipeline.training.devices import HOST, Device
from pipeline.training.engine import Setup
from pipeline.training.fitted import FittedModel, Member
from pipeline.training.keras_engine import KerasEngine
from tests.training.fit import some_long
from tests.training.models import (
    N_CLASSES,
    N_COLUMNS,
    all_curves,
    case,
    classes,
    dense,
    images,
    row_losses,
)

FEW = np.where(classes().x > 1, classes().x, 0.0)

KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "mapped": lambda x, path: np.lib.format.open_memmap(path, "r"),
    "sparse": lambda x, path: sparse.csr_array(x),
}


def lazy(kind: str, tmp_path, x=FEW) -> Dataset:
    np.save(tmp_path / "x.npy", x)
    return Dataset(KINDS[kind](x, tmp_path / "x.npy"), classes().y)


@pytest.mark.parametrize("mode", some_long(["plain", "xla", "stream"], ["plain", "stream"]))
@pytest.mark.parametrize("kind", KINDS)
def test_lazy_rows_train_to_the_bits_of_an_array(kind, mode, tmp_path):
    given, array = lazy(kind, tmp_path), Dataset(FEW, classes().y)
    ours = case(dense, given).trained(2, mode=mode)
    theirs = case(dense, array).trained(2, mode=mode)
    np.testing.assert_array_equal(all_curves(ours), all_curves(theirs))
    np.testing.assert_array_equal(row_losses(ours, 1), row_losses(theirs, 1))
    some = np.array([9, 3, 3, 40])
    predicted = [each.program.predict(1, each.states[1], some) for each in (ours, theirs)]
    np.testing.assert_array_equal(*predicted)


@pytest.mark.parametrize("kind", KINDS)
def test_lazy_rows_stay_so_where_they_stream_and_are_counted_dense(kind, tmp_path):
    modes: tuple[Mode, ...] = ("stream", "plain")
    for mode in modes:
        engine = case(dense, lazy(kind, tmp_path)).engine(mode)
        assert isinstance(engine, KerasEngine)
        assert isinstance(engine.arrays[0].x, LazyRows) == (mode == "stream")
        assert engine.holding().rows == 44 * (N_COLUMNS * 4 + 8)


def test_a_matrix_whose_dense_form_does_not_fit_streams(tmp_path, monkeypatch):
    """The sparse one would have fitted."""
    given = lazy("sparse", tmp_path)
    small = Device(HOST, case(dense, given).engine("stream").holding().rows)
    monkeypatch.setattr("pipeline.training.keras_engine.training_devices", lambda: (small,))
    measured = measured_engine(case(dense, given).spec, given, case(dense, given).folds)
    assert measured.engine.setup.mode == "stream"
    assert "its rows, 2.82 kB while two engines hold them, do not fit" in measured.reason


def test_a_transformers_sparse_rows_train_as_an_arrays(tmp_path):
    given, array = lazy("sparse", tmp_path), Dataset(FEW, classes().y)
    of_given, of_array = (
        all_curves(case(dense, data, preprocess=MaxAbsScaler()).trained(2, mode="stream"))
        for data in (given, array)
    )
    np.testing.assert_array_equal(of_given, of_array)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_adapted_to_lazy_rows_as_to_an_arrays(kind, tmp_path):
    of_given, of_array = (
        all_curves(case(dense, data, preprocess=lambda: keras.layers.Normalization()).trained(2))
        for data in (lazy(kind, tmp_path), Dataset(FEW, classes().y))
    )
    np.testing.assert_array_equal(of_given, of_array)


@pytest.mark.parametrize("mode", ["plain", "stream"])
def test_whole_numbers_of_a_mapped_file_reach_the_model_as_they_are(mode, tmp_path):
    """As images do, four times as small as float32."""
    pixels = (images().x[..., 0] * 9).astype(np.uint8)

    def build(params):
        model = keras.Sequential(
            [
                keras.Input((N_COLUMNS, 6), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(N_CLASSES, activation="softmax"),
            ]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    given = case(build, lazy("mapped", tmp_path, pixels))
    check_model(given.spec, given.data, given.folds[0])
    trained = given.trained(1, mode=mode)
    array = case(build, Dataset(pixels, classes().y)).trained(1, mode=mode)
    np.testing.assert_array_equal(all_curves(trained), all_curves(array))
    assert given.engine(mode).holding().rows == 44 * (N_COLUMNS * 6 + 8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_model_takes_lazy_rows(kind, weighted, tmp_path):
    weight = np.linspace(0, 2, 44) if weighted else None
    given, array = (
        Dataset(x, classes().y, sample_weight=weight)
        for x in (lazy(kind, tmp_path).x, FEW)
    )  # fmt: skip
    of = case(dense, given)
    model = fit_on_all_rows(of.spec, given, of.params, 1, folds=[2], setup=Setup("plain"))
    np.testing.assert_array_equal(model.predict(given.x), model.predict(array.x))
    assert model.score(given) == pytest.approx(model.score(array), rel=1e-6)


def test_lazy_parts_stand_beside_arrays(tmp_path):
    """A model of two inputs, one of them sparse: trained, predicted with, and refitted."""

    def build(params):
        words, table = keras.Input((N_COLUMNS,), name="words"), keras.Input((2,), name="table")
        both = keras.layers.Concatenate()([words, table])
        model = keras.Model(
            {"words": words, "table": table},
            keras.layers.Dense(N_CLASSES, activation="softmax")(both),
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    def data(words):
        return Dataset({"words": words, "table": FEW[:, :2]}, classes().y)

    trained = [case(build, data(x)).trained(1, mode="stream") for x in (sparse.coo_array(FEW), FEW)]
    np.testing.assert_array_equal(all_curves(trained[0]), all_curves(trained[1]))
    rows = np.arange(9)
    predictions = [each.program.predict(0, each.states[0], rows) for each in trained]
    np.testing.assert_array_equal(*predictions)
    model = FittedModel(
        (Member(trained[0].program.model(0, trained[0].states[0], trained[0].params), None),), 1, 8
    )
    np.testing.assert_allclose(
        model.predict(take_rows(data(sparse.csr_array(FEW)).x, rows)), predictions[0], rtol=1e-6
    )
