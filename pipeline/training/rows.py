"""A fold's rows on the device, and batches of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Arrays(NamedTuple):
    """A fold's rows on the device; several inputs or outputs as they are nested in the data.

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


def _batch(x: Any, y: Any, weight: Any | None, rows: Any) -> tuple:
    parts = (x, y) if weight is None else (x, y, weight)
    return tuple(tf.nest.map_structure(lambda part: tf.gather(part, rows), part) for part in parts)
