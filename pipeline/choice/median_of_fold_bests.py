"""Median of per-fold best epochs: what several programs do, for comparison."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar

from pipeline.choice.types import EpochChoice
from pipeline.curves import FoldCurves


@dataclass(frozen=True)
class MedianOfFoldBests:
    """The lower median of the epochs at which each fold by itself is best.

    Each fold's minimum is that of a noisier curve, so these scatter, and nothing was measured at
    their average. Here for comparison: AutoGluon and H2O refit for an average of fold bests.
    """

    name: ClassVar[str] = "median-of-fold-bests"

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the lower median of the folds' best epochs."""
        bests = sorted(curves.fold_bests)
        return EpochChoice.at(
            statistics.median_low(bests),
            curves,
            horizon,
            rule=self.name,
            reason=f"the folds by themselves are best after {', '.join(map(str, bests))} epochs",
        )
