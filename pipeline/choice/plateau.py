"""Plateau: reading the learning curve for where it levels off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.choice.types import EpochChoice
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput


@dataclass(frozen=True)
class Plateau:
    """The first epoch after which the mean improves by less than a share of its total fall.

    This is what people do who look at the curve: the best so far is compared with the best over
    the next `window` epochs. Without a level stretch of that length, the best epoch.

    share: of the total fall, from the first epoch to the best
    window: epochs looked ahead; fewer than that left cannot show a plateau
    """

    share: float = 0.02
    window: int = 5
    name: ClassVar[str] = "plateau"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise BadInput(f"plateau: share must be in 0..1, got {self.share}")
        if self.window < 1:
            raise BadInput(f"plateau: window must be ≥ 1, got {self.window}")

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the first epoch of the plateau, or the best epoch where there is none."""
        so_far = np.minimum.accumulate(curves.losses)
        gains = so_far[: -self.window] - so_far[self.window :]
        fall = so_far[0] - so_far[-1]
        level = curves.epochs_where(gains <= self.share * fall)
        if level:
            n_epochs = level[0]
            reason = (
                f"over the next {self.window} epochs the best mean improves by less than "
                f"{self.share:.0%} of its whole fall"
            )
        else:
            n_epochs = curves.best_n_epochs
            reason = f"no {self.window} epochs are level, so the best of the {curves.n_epochs}"
        return EpochChoice.at(n_epochs, curves, horizon, rule=self.name, reason=reason)
