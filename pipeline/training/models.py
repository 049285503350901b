"""The user's model: built from a seed, and checked."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.trainers.trainer import Trainer

from pipeline.errors import BadInput
from pipeline.lazy_rows import in_memory
from pipeline.nest import Nest, by_name, map_parts, parts
from pipeline.space import values
from pipeline.spec import StudySpec
from pipeline.training.learnt import refusing_adapt


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of a fold's initial weights and dropout masks: a function of both alone."""
    return int(np.random.SeedSequence([seed, fold]).generate_state(1)[0] >> 1)


def row_order(seed: int, fold: int, epoch: int, rows: np.ndarray) -> np.ndarray:
    """Return the order in which a fold sees its training rows in its `epoch`-th epoch (1-based).

    Another permutation each epoch. (`fit(shuffle=True)` on arrays under a global seed repeats the
    same one, which costs accuracy.)
    """
    return np.random.default_rng([seed, fold, epoch]).permutation(rows).astype(np.int32)


@contextmanager
def under_policy(spec: StudySpec) -> Iterator[None]:
    """Build and trace under the study's dtype policy; the global one is as before afterwards.

    Keras reads the global policy when a layer is made, which may be in a trace, and when a model
    is compiled: with "mixed_float16" it puts loss scaling around the optimizer then.
    """
    if spec.dtype_policy is None:
        yield
        return
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.dtype_policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build(spec: StudySpec, params: Mapping[str, Any], seed: int, batch: tuple) -> keras.Model:
    """Return a new model from the study's builder, with every variable it will ever have.

    batch: (x, y) or (x, y, sample_weight) of a batch's rows, for shapes and types
    Raises BadInput when the builder raises or what it returns cannot be trained.
    """
    with under_policy(spec):
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
        with under_policy(spec), _noting_jit_compile(), refusing_adapt():
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
    """Return which parameters of the learning rates the builder turns into more than a rate.

    A weight decay of fifty times the learning rate, say: then trials that differ in it cannot share
    a program. Seen by what the builder makes of the smallest and the largest value; what it hides
    in Python closures is not seen.
    """
    found = []
    for name in spec.rate_parameters:
        ends = set(values(spec.space[name]))
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
    with suppress(NotImplementedError, TypeError):  # a subclass that does not say
        parts.append(model.get_config())
    return repr(parts)


def kind_of(model: keras.Model) -> str:
    """Return the kinds of layers that a model is made of, and whether it runs eagerly."""
    layers = {type(each).__name__ for each in model._flatten_layers(include_self=False)}
    names = sorted(layers - {keras.layers.InputLayer.__name__}) or [type(model).__name__]
    return ", ".join(names) + (" (eagerly)" if model.run_eagerly else "")


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
        x, y = (", ".join(_shapes(name, nest)) for name, nest in zip("xy", batch[:2], strict=True))
        raise BadInput(
            f"the model does not fit the data: {x}, {y}, and Keras says: {telling_line(error)}"
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


def xla_wish(model: keras.Model) -> tuple[bool | None, str]:
    """Return whether the model's author wants XLA, and the reason; None leaves it open.

    Keras's default, "auto", leaves it open; layers that XLA cannot compile do not.
    """
    unable = sorted(
        {type(each).__name__ for each in model._flatten_layers() if not each.supports_jit}
    )
    if unable:
        return False, f"Keras says that XLA cannot compile {', '.join(unable)}"
    asked = getattr(model, _ASKED_JIT, "auto")
    return (
        (None, "") if asked == "auto" else (bool(asked), f"model.compile has jit_compile={asked}")
    )


_ASKED_JIT = "_asked_jit_compile"


@contextmanager
def _noting_jit_compile() -> Iterator[None]:
    """Note what models are asked for in the block: Keras keeps what it makes of "auto" alone.

    Where Keras has it: a model whose class has another one is loaded from its file uncompiled.
    """
    compile_model = Trainer.compile

    @functools.wraps(compile_model)
    def noting(model: keras.Model, *args: Any, **options: Any) -> None:
        asked = inspect.signature(compile_model).bind(model, *args, **options).arguments
        compile_model(model, *args, **options)
        object.__setattr__(model, _ASKED_JIT, asked.get("jit_compile", "auto"))

    Trainer.compile = noting
    try:
        yield
    finally:
        Trainer.compile = compile_model


def logged_names(model: keras.Model) -> list[str]:
    """Return the names of the scalar metrics in Keras's logs, `loss` first."""
    return [name for name, value in model.get_metrics_result().items() if np.ndim(value) == 0]


def labels(y: Nest) -> Nest:
    """Return y as `fit` hands it to a model: floats as float32, integers as they are."""
    return map_parts(lambda part: part.astype(np.float32) if part.dtype.kind == "f" else part, y)


def first_rows(nest: Nest, n_rows: int) -> Nest:
    """Return the first rows of each part."""
    return map_parts(lambda part: in_memory(part[:n_rows]), nest)


def weigh_batches_as_fit(model: keras.Model) -> None:
    """Let each batch count the same in the logged losses of single outputs, as in `fit`.

    Keras weighs a batch there by its size if that is known in tracing. `fit` does not know it, nor
    need it for the loss of all outputs; an engine here does.
    """
    if model._compile_loss is not None and not model.run_eagerly:
        for metric in model._compile_loss.metrics:
            update = functools.partial(_update_unweighted, metric.update_state)
            object.__setattr__(metric, "update_state", update)


def _update_unweighted(update: Callable[[Any], Any], value: Any, sample_weight: Any = None) -> Any:
    return update(value)


def named_outputs(model: keras.Model, predictions: Any) -> Nest:
    """Return predictions as they are, or those of several outputs by name.

    The names are the keys of the model's dict of outputs, or of its list the output layers' names;
    without either (a subclass, a layer that is two outputs) their places, "0", "1", ….
    """
    if not isinstance(predictions, list | tuple):
        return predictions
    names = list(getattr(model, "output_names", ()))
    is_named = len(set(names)) == len(predictions)
    return dict(zip(names, predictions, strict=True)) if is_named else by_name(tuple(predictions))


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


def _shapes(name: str, nest: Nest) -> list[str]:
    return [
        f"{each} is [n{dims(np.shape(part), ', ')}]" for each, part in parts(name, nest).items()
    ]


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
