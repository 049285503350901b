"""Schedules that do not know how long training will last: constant, step, exponential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.schedules.types import require_positive


@dataclass(frozen=True)
class Constant:
    """The sampled learning rate throughout."""

    horizon_free: ClassVar[bool] = True

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return `initial` for every update."""
        return np.full(len(epochs), initial, dtype=np.float64)


@dataclass(frozen=True)
class Step:
    """initial · drop^floor((1 + epoch) / epochs_drop), with the 0-based epoch.

    The recipe that is written for Keras's LearningRateScheduler: with `epochs_drop=10` the tenth
    epoch is the first one at the lower rate.
    """

    drop: float = 0.5
    epochs_drop: float = 10.0
    horizon_free: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive("Step.drop", self.drop)
        require_positive("Step.epochs_drop", self.epochs_drop)

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates], the same throughout an epoch."""
        n_drops = np.floor((1.0 + np.floor(epochs)) / self.epochs_drop)
        return initial * np.power(float(self.drop), n_drops)


@dataclass(frozen=True)
class Exponential:
    """initial · decay_rate^(epochs / decay_epochs), from update to update.

    Keras's ExponentialDecay, counted in epochs.
    """

    decay_rate: float = 0.9
    decay_epochs: float = 1.0
    horizon_free: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive("Exponential.decay_rate", self.decay_rate)
        require_positive("Exponential.decay_epochs", self.decay_epochs)

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the decayed learning rates [n_updates]."""
        return initial * np.power(float(self.decay_rate), epochs / self.decay_epochs)
