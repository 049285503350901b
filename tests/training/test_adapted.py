"""Keras's layers as `preprocess`: each fold's training rows decide, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import Fold
from pipeline.training.adapted import AdaptedLayers, fold_rows
from tests.training.models import advanced, case, compiled, softmax

layers = keras.layers
FOLD = Fold(0, np.arange(8), np.arange(8, 12))
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(12, 3))
WHOLE = RNG.integers(0, 9, (12, 1))
TEXTS = np.array([f"a {word} film, no. {i % 5}" for i, word in enumerate("abcabcabcxyz")], object)


def seen(preprocess: Any, x: Any, fold: Fold = FOLD) -> Any:
    """Return all rows as the fold's model sees them, and what was fitted."""
    spec: Any = SimpleNamespace(preprocess=preprocess)
    return fold_rows(spec, Dataset(x, np.arange(len(x)) % 2), fold)


def text(mode: str = "int", **options: Any) -> Any:
    own = {"output_sequence_length": 6} if mode == "int" else {"pad_to_max_tokens": True}
    options = {**own, **options}
    return lambda: layers.TextVectorization(max_tokens=9, output_mode=mode, **options)


EVERY = {
    "Normalization": (lambda: layers.Normalization(), NUMBERS),
    "Normalization, an instance": (layers.Normalization(), NUMBERS),
    "Discretization": (lambda: layers.Discretization(num_bins=4), NUMBERS),
    "IntegerLookup": (lambda: layers.IntegerLookup(max_tokens=6), WHOLE),
    "StringLookup": (lambda: layers.StringLookup(max_tokens=9), TEXTS),
    "TextVectorization, int": (text(), TEXTS),
    "TextVectorization, multi_hot": (text("multi_hot"), TEXTS),
    "TextVectorization, tf_idf": (text("tf_idf"), TEXTS),
    "Sequential": (
        lambda: keras.Sequential([layers.Rescaling(3.0), layers.Normalization()]),
        NUMBERS,
    ),
    "Pipeline": (
        lambda: layers.Pipeline(
            [layers.StringLookup(max_tokens=9), layers.CategoryEncoding(9, "one_hot")]
        ),
        TEXTS,
    ),
}
every_layer = pytest.mark.parametrize(("preprocess", "x"), EVERY.values(), ids=EVERY)


# --- what a fold knows ---


def leaks(preprocess_for: Any, x: np.ndarray) -> bool:
    """Whether other validation rows change a bit of what a fold trains on.

    preprocess_for: all rows -> what a study gives as `preprocess`
    """
    changed = x.copy()
    changed[FOLD.validation] = x[0] if x.dtype == object else x[FOLD.validation] * 7 + 5
    before, after = (seen(preprocess_for(each), each)[0] for each in (x, changed))
    assert not np.array_equal(before[FOLD.validation], after[FOLD.validation])
    return before[FOLD.train].tobytes() != after[FOLD.train].tobytes()


@every_layer
def test_no_validation_row_changes_a_bit_of_what_a_fold_trains_on(preprocess, x):
    assert not leaks(lambda all_rows: preprocess, x)


def test_a_planted_leak_is_seen():
    assert not leaks(lambda all_rows: StandardScaler(), NUMBERS)
    assert leaks(lambda all_rows: FunctionTransformer(StandardScaler().fit(all_rows).transform),
                 NUMBERS)  # fmt: skip

    def vocabulary(all_rows):
        layer = text()()
        layer.adapt(all_rows)
        return lambda: text(vocabulary=layer.get_vocabulary())()

    assert not leaks(lambda all_rows: text(), TEXTS)
    assert leaks(vocabulary, TEXTS)


def test_a_training_on_texts_knows_no_validation_row():
    def build(params):
        mean_of_words = layers.Embedding(9, 4), layers.GlobalAveragePooling1D()
        return compiled(*mean_of_words, softmax(), params=params, shape=(6,), metrics=[])

    def weights(texts):
        data = Dataset(texts, np.arange(12) % 3)
        case_ = case(build, data, folds=(FOLD,), preprocess=text())
        training = advanced(case_.training(case_.engine()), 2)
        return training.program.model(0, training.states[0], case_.params).get_weights()

    changed = TEXTS.copy()
    changed[FOLD.validation] = TEXTS[0]
    for ours, theirs in zip(weights(TEXTS), weights(changed), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_layer
def test_it_is_adapted_anew_to_the_same_bits(preprocess, x):
    (first, fitted), (again, _) = seen(preprocess, x), seen(preprocess, x)
    assert first.tobytes() == again.tobytes()
    assert fitted.transform(x[:5]).astype(first.dtype).tobytes() == first[:5].tobytes()


@every_layer
def test_rows_that_go_through_in_parts_are_the_same_bits(preprocess, x, monkeypatch):
    whole, _ = seen(preprocess, x)
    monkeypatch.setattr("pipeline.training.adapted.ROWS_AT_ONCE", 5)
    assert seen(preprocess, x)[0].tobytes() == whole.tobytes()


def test_it_is_what_keras_makes_of_the_training_rows():
    for mode in ("int", "multi_hot", "tf_idf"):
        layer = text(mode)()
        layer.adapt(TEXTS[FOLD.train])
        np.testing.assert_array_equal(seen(text(mode), TEXTS)[0], np.asarray(layer(TEXTS)))


def test_a_layer_that_is_given_is_copied():
    layer = layers.Normalization()
    _, fitted = seen(layer, NUMBERS)
    assert not layer.built
    np.testing.assert_allclose(fitted.layers[0].mean[0], NUMBERS[:8].mean(0), rtol=1e-6)


def test_texts_may_come_in_any_array():
    expected = seen(text(), TEXTS)[0]
    for given in (
        TEXTS.tolist(),
        TEXTS.astype(str),
        TEXTS.astype(np.dtypes.StringDType()),
        pd.Series(TEXTS),
        pd.DataFrame({"said": TEXTS}),
    ):
        np.testing.assert_array_equal(seen(text(), given)[0], expected)


def test_counts_of_tokens_are_float32_and_dense():
    rows, _ = seen(text("multi_hot", sparse=True), TEXTS)
    assert (rows.dtype, rows.shape) == (np.float32, (12, 9))


# --- what is kept ---


@every_layer
def test_it_is_saved_and_loaded_in_safe_mode_to_the_same_bits(preprocess, x, tmp_path):
    _, fitted = seen(preprocess, x)
    fitted.save(tmp_path / "layers.keras")
    loaded = fitted.loaded(tmp_path / "layers.keras")
    assert loaded.transform(x).tobytes() == fitted.transform(x).tobytes()


@pytest.mark.parametrize("mode", ["int", "tf_idf"])
def test_tokens_that_hold_the_end_of_a_line_are_kept(mode, tmp_path):
    """Keras writes a vocabulary as lines, and reads such a token as two."""
    texts = TEXTS + " good\u2028film\x85good film"
    _, fitted = seen(text(mode), texts)
    fitted.save(tmp_path / "layers.keras")
    loaded = fitted.loaded(tmp_path / "layers.keras")
    assert any("\u2028" in word for word in loaded.layers[0].get_vocabulary())
    assert loaded.transform(texts).tobytes() == fitted.transform(texts).tobytes()


# --- what is refused ---


def adapted(layer: Any, x: Any) -> Any:
    layer.adapt(x)
    return layer


COMMON = "one shape, so TextVectorization needs"


@pytest.mark.parametrize(
    ("preprocess", "x", "says"),
    [
        (lambda: layers.TextVectorization(9), TEXTS, f"{COMMON} output_sequence_length"),
        (lambda: layers.TextVectorization(output_sequence_length=6), TEXTS, f"{COMMON} max_tokens"),
        (text("multi_hot", pad_to_max_tokens=False), TEXTS, f"{COMMON} pad_to_max_tokens=True"),
        (layers.Normalization(), NUMBERS[:, 0], "needs an axis of columns, or None"),
        (adapted(layers.Normalization(), NUMBERS), NUMBERS, "learnt nothing yet, .* Normalizat"),
        (lambda: adapted(layers.Discretization(num_bins=3), NUMBERS), NUMBERS, "got Discretizat"),
        (lambda: adapted(text()(), TEXTS), TEXTS, "got TextVectorization with what it learnt"),
        (layers.Dense(2), NUMBERS, "no weights to train, got Dense with 2"),
        (lambda: keras.Sequential([keras.Sequential([])]), NUMBERS, "got the model Sequential"),
        (lambda: 1 / 0, NUMBERS, r"preprocess\(\) raised ZeroDivisionError"),
        (lambda: "scale", NUMBERS, r"preprocess\(\) must return a layer .* got 'scale'"),
        (lambda: {"a": layers.Normalization()}, NUMBERS, "each has a function of its own"),
        (text(), np.array([*TEXTS[1:], None], object), "texts, str in .* NoneType in row 11"),
        (text(), np.full(12, "!", object), "nothing to learn in the training rows"),
        (text(), np.stack([TEXTS, TEXTS], 1), "cannot transform X: When using `TextVectorization`"),
        (layers.Normalization(), NUMBERS * np.nan, "X must be finite, got 36 NaN"),
        (lambda: layers.StringLookup(max_tokens=9, num_oov_indices=0), TEXTS, "found OOV values"),
        (None, TEXTS, "X must be numbers, got dtype object .*TextVectorization"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(preprocess, x, says):
    with pytest.raises(BadInput, match=says) as error:
        seen(preprocess, x)
    assert "\n" not in str(error.value)


def test_a_feature_space_is_refused_with_what_to_use_instead():
    def space() -> Any:
        features = {"job": keras.utils.FeatureSpace.string_categorical()}
        return keras.utils.FeatureSpace(features, output_mode="concat")

    data = Dataset({"job": TEXTS}, np.arange(12) % 2)
    for preprocess in (space, {"job": space}, space()):
        spec: Any = SimpleNamespace(preprocess=preprocess)
        with pytest.raises(BadInput, match=r"got a FeatureSpace.* use scikit-learn's Column"):
            fold_rows(spec, data, FOLD)


def test_a_layer_with_a_vocabulary_must_come_from_a_function():
    """Making one starts TensorFlow, whose threads are set later."""
    for layer in (text()(), layers.Pipeline([text()()])):
        with pytest.raises(BadInput, match=r"returns the TextVectorization, .* lambda: TextVect"):
            case(lambda params: None, preprocess=layer)


def test_the_same_layer_is_the_same_study_whatever_its_name():
    def signature(layer):
        spec = case(lambda params: None, preprocess=layer).spec
        return spec.signature(data_fingerprint="", splits_hash="")

    assert signature(layers.Normalization(name="a")) == signature(layers.Normalization(name="b"))
    assert signature(layers.Normalization()) != signature(layers.Normalization(axis=None))


def test_a_vocabulary_that_is_known_beforehand_is_kept():
    preprocess = text(vocabulary=["film", "zzz"])
    rows, fitted = seen(preprocess, TEXTS)
    assert fitted.layers[0].get_vocabulary() == ["", "[UNK]", "film", "zzz"]
    assert (rows[:, 2] == 2).all()


def test_a_function_may_return_a_transformer():
    np.testing.assert_array_equal(
        seen(lambda: StandardScaler(), NUMBERS)[0],
        seen(StandardScaler(), NUMBERS)[0],
    )


def test_rows_of_another_shape_in_another_fold_are_refused():
    x = np.array([["a"], ["b"]] * 5 + [["c"], ["a"]])
    folds = (FOLD, Fold(1, np.arange(4, 12), np.arange(4)))
    one_hot = OneHotEncoder(handle_unknown="ignore")
    case_ = case(
        lambda params: None, Dataset(x, np.arange(12) % 3), folds=folds, preprocess=one_hot
    )
    with pytest.raises(
        BadInput, match=r"got X of shape \(12, 3\) in fold 1 and \(12, 2\) in fold 0"
    ):
        case_.engine()


def test_its_name_is_that_of_its_layers():
    assert repr(seen(EVERY["Pipeline"][0], TEXTS)[1]) == "StringLookup → CategoryEncoding"
    assert repr(AdaptedLayers(text)) == "text"
