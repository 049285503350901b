"""What a fold's model is given: preprocessed rows and their weights."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import Fold, training_weights
from pipeline.preprocessing import (
    model_input,
    preprocessed,
    remarks_on_transformers,
    transformed,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
CLASSES = np.repeat([0, 1, 2], [30, 20, 10])
VALUES = RNG.normal(size=60)
GROUPS = np.arange(60) // 3
CLASSIFICATION = Dataset(X, CLASSES)
REGRESSION = Dataset(X, VALUES)


def fold_of(n_train: int, n_validation: int) -> Fold:
    return Fold(0, np.arange(n_train), np.arange(n_train, n_train + n_validation))


# Preprocessing


def test_preprocess_is_fitted_on_training_rows_only():
    x = np.ones((6, 1))
    x[:3, 0] = [0.0, 1.0, 2.0]
    x[3:] = 1e6  # the plant: seen in fitting, it would move the mean
    scaler = StandardScaler()
    seen, fitted = preprocessed(Dataset(x, VALUES[:6]), fold_of(3, 3), scaler)
    assert fitted.mean_.tolist() == [1.0]
    assert not hasattr(scaler, "mean_")
    np.testing.assert_allclose(seen[:3, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    assert (seen[3:] > 1e5).all()


def test_a_transformer_that_was_fitted_before_is_fitted_anew():
    known = StandardScaler().fit(X * 1e6)
    seen, fitted = preprocessed(REGRESSION, fold_of(50, 10), known)
    assert fitted is not known
    np.testing.assert_allclose(fitted.mean_, X[:50].mean(0))
    np.testing.assert_allclose(seen[:50].mean(0), 0, atol=1e-6)
    assert remarks_on_transformers(known) == []


def test_a_transformer_that_stays_as_it_was_fitted_is_told():
    frozen = FrozenEstimator(StandardScaler().fit(X))
    for preprocess in (frozen, make_pipeline(frozen, PCA(2)), {"table": frozen}):
        (remark,) = remarks_on_transformers(preprocess)
        assert remark.startswith("preprocess holds FrozenEstimator(estimator=StandardScaler())")


class TargetMean(TransformerMixin, BaseEstimator):
    """Replaces X by the mean of the y that it was fitted on."""

    def fit(self, x: Any, y: Any) -> "TargetMean":
        self.mean_ = y.mean()
        return self

    def transform(self, x: Any) -> Any:
        return np.full((len(x), 1), self.mean_)


def test_targets_of_validation_rows_never_reach_the_transformer():
    data = Dataset(X[:4], np.array([1.0, 3.0, 1e6, 1e6]))
    seen, _ = preprocessed(data, fold_of(2, 2), TargetMean())
    assert seen.ravel().tolist() == [2.0] * 4


SEVERAL = Dataset({"table": X, "sizes": VALUES * 100}, {"kind": CLASSES, "size": VALUES})


def test_each_input_has_a_transformer_of_its_own_or_none():
    seen, fitted = preprocessed(SEVERAL, fold_of(50, 10), {"table": StandardScaler()})
    np.testing.assert_allclose(seen["table"][:50].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(seen["sizes"], VALUES * 100, rtol=1e-6)
    assert list(fitted) == ["table"]
    again = transformed({"sizes": VALUES[:2], "table": X[:2]}, fitted)
    np.testing.assert_array_equal(again["table"], seen["table"][:2])


@pytest.mark.parametrize(
    ("data", "preprocess", "says"),
    [
        (SEVERAL, StandardScaler(), "dict of input -> transformer .* X as a dict of 'table', 's"),
        (SEVERAL, {"tabel": StandardScaler()}, "unknown preprocess 'tabel'.*'table'"),
        (REGRESSION, {"table": StandardScaler()}, "'table': X must be a dict .* got one array"),
        (SEVERAL, {"sizes": StandardScaler()}, r"cannot transform X\['sizes'\]: Expected 2D"),
        (Dataset((X, X * np.nan), VALUES), None, r"X\[1\] must be finite, got 180 NaN"),
        (
            SEVERAL,
            {"table": FunctionTransformer(lambda x: x[1:])},
            r"got 59 rows of 60 in X\['table'\]",
        ),
    ],
)
def test_transformers_that_do_not_suit_the_inputs_are_refused(data, preprocess, says):
    with pytest.raises(BadInput, match=says):
        preprocessed(data, fold_of(50, 10), preprocess)


def test_class_weights_of_several_outputs_are_refused():
    with pytest.raises(BadInput, match="needs one output, got y as a dict of 'kind', 'size'"):
        training_weights(SEVERAL, fold_of(50, 10), "balanced")


def test_without_preprocess_rows_are_taken_as_they_are():
    seen, fitted = preprocessed(REGRESSION, fold_of(50, 10), None)
    assert fitted is None
    np.testing.assert_array_equal(seen, X.astype(np.float32))


@pytest.mark.parametrize(
    ("preprocess", "says"),
    [
        (PCA(n_components=9), "preprocess PCA.* cannot transform X: n_components=9"),
        (object(), "preprocess <object.* cannot transform X: Cannot clone"),
        (FunctionTransformer(lambda x: x[1:]), "preprocess must keep every row, got 59 rows of 60"),
        (FunctionTransformer(lambda x: x.astype(str)), "X after preprocess must be numbers"),
        (FunctionTransformer(lambda x: x * np.nan), "X after preprocess must be finite, got 180"),
    ],
)
def test_preprocess_that_cannot_work_says_so(preprocess, says):
    with pytest.raises(BadInput, match=says):
        preprocessed(REGRESSION, fold_of(50, 10), preprocess)


@pytest.mark.parametrize(
    ("given", "dtype"), [(np.float64, "float32"), (np.float16, "float32"), (np.int8, "int8")]
)
def test_model_gets_floats_as_float32_and_integers_as_they_are(given, dtype):
    assert model_input(np.array([[1, 2]], dtype=given)).dtype == dtype


def test_model_gets_the_numbers_and_booleans_of_a_frame():
    frame = pd.DataFrame({"a": [0.5, 1.5], "b": [True, False], "c": [1, 2]})
    assert model_input(frame).tolist() == [[0.5, 1, 1], [1.5, 0, 2]]


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.array([["a"]]), "X must be numbers, got dtype <U1 .*; encode it with `preprocess`"),
        (pd.DataFrame({"a": [0.5], "city": ["Rome"]}), r"`preprocess`, column\(s\) city"),
        (np.array([[0.0], [np.nan]]), r"X must be finite, got 1 .* first in row 1"),
        (np.array([[1e300]]), "X must be finite"),
    ],
)
def test_model_takes_finite_numbers_only(x, says):
    with pytest.raises(BadInput, match=says):
        model_input(x)


# Weights


def test_no_weights_unless_asked_for():
    assert training_weights(CLASSIFICATION, fold_of(50, 10), None) is None


def test_sample_weights_are_passed_on():
    weights = training_weights(Dataset(X, VALUES, sample_weight=GROUPS), fold_of(50, 10), None)
    assert weights is not None
    assert weights.dtype == np.float32
    assert weights.tolist() == GROUPS.tolist()


def test_class_weights_multiply_sample_weights_and_are_1_for_classes_not_named():
    data = Dataset(X, CLASSES, sample_weight=np.full(60, 2.0))
    weights = training_weights(data, fold_of(50, 10), {1: 3.0})
    assert weights is not None
    assert weights.tolist() == [2.0] * 30 + [6.0] * 20 + [2.0] * 10


def test_balanced_weights_come_from_training_rows():
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    weights = training_weights(Dataset(X[:8], y), fold_of(4, 4), "balanced")
    assert weights is not None
    np.testing.assert_allclose(weights, [4 / 6] * 3 + [2.0] * 5)  # of 3 zeros and 1 one


@pytest.mark.parametrize(
    "form", [lambda y: y[:, None], lambda y: y.astype(float), lambda y: np.eye(3)[y]],
    ids=["a column", "floats", "one-hot"],
)  # fmt: skip
def test_class_weights_know_classes_in_each_form(form):
    fold, plain = (
        fold_of(50, 10),
        training_weights(Dataset(X, CLASSES), fold_of(50, 10), "balanced"),
    )
    np.testing.assert_array_equal(
        training_weights(Dataset(X, form(CLASSES)), fold, "balanced"), plain
    )
    named = training_weights(Dataset(X, form(CLASSES)), fold, {2: 5.0})
    np.testing.assert_array_equal(named, np.where(CLASSES == 2, 5.0, 1.0))


@pytest.mark.parametrize(
    ("y", "class_weight", "says"),
    [
        (VALUES, "balanced", r"class numbers \[n_rows\], or one-hot, got float64 of shape \(60,\)"),
        (np.tile([1, 1, 0], (60, 1)), "balanced", r"shape \(60, 3\); where a row may have several"),
        (CLASSES, {1: 2.0, 7: 1.0}, r"must name classes of y, got \[7\]; y has \[0, 1, 2\]"),
        (CLASSES, {"1": 2.0}, r"must name classes of y, got \['1'\]"),
    ],
)
def test_class_weights_need_classes(y, class_weight, says):
    with pytest.raises(BadInput, match=says):
        training_weights(Dataset(X, y), fold_of(50, 10), class_weight)
