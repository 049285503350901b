"""Tiny data and tiny models for the tests of training.

Builders take the search's `params` and return a compiled model, as a study's do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from pipeline.data import Dataset
from pipeline.folds import Fold, split
from pipeline.spec import StudySpec
from pipeline.training import Engine, LockstepTraining, Mode, Setup, engine_for

N_COLUMNS, N_CLASSES = 6, 3


@dataclass(frozen=True)
class Case:
    """A study on tiny data, with one trial's parameters."""

    spec: StudySpec
    data: Dataset
    folds: tuple[Fold, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    def engine(self, mode: Mode = "plain", **options: Any) -> Engine:
        return engine_for(Setup(mode), self.spec, self.data, self.folds, **options)

    def training(self, engine: Engine, **changed: Any) -> LockstepTraining:
        params = {**self.params, **changed}
        return LockstepTraining(
            engine.program(params), params, self.folds,
            spec=self.spec,
        )  # fmt: skip

    def trained(
        self, n_epochs: int = 2, *, mode: Mode = "plain", **changed: Any
    ) -> LockstepTraining:
        """Return the training after some epochs, on an engine of its own."""
        return advanced(self.training(self.engine(mode), **changed), n_epochs)


def advanced(training: LockstepTraining, n_epochs: int) -> LockstepTraining:
    for _ in range(n_epochs):
        training.advance()
    return training


def all_curves(training: LockstepTraining) -> np.ndarray:
    """Return every metric's curves, [n_metrics, n_folds, n_epochs]."""
    return np.stack([training.history(name) for name in training.program.metric_names])


def row_losses(training: LockstepTraining, fold: int) -> np.ndarray:
    """Return the losses of a fold's validation rows after the last epoch."""
    read = training.last[fold].row_losses
    assert read is not None
    return read()


def case(
    build_model: Callable[[dict[str, Any]], Any],
    data: Dataset | None = None,
    *,
    n_rows: int = 44,
    batch_size: int = 8,
    learning_rate: float = 0.05,
    max_epochs: int = 3,
    folds: tuple[Fold, ...] | None = None,
    params: Mapping[str, Any] | None = None,
    **of_spec: Any,
) -> Case:
    """Return a study of `build_model` on two folds, by default with smaller last batches."""
    from sklearn.model_selection import KFold

    data = data or classes(n_rows)
    fixed = {
        "learning_rate": learning_rate,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        **(params or {}),
    }
    spec = StudySpec(
        load_data=lambda: data, build_model=build_model, space=fixed,
        **{"name": "test", "seed": 3, **of_spec},
    )  # fmt: skip
    if folds is None:
        folds = tuple(split(data, KFold(2, shuffle=True, random_state=0), spec.seed))
    return Case(spec, data, folds, fixed)


# --- data ---


def classes(n_rows: int = 44, **of_dataset: Any) -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(n_rows) % N_CLASSES
    x = rng.normal(size=(n_rows, N_COLUMNS)) + y[:, None]
    return Dataset(x, y, **of_dataset)


def images(n_rows: int = 44) -> Dataset:
    flat = classes(n_rows)
    return Dataset(np.repeat(flat.x[:, :, None, None], 6, axis=2), flat.y)


def numbers(n_rows: int = 44, *, column: bool = False) -> Dataset:
    flat = classes(n_rows)
    y = flat.x.sum(1) + 0.1
    return Dataset(flat.x, y[:, None] if column else y)


def tokens(n_rows: int = 44) -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(n_rows) % N_CLASSES
    return Dataset(rng.integers(0, 5, (n_rows, 4)) + 3 * y[:, None], y)


# --- models ---


def compiled(
    *layers: keras.Layer,
    params: Mapping[str, Any],
    shape: tuple = (N_COLUMNS,),
    optimizer: Any = None,
    loss: Any = "sparse_categorical_crossentropy",
    metrics: Any = ("accuracy",),
    kind: type[keras.Model] | None = None,
    dtype: str | None = None,
) -> keras.Model:
    """Return the layers in a row, compiled; momentum is state that could be lost."""
    if kind is None:
        model = keras.Sequential([keras.Input(shape, dtype=dtype), *layers])
    else:
        x = inputs = keras.Input(shape, dtype=dtype)
        for layer in layers:
            x = layer(x)
        model = kind(inputs, x)
    model.compile(
        optimizer=optimizer or keras.optimizers.SGD(params["learning_rate"], momentum=0.9),
        loss=loss,
        metrics=list(metrics) or None,
    )
    return model


def softmax() -> keras.Layer:
    return keras.layers.Dense(N_CLASSES, activation="softmax")


def hidden(**options: Any) -> keras.Layer:
    return keras.layers.Dense(8, **{"activation": "tanh", **options})


def dense(params: Mapping[str, Any]) -> keras.Model:
    return compiled(hidden(), softmax(), params=params)


def convolutional(params: Mapping[str, Any]) -> keras.Model:
    return compiled(
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        softmax(),
        params=params,
        shape=(N_COLUMNS, 6, 1),
    )


def batch_normalised(params: Mapping[str, Any]) -> keras.Model:
    return compiled(hidden(), keras.layers.BatchNormalization(), softmax(), params=params)


def dropout(params: Mapping[str, Any]) -> keras.Model:
    rate = params.get("dropout", 0.3)
    return compiled(hidden(), keras.layers.Dropout(rate), softmax(), params=params)


def regularised(params: Mapping[str, Any]) -> keras.Model:
    l2 = keras.regularizers.L2(params.get("l2", 0.1))
    return compiled(hidden(kernel_regularizer=l2), softmax(), params=params)


def regression(params: Mapping[str, Any]) -> keras.Model:
    return compiled(hidden(), keras.layers.Dense(1), params=params, loss="mse", metrics=["mae"])


def with_every_state(params: Mapping[str, Any]) -> keras.Model:
    """Return a model with every kind of state: weights, statistics, seeds, slots, averages."""
    rate = params["learning_rate"]
    return compiled(
        hidden(), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3), softmax(),
        params=params,
        optimizer=keras.optimizers.Adam(rate, use_ema=True, gradient_accumulation_steps=2),
    )  # fmt: skip
