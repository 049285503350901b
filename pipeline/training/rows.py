"""A fold's rows, and batches of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipeline.lazy_rows import LazyRows, in_memory
from pipeline.nest import Nest, map_parts, parts


class Arrays(NamedTuple):
    """A fold's rows, nested as in the data: arrays or lazy rows on the host, tensors on the device.

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
    """Return the bytes of folds' rows, made dense; what folds share counts once."""
    parts = {id(part): part for arrays in of_folds for part in tf.nest.flatten(arrays)}
    return sum(part.nbytes for part in parts.values() if part is not None)


def put_on_devices(of_folds: dict[int, Arrays], device_of: Callable[[int], str]) -> None:
    """Replace arrays and lazy rows by tensors on each fold's device.

    What folds on one device share is put there once.
    """
    # By the array's id: all arrays were there before this began.
    known: dict[tuple[str, int], Any] = {}

    def put(part: Any, device: str) -> Any:
        if part is None:
            return None
        if (device, id(part)) not in known:
            with tf.device(device):
                known[device, id(part)] = tf.constant(in_memory(part))
        return known[device, id(part)]

    for fold, arrays in of_folds.items():
        put_there = functools.partial(put, device=device_of(fold))
        of_folds[fold] = tf.nest.map_structure(put_there, arrays)


def taken(part: Any, rows: Any) -> Any:
    """Return rows as a tensor; lazy ones stay so."""
    if isinstance(part, LazyRows):
        return part[rows]
    if isinstance(part, np.ndarray):
        return tf.convert_to_tensor(np.take(part, rows, axis=0))
    return tf.gather(part, rows)


def predict(model: keras.Model, x: Nest, batch_size: int) -> Any:
    """Return Keras's predictions; lazy rows are read batch by batch."""
    rows = _Batches(x, batch_size=batch_size) if _is_lazy(x) else x
    return model.predict(rows, batch_size=batch_size, verbose=0)


def evaluate(
    model: keras.Model, x: Nest, y: Nest, weight: Nest | None, batch_size: int
) -> dict[str, float]:
    """Return Keras's loss and metrics; lazy rows are read batch by batch."""
    if _is_lazy(x):
        nests = (x, y) if weight is None else (x, y, weight)
        batches = _Batches(*nests, batch_size=batch_size)
        scores = model.evaluate(batches, verbose=0, return_dict=True)
    else:
        scores = model.evaluate(
            x, y, sample_weight=weight, batch_size=batch_size, verbose=0, return_dict=True
        )
    return {name: float(value) for name, value in scores.items()}


def _is_lazy(x: Nest) -> bool:
    return any(isinstance(part, LazyRows) for part in parts("", x).values())


class _Batches(keras.utils.PyDataset):
    """Rows in their order; nests: x, or x, y and perhaps weights."""

    def __init__(self, *nests: Nest, batch_size: int) -> None:
        super().__init__()
        self._nests, self._batch_size = nests, batch_size
        self._n_rows = len(next(iter(parts("", nests[0]).values())))

    def __len__(self) -> int:
        return -(-self._n_rows // self._batch_size)

    def __getitem__(self, number: int) -> tuple:
        rows = slice(number * self._batch_size, (number + 1) * self._batch_size)
        return tuple(map_parts(lambda part: in_memory(part[rows]), nest) for nest in self._nests)


def _batch(x: Any, y: Any, weight: Any | None, rows: Any) -> tuple:
    parts = (x, y) if weight is None else (x, y, weight)

    def gathered(part: Any) -> Any:
        return tf.convert_to_tensor(in_memory(taken(part, rows)))

    return tuple(tf.nest.map_structure(gathered, part) for part in parts)
