"""Schedules that are laid out for their horizon: cosine, linear, one-cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.schedules.types import require_share


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from the sampled learning rate down to `final_share` of it at the horizon.

    Loshchilov & Hutter 2017 (SGDR), eq. 5, with one period and no restart. For a warm-up before
    it: `WarmUp(Cosine(), n_epochs=3)`.
    """

    final_share: float = 0.0
    horizon_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_share("Cosine.final_share", self.final_share)

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the annealed learning rates [n_updates]."""
        return initial * _half_cosine(1.0, self.final_share, np.pi * epochs / horizon)


@dataclass(frozen=True)
class Linear:
    """A straight line from the sampled learning rate down to `final_share` of it at the horizon."""

    final_share: float = 0.0
    horizon_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_share("Linear.final_share", self.final_share)

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the annealed learning rates [n_updates]."""
        return initial * (1.0 - (1.0 - self.final_share) * epochs / horizon)


@dataclass(frozen=True)
class OneCycle:
    """Up to the sampled learning rate and down again, each by half a cosine.

    Smith & Topin 2018 ("Super-convergence"), with the shares that fastai and PyTorch's OneCycleLR
    take. Momentum stays as it is: the search drives the learning rate alone.

    rise_share: of the horizon, spent on the way up
    start_share, final_share: of the sampled learning rate, where it begins and ends
    """

    rise_share: float = 0.3
    start_share: float = 1 / 25
    final_share: float = 1 / 25 / 1e4
    horizon_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("rise_share", "start_share", "final_share"):
            require_share(f"OneCycle.{name}", getattr(self, name))

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates] of the way up and down."""
        at, rise = epochs / horizon, float(self.rise_share)
        up = _half_cosine(self.start_share, 1.0, np.pi * at / rise if rise else at)
        fall = np.pi * (at - rise) / (1.0 - rise) if rise < 1.0 else at
        return initial * np.where(at < rise, up, _half_cosine(1.0, self.final_share, fall))


def _half_cosine(begin: float, end: float, angle: np.ndarray) -> np.ndarray:
    """Return half a cosine from `begin`, where the angle is 0, to `end`, where it is π."""
    return end + (begin - end) * ((1.0 + np.cos(angle)) / 2.0)
