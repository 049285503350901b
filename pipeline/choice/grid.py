"""Grid: the best among a few given epoch counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.choice.types import EpochChoice
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput


@dataclass(frozen=True)
class Grid:
    """What a grid search over epoch counts would have chosen, on one trial's curves.

    With a horizon-free schedule a longer training passes through every shorter one, so one curve
    holds the whole grid, which would otherwise be trained count by count.

    counts: the grid
    """

    counts: tuple[int, ...] = (5, 10, 20, 50, 100, 200)
    name: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1:
            raise BadInput(f"grid: counts must be numbers ≥ 1, got {self.counts}")

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the best of the counts. Raises BadInput when none of them was trained."""
        trained = sorted({count for count in self.counts if count <= curves.n_epochs})
        if not trained:
            raise BadInput(
                f"grid: one of the counts must have been trained, got {self.counts} and a curve "
                f"of {curves.n_epochs} epochs"
            )
        missing = sorted(set(self.counts) - set(trained))
        best = min(trained, key=curves.loss_after)
        return EpochChoice.at(
            best,
            curves,
            horizon,
            rule=self.name,
            reason=f"the best of {', '.join(map(str, trained))} epochs"
            + (f"; not trained: {', '.join(map(str, missing))}" if missing else ""),
        )
