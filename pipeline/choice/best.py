"""Best of the mean curve: the minimum of the cross-validated loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.choice.types import EpochChoice
from pipeline.curves import FoldCurves


@dataclass(frozen=True)
class BestOfMean:
    """The epoch at which the mean over folds is best; the first of equals.

    The minimum of a *mean* curve, never the mean of per-fold minima: those are minima of noisier
    curves, each at another epoch, and their average is no epoch at which anything was measured.
    """

    name: ClassVar[str] = "best"

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the best epoch of the mean curve."""
        return EpochChoice.at(
            curves.best_n_epochs,
            curves,
            horizon,
            rule=self.name,
            reason=f"mean {curves.objective.metric} over {curves.over} is best "
            f"after {curves.best_n_epochs} of {curves.n_epochs} trained epochs",
        )
