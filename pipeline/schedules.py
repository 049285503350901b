"""Learning-rate schedules: plain NumPy, one value per update.

Time is counted in epochs, as a fraction: the update that starts at 2.5 is half-way through the
third epoch, whatever the batch size. A *horizon-free* schedule does not know how long training
will last, so a longer trial passes through every shorter one. A *horizon-dependent* one is laid
out for its horizon: stopped early it is another schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from pipeline.errors import BadInput


class Schedule(Protocol):
    """The plug point: the learning rate at each update."""

    horizon_free: ClassVar[bool]

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates] of updates that start at `epochs` [n_updates].

        initial: the sampled learning rate
        epochs: float, 0 ≤ epochs < horizon
        horizon: the sampled max_epochs
        """


@dataclass(frozen=True)
class Constant:
    """The sampled learning rate throughout."""

    horizon_free: ClassVar[bool] = True

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return `initial` for every update."""
        return np.full(len(epochs), initial, dtype=np.float64)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from the sampled learning rate down to `final_share` of it at the horizon.

    Loshchilov & Hutter 2017 (SGDR), eq. 5, with one period and no restart.
    """

    final_share: float = 0.0
    horizon_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.final_share, int | float) or not 0.0 <= self.final_share <= 1.0:
            raise BadInput(f"Cosine.final_share must be a number in 0..1, got {self.final_share!r}")

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the annealed learning rates [n_updates]."""
        share_left = (1.0 + np.cos(np.pi * epochs / horizon)) / 2.0
        return initial * (self.final_share + (1.0 - self.final_share) * share_left)


def updates_per_epoch(n_rows: int, batch_size: int) -> int:
    """Return ceil(rows / batch_size): the optimizer's steps in one epoch."""
    return -(-n_rows // batch_size)


def start_times(n_epochs: int, n_updates: int) -> np.ndarray:
    """Return when each update of the next epoch starts, in epochs, after `n_epochs` epochs."""
    return n_epochs + np.arange(n_updates) / n_updates
