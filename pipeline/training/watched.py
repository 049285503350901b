"""What a test step knows of each validation row and does not say: its loss, and its prediction.

`test_step` computes one number a batch. The labels and predictions that it computes it from pass
through `compute_loss`, which is watched, so nothing is computed twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf


class OfRows(NamedTuple):
    """Of each row, in order; what is not watched is empty.

    losses: [n_rows]; predictions: [n_rows, ...], as the model gives them
    """

    losses: Any
    predictions: Any


NOTHING = OfRows((), ())


class Watch:
    """What to watch of a model's test steps.

    losses_missing: why rows' losses are not; "" where they are
    predictions_missing: why predictions take a second pass over the rows; "" where they do not
    row_shape: of a row's prediction; None leaves predictions out
    sees_steps: whether anything is watched in a test step itself
    """

    def __init__(self, model: keras.Model, row_shape: tuple[int, ...] | None = None) -> None:
        self._model = model
        self._row_shape = row_shape
        self.losses_missing = why_no_row_losses(model)
        own_step = type(model).test_step is not keras.Model.test_step
        self._again = own_step and row_shape is not None
        self.predictions_missing = "the model has its own test_step" if self._again else ""
        sees_predictions = row_shape is not None and not own_step
        self.sees_steps = not self.losses_missing or sees_predictions

    def test_step(self, batch: tuple) -> tuple[Any, OfRows]:
        """Run the model's test step on a batch; return its logs, and what was watched."""
        step = type(self._model).test_step
        if not self.sees_steps:
            return step(self._model, batch), self.again(batch)
        seen, compute_loss = [], self._model.compute_loss

        def watched(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kw: Any) -> Any:
            losses = () if self.losses_missing else row_losses(self._model, y, y_pred)
            predictions = () if self._row_shape is None else tf.cast(y_pred, tf.float32)
            seen.append(OfRows(losses, predictions))
            return compute_loss(x, y, y_pred, *args, **kw)

        object.__setattr__(self._model, "compute_loss", watched)
        try:
            logs = step(self._model, batch)
        finally:
            object.__delattr__(self._model, "compute_loss")
        return logs, seen[-1]

    def again(self, batch: tuple) -> OfRows:
        """Return the predictions of a second pass over a batch, if it takes one."""
        if not self._again:
            return NOTHING
        return OfRows((), tf.cast(self._model.predict_step(batch[:1]), tf.float32))

    def arrays(self, n_batches: int, batch_size: int) -> OfRows:
        """Return arrays of the graph for what a loop over full batches watches."""

        def array(shape: tuple[int, ...]) -> tf.TensorArray:
            return tf.TensorArray(tf.float32, size=n_batches, element_shape=[batch_size, *shape])

        return OfRows(
            () if self.losses_missing else array(()),
            () if self._row_shape is None else array(self._row_shape),
        )


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
