"""A fold's rows, and batches of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Arrays(NamedTuple):
    """A fold's rows, NumPy arrays on the host or tensors on the device, nested as in the data.

    Weights are None where there are none.
    """

    x: Any
    y: Any
    train_weight: Any | None
    validation_weight: Any | None

    def train_batch(self, rows: Any) -> tuple:
        """Gather rows as the tuple that `train_step` takes."""
        return _batch(self.x, self.y, self.train_weight, rows)

    def validation_batch(self, rows: Any) -> tuple:
        """Gather rows as the tuple that `test_step` takes."""
        return _batch(self.x, self.y, self.validation_weight, rows)


def n_bytes(of_folds: Iterable[Arrays]) -> int:
    """Return the bytes of folds' rows; what folds share counts once."""
    parts = {id(part): part for arrays in of_folds for part in tf.nest.flatten(arrays)}
    return sum(part.nbytes for part in parts.values() if part is not None)


def put_on_device(of_folds: dict[int, Arrays]) -> None:
    """Replace NumPy arrays by tensors, fold by fold; what folds share is put there once."""
    known: dict[int, Any] = {}  # by the array's id: all arrays were there before this began

    def put(part: Any) -> Any:
        if part is None:
            return None
        if id(part) not in known:
            known[id(part)] = tf.constant(part)
        return known[id(part)]

    for fold, arrays in of_folds.items():
        of_folds[fold] = tf.nest.map_structure(put, arrays)


def take(part: Any, rows: Any) -> Any:
    """Return rows as a tensor."""
    if isinstance(part, np.ndarray):
        return tf.convert_to_tensor(np.take(part, rows, axis=0))
    return tf.gather(part, rows)


def _batch(x: Any, y: Any, weight: Any | None, rows: Any) -> tuple:
    parts = (x, y) if weight is None else (x, y, weight)
    return tuple(tf.nest.map_structure(lambda part: take(part, rows), part) for part in parts)
