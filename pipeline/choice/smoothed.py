"""Best of the smoothed mean curve: a minimum that its neighbours share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.choice.types import EpochChoice
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput


@dataclass(frozen=True)
class SmoothedMean:
    """The epoch at which a centred moving average of the mean curve is best.

    A single lucky epoch does not win. At the ends the window is cut, never padded. (Cleveland 1979
    smooths locally; this is its simplest form.)

    window: epochs averaged, an odd number
    """

    window: int = 5
    name: ClassVar[str] = "smoothed"

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise BadInput(f"smoothed: window must be an odd number ≥ 1, got {self.window}")

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the best epoch of the smoothed mean."""
        ones = np.ones(self.window)
        n_averaged = np.convolve(np.ones(curves.n_epochs), ones, "full")
        half = self.window // 2
        inside = slice(half, half + curves.n_epochs)
        smoothed = (np.convolve(curves.losses, ones, "full") / n_averaged)[inside]
        return EpochChoice.at(
            curves.epochs_where(smoothed == smoothed.min())[0],
            curves,
            horizon,
            rule=self.name,
            reason=f"the mean {curves.objective.metric}, averaged over {self.window} epochs, is "
            "best here",
        )
