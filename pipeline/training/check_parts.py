"""Several inputs and outputs: which part of the data is which of the model's.

Keras matches what has other names by the alphabet, after a warning at most, and trains on nonsense.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import keras
import numpy as np

from pipeline.errors import BadInput
from pipeline.nest import Nest, described, is_several


def check_parts(model: keras.Model, x: Nest, y: Nest, sample_weight: Nest | None) -> None:
    """Raise BadInput when parts of X or y cannot be told to be inputs or outputs of the model.

    A subclass of keras.Model says nothing of its inputs and outputs: its own code must know them.
    """
    inputs, outputs = _struct(model, "input"), _struct(model, "output")
    if inputs is not None:
        names = _names(inputs, [each.name for each in model.inputs])
        _check("X", x, "inputs", inputs, names, may_have_more=not isinstance(inputs, dict))
    if outputs is not None:
        _check("y", y, "outputs", outputs, _names(outputs, _output_names(model)))
        if sample_weight is not None and isinstance(y, dict) and isinstance(outputs, tuple):
            # Keras turns such labels into a list, and not their weights.
            raise BadInput(
                "with sample_weight, y must be a tuple where the model's outputs are a list: "
                f"{', '.join(map(repr, _output_names(model)))}, in this order, got {described(y)}"
            )


def compared(model: keras.Model, y: Nest) -> Iterator[tuple[str, Any, tuple, np.ndarray]]:
    """Yield (name, loss, the output's shape without rows, y) for each output, as far as known.

    Call `check_parts` first.
    """
    outputs = _struct(model, "output")
    if outputs is None:
        return
    if not is_several(outputs):
        if not isinstance(model.loss, dict | list | tuple):
            yield "y", model.loss, tuple(outputs.shape[1:]), y
        return
    names = _names(outputs, _output_names(model))
    labels = y if isinstance(y, dict) else dict(zip(names, y, strict=True))
    shapes = [each.shape for each in (outputs.values() if isinstance(outputs, dict) else outputs)]
    for place, name in enumerate(names):
        loss = model.loss
        if isinstance(loss, dict):
            loss = loss.get(name)
        elif isinstance(loss, list | tuple):
            loss = loss[place] if isinstance(outputs, tuple) and place < len(loss) else None
        if loss is not None and name in labels:
            yield f"y[{name!r}]", loss, tuple(shapes[place][1:]), labels[name]


def embedded(model: keras.Model, x: Nest) -> Iterator[tuple[str, keras.layers.Embedding, Any]]:
    """Yield (input, layer, its part of X) for each embedding of an input itself, as far as known.

    input: its name in a dict, "" of one array, or its place
    Call `check_parts` first.
    """
    inputs = _struct(model, "input")
    if inputs is None:
        return
    if isinstance(x, dict):
        names = _names(inputs, [each.name for each in model.inputs])
        tensors = inputs.values() if isinstance(inputs, dict) else model.inputs
        fed = {id(t): (name, x[name]) for name, t in zip(names, tensors, strict=True)}
    elif isinstance(x, tuple):
        fed = {id(t): (str(i), x[i]) for i, t in enumerate(model.inputs)}
    else:
        fed = {id(model.inputs[0]): ("", x)}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Embedding):
            with suppress(AttributeError, ValueError):  # of one that is used twice, or not yet
                if id(layer.input) in fed:
                    name, part = fed[id(layer.input)]
                    yield name, layer, part


def _struct(model: keras.Model, which: str) -> Nest | None:
    """Return the model's symbolic inputs or outputs as a nest, None where it does not know them."""
    if not getattr(model, f"{which}s", None):
        return None
    struct = getattr(model, which, None)
    if struct is None:  # as in a Sequential model
        struct = getattr(model, f"{which}s")
    if isinstance(struct, list | tuple):
        struct = struct[0] if len(struct) == 1 else tuple(struct)
    leaves = struct.values() if isinstance(struct, dict) else struct
    is_flat = all(map(keras.utils.is_keras_tensor, leaves if is_several(struct) else [struct]))
    return struct if is_flat else None


def _output_names(model: keras.Model) -> list[str]:
    return list(getattr(model, "output_names", [each.name for each in model.outputs]))


def _names(struct: Nest, of_tensors: list[str]) -> list[str]:
    return list(struct) if isinstance(struct, dict) else of_tensors


def _check(
    what: str,
    data: Nest,
    whose: str,
    struct: Nest,
    names: list[str],
    *,
    may_have_more: bool = False,
) -> None:
    expected = f"the model's {whose}: {', '.join(map(repr, names))}"
    if not is_several(struct) and not (may_have_more and isinstance(data, dict)):
        if is_several(data):
            raise BadInput(f"{what} must be one array, as {expected}, got {described(data)}")
        return
    if not is_several(data):
        raise BadInput(f"{what} must have a part for each of {expected}, got one array")
    if isinstance(data, dict):
        wrong = [name for name in names if name not in data]
        if not may_have_more:
            wrong += [name for name in data if name not in names]
        if wrong:
            raise BadInput(f"{what} must be named as {expected}, got {described(data)}")
    elif isinstance(struct, dict):
        raise BadInput(f"{what} must be a dict, as {expected}, got {described(data)}")
    elif len(data) != len(struct):
        raise BadInput(f"{what} must have a part for each of {expected}, got {described(data)}")
