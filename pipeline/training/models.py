"""The user's model: built from a seed, and checked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state

from pipeline.errors import BadInput
from pipeline.space import values
from pipeline.spec import StudySpec


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of a fold's initial weights and dropout masks: a function of both alone."""
    return int(np.random.SeedSequence([seed, fold]).generate_state(1)[0] >> 1)


def row_order(seed: int, fold: int, epoch: int, rows: np.ndarray) -> np.ndarray:
    """Return the order in which a fold sees its training rows in its `epoch`-th epoch (1-based).

    Another permutation each epoch. (`fit(shuffle=True)` on arrays under a global seed repeats the
    same one, which costs accuracy.)
    """
    return np.random.default_rng([seed, fold, epoch]).permutation(rows).astype(np.int32)


def build(spec: StudySpec, params: Mapping[str, Any], seed: int, batch: tuple) -> keras.Model:
    """Return a new model from the study's builder, with every variable it will ever have.

    batch: (x, y) or (x, y, sample_weight) of a batch's rows, for shapes and types
    Raises BadInput when the builder raises or what it returns cannot be trained.
    """
    model = call_builder(spec, params, seed)
    add_variables(model, batch)
    return model


def call_builder(spec: StudySpec, params: Mapping[str, Any], seed: int) -> keras.Model:
    """Return what the study's builder returns, its initial weights decided by the seed."""
    keras.utils.set_random_seed(seed)
    # Keras numbers names by how many objects were made before: `AUC()` is "auc", then "auc_1". A
    # metric must have one name in all trials. There is no public call that resets this alone.
    global_state.set_global_attribute("object_name_uids", None)
    try:
        model = spec.build_model(dict(params))
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(
            f"build_model({dict(params)}) raised {type(error).__name__}: {error}"
        ) from error
    _check(model)
    return model


def baked_in(spec: StudySpec, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of learning_rate and max_epochs the builder turns into more than a rate.

    A weight decay of fifty times the learning rate, say: then trials that differ in it cannot share
    a program. Seen by what the builder makes of the smallest and the largest value; what it hides
    in Python closures is not seen.
    """
    found = []
    for name in ("learning_rate", "max_epochs"):
        ends = {min(values(spec.space[name])), max(values(spec.space[name]))}
        if len(ends) > 1 and len({_recipe(spec, {**params, name: end}) for end in ends}) > 1:
            found.append(name)
    return tuple(found)


def _recipe(spec: StudySpec, params: Mapping[str, Any]) -> str:
    """Return what a model and its optimizer are made of, but for the learning rate, as text."""
    try:
        model = call_builder(spec, params, seed=0)
    except BadInput:  # a proposal that cannot be built fails by itself, when it comes
        return "cannot be built"
    parts: list[Any] = [_without_rate(optimizer_of(model).get_config())]
    with contextlib.suppress(NotImplementedError, TypeError):  # a subclass that does not say
        parts.append(model.get_config())
    return repr(parts)


def _without_rate(config: Any) -> Any:
    if isinstance(config, dict):
        return {k: _without_rate(v) for k, v in config.items() if k != "learning_rate"}
    return config


def add_variables(model: keras.Model, batch: tuple) -> None:
    """Build what is not built yet: layers, metrics, loss and optimizer, for rows like `batch`."""
    try:
        # What `fit` does before its first step: build layers, metrics, loss and optimizer from
        # shapes alone. There is no public call for it that does not also train.
        if model.run_eagerly:
            _build_by_values(model, *batch)  # its code may need values, not only shapes
        model._symbolic_build(data_batch=batch)
    except Exception as error:
        x, y = (np.shape(part) for part in batch[:2])
        raise BadInput(
            f"the model does not fit the data: x is [n, {dims(x)}], y is [n{dims(y, ', ')}], and "
            f"Keras says: {telling_line(error)}"
        ) from error
    optimizer = optimizer_of(model)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)


def _build_by_values(model: keras.Model, x: Any, y: Any, sample_weight: Any = None) -> None:
    y_pred = model(x)
    model.compute_loss(x, y, y_pred, sample_weight)
    model.compute_metrics(x, y, y_pred, sample_weight)
    model.reset_metrics()


def optimizer_of(model: keras.Model) -> keras.optimizers.Optimizer:
    """Return the optimizer that the search drives: the compiled one, or the one the model owns."""
    if model.optimizer is not None:
        return model.optimizer
    owned = [v for v in vars(model).values() if isinstance(v, keras.optimizers.Optimizer)]
    if len(owned) != 1:
        raise BadInput(
            "the model must have one optimizer for the search to drive its learning rate: compile "
            f"it with one, or keep one as an attribute; got {len(owned)} attributes"
        )
    return owned[0]


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer inside a loss-scaling one, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def trained_variables(model: keras.Model) -> list[tf.Variable]:
    """Return what training changes: weights, seed generators and optimizer slots.

    Not the learning rate, which is an input to every update.
    """
    optimizer = optimizer_of(model)
    rate = inner(optimizer)._learning_rate
    variables = [*model.variables, *(v for v in optimizer.variables if v is not rate)]
    return list({id(v.value): v.value for v in variables}.values())


def values_of(variables: Iterable[tf.Variable]) -> tuple:
    """Return the variables' values now, which no later assignment changes."""
    return tuple(variable.value() for variable in variables)


def assign(variables: Iterable[tf.Variable], values: Iterable[Any]) -> None:
    """Set each variable to its value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value, read_value=False)


def logged_names(model: keras.Model) -> list[str]:
    """Return the names of the scalar metrics in Keras's logs, `loss` first."""
    return [name for name, value in model.get_metrics_result().items() if np.ndim(value) == 0]


def labels(y: np.ndarray) -> np.ndarray:
    """Return y as `fit` hands it to a model: floats as float32, integers as they are."""
    return y.astype(np.float32) if y.dtype.kind == "f" else y


def _check(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise BadInput(f"build_model must return a keras.Model, got {type(model).__name__}")
    if not model.compiled:
        raise BadInput("build_model must return a compiled model: call model.compile(...) in it")
    if model._distribute_strategy is not None or tf.distribute.has_strategy():
        raise BadInput(
            "a model built under a tf.distribute strategy is not supported: the search places "
            "trials on devices itself; build the model outside strategy.scope()"
        )
    optimizer_of(model)


def dims(shape: tuple, before: str = "") -> str:
    """Return the dimensions after the rows: "8, 8" for [n, 8, 8]."""
    dims = ", ".join(str(d) for d in shape[1:])
    return before + dims if dims else ""


def telling_line(error: Exception) -> str:
    """Return the first line that is about this error: Keras wraps it in sentences about others."""
    lines = [line.strip(" '") for line in _COLOURS.sub("", str(error)).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_WRAPPING)]
    return telling[0] if telling else type(error).__name__


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WRAPPING = (
    "Exception encountered", "Unable to automatically build the model",
    "Graph execution error", "Detected at node", "File ", "Traceback",
)  # fmt: skip
