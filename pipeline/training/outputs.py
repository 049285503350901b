"""What a model's outputs are: read from its loss and its last layer, for scikit-learn's scorers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras.src import backend

from pipeline.nest import Nest, is_several
from pipeline.scoring import Kind, Meaning


def meaning_of(model: keras.Model, y: Nest) -> Meaning:
    """Return what the outputs of a model are, whose loss is built.

    y: labels as loaded
    Keras's own losses of classes say it; otherwise a last layer of sigmoid or softmax does, where
    all labels are whole numbers.
    """
    loss, name = _loss(model)
    kind: Kind = "classes" if "categorical" in name else "labels"
    if "entropy" in name:
        from_logits = getattr(loss, "_fn_kwargs", {}).get("from_logits")
        return Meaning(kind, "logit" if from_logits else "probability", f"the loss is {name}")
    if "hinge" in name:
        return Meaning(kind, "margin", f"the loss is {name}")
    last = _last_activation(model)
    if last in ("sigmoid", "softmax") and not is_several(y) and (y == np.rint(y)).all():
        kind = "classes" if last == "softmax" else "labels"
        return Meaning(kind, "probability", f"the last layer is a {last}")
    return Meaning(
        "numbers", "probability",
        f"the loss is {name or 'no loss of Keras'} and the last layer no sigmoid or softmax",
    )  # fmt: skip


def row_shape(model: keras.Model, x: Nest) -> tuple[int, ...]:
    """Return the shape of one row of the model's output; () where it has several outputs.

    x: rows of a batch
    """
    if model.run_eagerly:  # its code may need values, not only shapes
        outputs = model(x, training=False)
    else:
        outputs = backend.compute_output_spec(model, _symbolic(x), training=False)
    return () if is_several(outputs) or isinstance(outputs, list) else tuple(outputs.shape[1:])


def _symbolic(x: Nest) -> Any:
    return keras.tree.map_structure(
        lambda part: keras.KerasTensor(part.shape, backend.standardize_dtype(part.dtype)), x
    )


def _loss(model: keras.Model) -> tuple[Any, str]:
    """Return the model's one loss and its name, "" where it is none of Keras's own."""
    losses = model._compile_loss._flat_losses if model._compile_loss is not None else []
    if len(losses) != 1:
        return None, ""
    loss = losses[0].loss
    function = getattr(loss, "fn", type(loss))
    is_known = function.__module__.startswith("keras.")
    return loss, function.__name__ if is_known else ""


def _last_activation(model: Any) -> str:
    """Return the name of the activation that makes a model's output; "" where it is not known."""
    while isinstance(model, keras.Model):
        outputs = getattr(model, "outputs", None)
        if not outputs or len(outputs) != 1:
            return ""
        model = outputs[0]._keras_history.operation
    if isinstance(model, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(model, "activation", None), "__name__", "")
