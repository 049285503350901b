"""Keras's preprocessing layers as `preprocess`: adapted to a fold's training rows, applied once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.data import Dataset, refuse_not_finite
from pipeline.errors import BadInput
from pipeline.fields import is_function, is_layer
from pipeline.folds import Fold
from pipeline.lazy_rows import dense
from pipeline.nest import Nest, is_several
from pipeline.preprocessing import preprocessed
from pipeline.spec import StudySpec
from pipeline.training.devices import HOST
from pipeline.training.learnt import LOOKUPS, knowledge
from pipeline.training.models import telling_line

ROWS_AT_ONCE = 4096
"""That go through the layers together: what is between text and numbers is larger than both."""


def fold_rows(spec: StudySpec, data: Dataset, fold: Fold) -> tuple[Nest, Any]:
    """Return all rows as the fold's model sees them, and what was fitted, as `preprocessed`.

    Raises BadInput when `preprocess` cannot be used.
    """
    preprocess = _transformers(spec.preprocess)
    inputs = {"X": (data.x, preprocess)}
    if isinstance(preprocess, Mapping) and isinstance(data.x, dict):
        inputs = {f"X[{k!r}]": (x, preprocess.get(k)) for k, x in data.x.items()}
    for name, (x, transformer) in inputs.items():
        if isinstance(transformer, AdaptedLayers) and not is_several(x):
            _check_rows(name, np.asarray(dense(x)))
    return preprocessed(data, fold, preprocess)


class AdaptedLayers:
    """A Keras layer, or several in turn, as a scikit-learn transformer.

    made_of: a function that returns the layer, or the layer, which is copied and never adapted
    layers: what was adapted, in turn; empty before `fit`
    """

    def __init__(self, made_of: Any, layers: Sequence[keras.Layer] = ()) -> None:
        self.made_of = made_of
        self.layers = list(layers)

    def __sklearn_clone__(self) -> AdaptedLayers:
        return AdaptedLayers(self.made_of)

    def __repr__(self) -> str:
        names = [type(layer).__name__ for layer in self.layers]
        return " → ".join(names) or getattr(self.made_of, "__name__", repr(self.made_of))

    @property
    def n_tokens(self) -> int:
        """Tokens that the rows may hold as numbers, 0 where they are no tokens' numbers."""
        last = self.layers[-1]
        config = last.get_config()
        if not isinstance(last, LOOKUPS) or config["output_mode"] != "int":
            return 0
        return int(config["max_tokens"] or last.vocabulary_size())

    def fit(self, x: Any, y: Any = None) -> AdaptedLayers:
        """Make the layers anew and adapt each to what those before it make of the rows.

        Raises BadInput or ValueError when a layer cannot be adapted, would give other shapes in
        another fold, or has weights to train.
        """
        rows, self.layers = np.asarray(dense(x)), []
        with _on_the_host():
            for layer in _new_layers(self.made_of):
                if self.layers:
                    rows = _applied(self.layers[-1:], rows)
                self.layers.append(_adapted(layer, rows))
        return self

    def transform(self, x: Any) -> np.ndarray:
        """Return rows as the last layer gives them."""
        with _on_the_host():
            return _applied(self.layers, np.asarray(dense(x)))

    def save(self, path: Path) -> None:
        """Write the layers to a `.keras` file."""
        in_turn = keras.layers.Pipeline(self.layers)
        in_turn.built = True  # its layers are, and it has nothing of its own
        keras.saving.save_model(in_turn, path)

    def loaded(self, path: Path) -> AdaptedLayers:
        """Return what `save` wrote, read in Keras's safe mode."""
        in_turn = keras.saving.load_model(path, safe_mode=True)
        return AdaptedLayers(self.made_of, in_turn.layers)


def _transformers(preprocess: Any) -> Any:
    """Return what a study gives as `preprocess` as scikit-learn transformers."""
    if isinstance(preprocess, Mapping):
        return {name: _transformers(each) for name, each in preprocess.items()}
    made = _called(preprocess) if is_function(preprocess) else preprocess
    if isinstance(made, keras.utils.FeatureSpace):
        raise BadInput(
            "preprocess must give all rows of all folds one shape, got a FeatureSpace, which is as "
            "wide as there are levels in a fold's training rows: of a frame use scikit-learn's "
            "ColumnTransformer with OneHotEncoder(categories=[…]); of a dict of inputs a layer for "
            'each, such as {"job": lambda: keras.layers.StringLookup(max_tokens=…)}'
        )
    return AdaptedLayers(preprocess) if is_layer(made) else made


def _called(function: Callable[[], Any]) -> Any:
    try:
        made = function()
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"preprocess() raised {type(error).__name__}: {error}") from error
    is_transformer = hasattr(made, "fit") and hasattr(made, "transform")
    if isinstance(made, type) or not (is_transformer or isinstance(made, keras.Layer)):
        raise BadInput(
            "preprocess() must return a layer of Keras or a scikit-learn transformer, got "
            f"{made!r}; of several inputs each has a function of its own"
        )
    return made


def _new_layers(made_of: Any) -> list[keras.Layer]:
    """Return layers that have learnt nothing yet, in turn."""
    is_copied = is_layer(made_of)
    made = made_of if is_copied else _called(made_of)
    layers = made.layers if isinstance(made, keras.Sequential | keras.layers.Pipeline) else [made]
    for layer in layers:
        name = type(layer).__name__
        if isinstance(layer, keras.Model):
            raise BadInput(
                "preprocess must be a layer of Keras, or a Sequential or Pipeline of layers, got "
                f"the model {name}"
            )
        if knowledge(layer) == "learnt":
            raise BadInput(
                f"preprocess must be a layer that has learnt nothing yet, a new one at each call, "
                f"got {name} with what it learnt before; a vocabulary that is known beforehand "
                "goes to its constructor, as a list"
            )
    return [type(each).from_config(each.get_config()) for each in layers] if is_copied else layers


def _adapted(layer: keras.Layer, rows: np.ndarray) -> keras.Layer:
    """Return the layer, adapted to these rows if it has something to learn."""
    _check_one_shape(layer, rows)
    if knowledge(layer) == "missing":
        layer.adapt(rows)
        if isinstance(layer, LOOKUPS):
            layer = _with_its_vocabulary(layer)
    _applied([layer], rows[:1])  # this builds it
    if layer.trainable_weights:
        raise BadInput(
            f"preprocess must have no weights to train, got {type(layer).__name__} with "
            f"{len(layer.trainable_weights)}: layers that are trained belong to the model"
        )
    return layer


def _check_one_shape(layer: keras.Layer, rows: np.ndarray) -> None:
    """Refuse a layer that would not give all rows, in all folds and the refit, one shape."""
    config = layer.get_config()
    gives_tokens = config.get("output_mode", "int") == "int"
    needs = ""
    match layer:
        case keras.layers.TextVectorization() if gives_tokens and (
            config["ragged"] or config["output_sequence_length"] is None
        ):
            needs = "output_sequence_length, and ragged=False: texts differ in length"
        case _ if isinstance(layer, LOOKUPS) and knowledge(layer) == "missing":
            if config["max_tokens"] is None:
                needs = "max_tokens: each fold has more or fewer"
            elif not gives_tokens and not config["pad_to_max_tokens"]:
                needs = "pad_to_max_tokens=True: a fold may have fewer tokens"
        case keras.layers.Normalization() if any(axis % rows.ndim == 0 for axis in layer.axis):
            needs = f"an axis of columns, or None, in place of {layer.axis}: that is the rows'"
    if needs:
        raise BadInput(
            f"preprocess must give all rows of all folds one shape, so {type(layer).__name__} "
            f"needs {needs}"
        )


def _with_its_vocabulary(layer: keras.Layer) -> keras.Layer:
    """Return the layer anew, its vocabulary given to the constructor: so it is in its config.

    Keras saves an adapted vocabulary as lines of text, and tokens that hold a line's end (also
    U+2028, which web pages have) come back as two.
    """
    vocabulary = layer.get_vocabulary()
    if knowledge(layer) == "missing":
        raise ValueError("there is nothing to learn in the training rows: they hold no token")
    config = {**layer.get_config(), "vocabulary": vocabulary}
    weights: dict[str, Any] = {}
    layer.save_own_variables(weights)
    if weights:  # of tf_idf; those that only pad are added again
        config["idf_weights"] = weights["idf_weights"][: len(vocabulary)].tolist()
    return type(layer)(**config)


def _applied(layers: Sequence[keras.Layer], rows: np.ndarray) -> np.ndarray:
    """Return what the layers make of rows."""
    result = np.empty(0)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part: Any = rows[start : start + ROWS_AT_ONCE]
        for layer in layers:
            part = layer(part)
        array = keras.ops.convert_to_numpy(part)  # a sparse one as a dense one
        if start == 0:
            result = np.empty((len(rows), *array.shape[1:]), _dtype(layers[-1], array.dtype))
        result[start : start + len(array)] = array
    return result


def _dtype(layer: keras.Layer, given: np.dtype) -> np.dtype:
    """Return the type to keep rows in: counts and marks of tokens come as int64, twice as large."""
    is_count = given.kind in "iu" and layer.get_config().get("output_mode", "int") != "int"
    return np.dtype(np.float32) if is_count else given


def _check_rows(name: str, rows: np.ndarray) -> None:
    """Refuse what layers cannot take, and missing numbers, which Discretization has a bin for."""
    refuse_not_finite(name, rows)
    if rows.dtype.kind != "O":
        return
    flat = rows.ravel()
    other = next((i for i, each in enumerate(flat) if not isinstance(each, str | bytes)), None)
    if other is not None:
        raise BadInput(
            f"{name} must be texts, str in every row, got {type(flat[other]).__name__} in row "
            f"{other * len(rows) // flat.size}"
        )


@contextmanager
def _on_the_host() -> Iterator[None]:
    """Run layers on the processor, where texts are, and end in one line what they raise."""
    try:
        with tf.device(HOST):
            yield
    except BadInput:
        raise
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise ValueError(telling_line(error)) from error
