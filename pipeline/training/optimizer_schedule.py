"""Keras's schedule objects, evaluated to plain learning rates."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf


@dataclass(frozen=True, eq=False)
class OptimizerSchedule:
    """A `keras.optimizers.schedules` object, from the study or out of the builder's optimizer.

    It counts in updates. How far it was laid out for is its own secret, so it is treated as
    horizon-dependent: trials are compared by their share of the horizon.
    """

    schedule: Any
    horizon_free: ClassVar[bool] = False

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates]; `initial` is already in the object."""
        steps = np.rint(epochs * len(epochs)).astype(np.int64)
        return self._compiled(tf.constant(steps)).numpy()

    @functools.cached_property
    def _compiled(self) -> Any:
        """The object at many steps, in one call: step by step it takes as long as the epoch."""

        def at(steps: Any) -> Any:
            return tf.map_fn(self.schedule, steps, fn_output_signature=tf.float32)

        return tf.function(at, input_signature=[tf.TensorSpec([None], tf.int64)])
