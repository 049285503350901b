"""The reference: Keras's own `fit`, on the rows in the order that the search uses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.data import take_rows
from pipeline.folds import Fold
from pipeline.nest import Nest
from pipeline.training import LockstepTraining, Mode
from pipeline.training.models import fold_seed, row_order
from tests.training.models import Case

Rates = Callable[[Fold, int, int], float]
"""(fold, epochs before, update in the epoch) -> learning rate."""


@dataclass
class Fitted:
    """One fold's curves by name, each [n_epochs], and the model at the end."""

    curves: dict[str, list[float]]
    model: keras.Model


def some_long(names: Iterable[str], quick: Sequence[str]) -> list[Any]:
    """Mark all but the quick ones as long: the same code again, for completeness."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.long) for name in names]


def fit(
    case: Case,
    fold: Fold,
    n_epochs: int,
    *,
    jit: bool = False,
    x: Nest | None = None,
    train_weight: np.ndarray | None = None,
    rates: Rates | None = None,
) -> Fitted:
    """Train a new model by `fit`, one epoch at a time, each on its own permutation of the rows.

    train_weight: [n_rows] in place of the data's sample weights, in training only
    rates: the learning rate of every update; None leaves the optimizer alone
    """
    data, spec = case.data, case.spec
    x = data.x if x is None else x
    weight = data.sample_weight
    train_weight = weight if train_weight is None else train_weight
    keras.config.set_dtype_policy(spec.dtype_policy or "float32")
    keras.utils.set_random_seed(fold_seed(spec.seed, fold.index))
    model = spec.build_model(dict(case.params))
    model.jit_compile = jit
    held = [take_rows(part, fold.validation) for part in (x, data.y, weight) if part is not None]
    raw = _RawWeights()
    curves: dict[str, list[float]] = {}
    for epoch in range(n_epochs):
        order = row_order(spec.seed, fold.index, epoch + 1, fold.train)
        callbacks: list[Any] = [raw]
        if rates is not None:
            callbacks.append(_Rates(functools.partial(rates, fold, epoch)))
        logs = model.fit(
            take_rows(x, order),
            take_rows(data.y, order),
            sample_weight=None if train_weight is None else take_rows(train_weight, order),
            class_weight=spec.class_weight if train_weight is None else None,
            batch_size=case.params["batch_size"],
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        ).history
        # After `fit`, so that averaged weights are in place, as for whoever stops here.
        logs = {name: values[0] for name, values in logs.items()}
        held_logs = {}
        if len(fold.validation):
            held_logs = model.evaluate(
                *held[:2],
                sample_weight=held[2] if len(held) > 2 else None,
                batch_size=spec.validation_batch_size or case.params["batch_size"],
                verbose=0,
                return_dict=True,
            )
        for name, value in {**logs, **{f"val_{k}": v for k, v in held_logs.items()}}.items():
            curves.setdefault(name, []).append(value)
        if epoch + 1 < n_epochs:
            raw.put_back()
    keras.config.set_dtype_policy("float32")
    return Fitted(curves, model)


def assert_equals_fit(
    case: Case,
    *,
    every_fold: bool = False,
    n_epochs: int = 3,
    mode: Mode = "plain",
    atol: float = 0.0,
    **of_fit: Any,
) -> LockstepTraining:
    """Train all folds in lockstep; compare with `fit` of each, or of the last, to save time."""
    training = case.trained(n_epochs, mode=mode)
    for fold in case.folds if every_fold else case.folds[-1:]:
        fitted = fit(case, fold, n_epochs, jit=mode == "xla", **of_fit)
        assert set(fitted.curves) == set(training.program.metric_names)
        for name, curve in fitted.curves.items():
            np.testing.assert_allclose(
                training.history(name)[fold.index], curve, rtol=0, atol=atol,
                err_msg=f"{name} of fold {fold.index}",
            )  # fmt: skip
        model = training.program.model(fold.index, training.states[fold.index], case.params)
        for ours, theirs in zip(model.weights, fitted.model.weights, strict=True):
            np.testing.assert_allclose(
                np.array(ours), np.array(theirs), rtol=0, atol=atol, err_msg=ours.path
            )
    return training


class _RawWeights(keras.callbacks.Callback):
    """Remembers the weights before `fit` overwrites them with their moving averages, at its end."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.weights = [np.array(weight) for weight in self.model.trainable_weights]

    def put_back(self) -> None:
        for weight, value in zip(self.model.trainable_weights, self.weights, strict=True):
            weight.assign(value)


class _Rates(keras.callbacks.Callback):
    def __init__(self, rate: Callable[[int], float]) -> None:
        super().__init__()
        self.rate = rate

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = self.rate(batch)
