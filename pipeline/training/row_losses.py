"""Each validation row's loss, had from the model's own test step."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class RowLosses:
    """What a loop over batches collects of them.

    seen: the last batch's, [n_rows]; array: of full batches
    """

    def __init__(self, n_batches: int, batch_size: int) -> None:
        self.seen: Any = None
        self.array = tf.TensorArray(tf.float32, size=n_batches, element_shape=[batch_size])


def watched_test_step(model: keras.Model, batch: tuple) -> tuple[Any, Any]:
    """Run Keras's test step on a batch; return its logs and each row's loss, [n_rows].

    `test_step` computes one number a batch; the labels and predictions it computes it from pass
    through `compute_loss`, which is watched, so nothing is computed twice.
    """
    seen, compute_loss = [], model.compute_loss

    def watched(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kw: Any) -> Any:
        seen.append(row_losses(model, y, y_pred))
        return compute_loss(x, y, y_pred, *args, **kw)

    object.__setattr__(model, "compute_loss", watched)
    try:
        logs = keras.Model.test_step(model, batch)
    finally:
        object.__delattr__(model, "compute_loss")
    return logs, seen[-1]


def row_losses(model: keras.Model, y: Any, y_pred: Any) -> Any:
    """Return the compiled loss of each row, [n_rows], before reduction and sample weights."""
    loss = model._compile_loss._flat_losses[0]
    if len(y_pred.shape) == 1:  # Keras would take the mean over the rows
        y_pred = y_pred[:, None]
    values = loss.loss.call(
        keras.ops.convert_to_tensor(y, dtype=loss.loss.dtype),
        keras.ops.convert_to_tensor(y_pred, dtype=loss.loss.dtype),
    )
    values = tf.reduce_mean(values, axis=list(range(1, len(values.shape))))
    weight = 1.0 if loss.loss_weights is None else loss.loss_weights
    return tf.cast(values, tf.float32) * weight


def why_no_row_losses(model: keras.Model) -> str:
    """Return why a row's loss cannot be known, or "" when it can."""
    if type(model).test_step is not keras.Model.test_step:
        return "the model has its own test_step"
    if type(model).compute_loss is not keras.Model.compute_loss:
        return "the model has its own compute_loss"
    losses = model._compile_loss._flat_losses if model._compile_loss is not None else []
    if len(losses) != 1 or losses[0].path:
        return f"the model has {len(losses)} losses"
    # A custom function may return one number a batch; only Keras's own are known to return one
    # a row.
    of_loss = getattr(losses[0].loss, "fn", type(losses[0].loss))
    if not of_loss.__module__.startswith("keras."):
        return "the loss is not one of Keras's own"
    if any(_masks(layer) for layer in model._flatten_layers()):
        return "the model masks time steps"
    return ""


def _masks(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Masking) or bool(getattr(layer, "mask_zero", False))
