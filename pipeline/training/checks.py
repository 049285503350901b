"""Model, labels and metric, checked against each other before anything is trained."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from pipeline.data import Dataset, labelled
from pipeline.errors import BadInput, unknown_name
from pipeline.folds import Fold
from pipeline.lazy_rows import LazyRows
from pipeline.nest import Nest
from pipeline.scoring import Scoring
from pipeline.spec import StudySpec
from pipeline.training.adapted import AdaptedLayers, fold_rows
from pipeline.training.architectures import typical_params
from pipeline.training.augmented import check_augment
from pipeline.training.check_parts import check_parts, compared, embedded
from pipeline.training.learnt import check_layers
from pipeline.training.models import (
    add_variables,
    call_builder,
    dims,
    first_rows,
    fold_seed,
    labels,
    logged_names,
    under_policy,
)
from pipeline.training.outputs import meaning_of, row_shape


def check_model(spec: StudySpec, data: Dataset, fold: Fold) -> keras.Model:
    """Build the model for parameters from the middle of the space and return it.

    Raises BadInput when it cannot be built, does not fit the data or the labels, or does not log
    the monitored metric.
    """
    x, preprocess = fold_rows(spec, data, fold)
    params = typical_params(spec)
    model = call_builder(spec, params, fold_seed(spec.seed, fold.index))
    # First: their messages are about inputs and labels, Keras's about tensors.
    check_parts(model, x, data.y, data.sample_weight)
    check_labels(model, data.y)
    check_layers(model)
    n_rows = int(params["batch_size"])  # a model may be made for batches of this size alone
    with under_policy(spec):
        add_variables(model, (first_rows(x, n_rows), labels(first_rows(data.y, n_rows))))
    check_embeddings(model, x, preprocess)
    check_augment(spec, x, data.y, fold.train[:n_rows])
    check_objective(model, spec.objective.metric, spec.scorers)
    return model


def check_objective(model: keras.Model, metric: str, scorers: Collection[str] = ()) -> None:
    """Raise BadInput, naming the nearest, when nothing measures the monitored metric, or two do."""
    logged = logged_names(model)
    if twice := sorted({*logged}.intersection(scorers)):
        raise BadInput(
            f"scorers must have names that the model does not log, got {', '.join(twice)}; the "
            f"model logs {', '.join(logged)}"
        )
    names = [f"val_{name}" for name in (*logged, *scorers)]
    if metric not in names:
        raise unknown_name("objective.metric", metric, names)


def check_scorers(
    spec: StudySpec, data: Dataset, folds: Sequence[Fold], test: Dataset | None = None
) -> None:
    """Raise BadInput unless each scorer has a value on each fold's validation rows, and the test's.

    The area under a curve has none where all rows are of one class, say.
    """
    if not spec.scorers:
        return
    x, _ = fold_rows(spec, data, folds[0])
    params = typical_params(spec)
    model = call_builder(spec, params, spec.seed)
    n_rows = int(params["batch_size"])
    x = first_rows(x, n_rows)
    with under_policy(spec):
        add_variables(model, (x, labels(first_rows(data.y, n_rows))))
        shape = row_shape(model, x)
    scoring = Scoring(spec.scorers, meaning_of(model, data.y))
    for fold in folds:
        y, weight = labelled(data, fold.validation)
        where = f"the validation rows of fold {fold.index}"
        scoring.check(scoring.truth(y, weight, shape), shape, where)
    if test is not None:
        scoring.check(scoring.truth(test.y, test.sample_weight, shape), shape, "the test rows")


def check_labels(model: keras.Model, y: Nest) -> None:
    """Raise BadInput when labels and the model's outputs cannot be compared by its losses.

    Keras would broadcast a [n] target against [n, 3] outputs, or read class 10 of 10 past the end,
    and train on nonsense.
    """
    for name, loss, output, labels_of_it in compared(model, y):
        compared_by = keras.losses.get(loss)
        kind = compared_by if isinstance(compared_by, types.FunctionType) else type(compared_by)
        # Only Keras's own losses are known by their names.
        if kind.__module__.startswith("keras."):
            _check_one(name, labels_of_it, output, _snake(kind.__name__))


def check_embeddings(model: keras.Model, x: Nest, preprocess: Any) -> None:
    """Raise BadInput when an embedding has no vector for a number of its input.

    TensorFlow would give zeros on GPUs, and the last vector under XLA.
    preprocess: what was fitted: in another fold, and for the refit, a vocabulary may be full
    """
    for name, layer, part in embedded(model, x):
        fitted = preprocess.get(name) if isinstance(preprocess, Mapping) else preprocess
        n_tokens = fitted.n_tokens if isinstance(fitted, AdaptedLayers) else 0
        blocks = part.blocks() if isinstance(part, LazyRows) else [part]
        ends = [(int(block.min()), int(block.max())) for block in blocks]
        least, most = min(low for low, _ in ends), max(n_tokens - 1, *(high for _, high in ends))
        if most >= layer.input_dim or least < 0:
            where = f"X[{name!r}]" if isinstance(x, dict) else f"X[{name}]" if name else "X"
            advice = f": the layer in preprocess may give {n_tokens} tokens" if n_tokens else ""
            raise BadInput(
                f"{layer.name!r}, an Embedding of {layer.input_dim}, needs numbers in "
                f"0..{layer.input_dim - 1}, got {least}..{most} in {where}{advice}"
            )


def _check_one(name: str, y: np.ndarray, output: tuple, loss: str) -> None:
    described = f"loss {loss} with model output [n{dims((None, *output), ', ')}]"
    got = f"got {name} of shape [n{dims(y.shape, ', ')}], dtype {y.dtype}"
    if loss == "sparse_categorical_crossentropy":
        _check_sparse(y, output, described, got)
        return
    if not _same_up_to_ones(output, y.shape[1:]):
        raise BadInput(f"{described} needs y of the output's shape, {got}{_advice(loss, y)}")
    if "crossentropy" in loss and (y.min() < 0 or y.max() > 1):
        raise BadInput(f"{described} needs y in 0..1, {got}, from {y.min()} to {y.max()}")


def _check_sparse(y: np.ndarray, output: tuple, described: str, got: str) -> None:
    n_classes = output[-1]
    whole = y.dtype.kind in "iub" or bool((y == np.rint(y)).all())
    if not whole:
        raise BadInput(f"{described} needs y as whole class numbers, {got}")
    if not _same_up_to_ones(output[:-1], y.shape[1:]):
        raise BadInput(f"{described} needs one class number per row, {got}; is y one-hot?")
    if y.min() < 0 or y.max() >= n_classes:
        raise BadInput(
            f"{described} needs classes 0..{n_classes - 1}, {got}, from {y.min()} to {y.max()}"
        )


def _same_up_to_ones(a: tuple, b: tuple) -> bool:
    """Whether two shapes hold the same numbers in the same order: [n] and [n, 1] do."""
    return tuple(d for d in a if d != 1) == tuple(d for d in b if d != 1)


def _advice(loss: str, y: np.ndarray) -> str:
    if loss == "categorical_crossentropy" and y.ndim == 1:
        return "; for class numbers use sparse_categorical_crossentropy"
    return ""


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
