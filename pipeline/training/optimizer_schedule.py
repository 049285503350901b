"""Keras's schedule objects, evaluated to plain learning rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class OptimizerSchedule:
    """A `keras.optimizers.schedules` object that the builder put into the optimizer.

    It counts in updates. How far it was laid out for is its own secret, so it is treated as
    horizon-dependent: trials are compared by their share of the horizon.
    """

    schedule: Any
    horizon_free: ClassVar[bool] = False

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates]; `initial` is already in the object."""
        steps = np.rint(epochs * len(epochs)).astype(np.int64)
        rates = tf.map_fn(self.schedule, tf.constant(steps), fn_output_signature=tf.float32)
        return rates.numpy()
