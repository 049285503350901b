"""A lower learning rate where the mean curve no longer improves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.errors import require
from pipeline.schedules.types import (
    Schedule,
    require_at_least_0,
    require_whole,
)


@dataclass(frozen=True)
class ReduceOnPlateau:
    """Multiply by `factor` when the mean has not improved by `min_delta` for `patience` epochs.

    Keras's ReduceLROnPlateau, on the mean over folds: all folds have the same learning rate. A
    training without validation rows, the refit, repeats the rates that the search's curve led to.

    cooldown: epochs after a reduction that do not count
    min_rate: learning rate below which it does not go
    """

    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    cooldown: int = 0
    min_rate: float = 0.0
    horizon_free: ClassVar[bool] = True

    def __post_init__(self) -> None:
        holds = isinstance(self.factor, float) and 0.0 < self.factor < 1.0
        require(holds, "ReduceOnPlateau.factor", "a number between 0 and 1", self.factor)
        require_whole("ReduceOnPlateau.patience", self.patience, at_least=1)
        require_at_least_0("ReduceOnPlateau.min_delta", self.min_delta)
        require_whole("ReduceOnPlateau.cooldown", self.cooldown, at_least=0)
        require_at_least_0("ReduceOnPlateau.min_rate", self.min_rate)

    def given(self, losses: np.ndarray) -> Schedule:
        """Return the reduced rates after a mean curve [n_epochs]."""
        best, waited, cooling, reduced_after = np.inf, 0, 0, []
        for n_epochs, loss in enumerate(losses, start=1):
            if cooling:
                cooling, waited = cooling - 1, 0
            if loss < best - self.min_delta:
                best, waited = loss, 0
            elif not cooling:
                waited += 1
                if waited >= self.patience:
                    reduced_after.append(n_epochs)
                    cooling, waited = self.cooldown, 0
        return Reduced(tuple(reduced_after), self.factor, self.min_rate)


@dataclass(frozen=True)
class Reduced:
    """A learning rate multiplied by `factor` after each of these numbers of epochs."""

    after: tuple[int, ...]
    factor: float
    min_rate: float
    horizon_free: ClassVar[bool] = True

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates], the same throughout an epoch."""
        n_reductions = np.searchsorted(self.after, np.floor(epochs), side="right")
        rates = initial * np.power(float(self.factor), n_reductions)
        return np.maximum(rates, min(self.min_rate, initial))
