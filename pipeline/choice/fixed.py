"""Fixed: a number that somebody had in mind, checked on validation data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.choice.types import EpochChoice
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput


@dataclass(frozen=True)
class Fixed:
    """A given number of epochs, and what the mean was doing there.

    Falling: the best epoch is later, and better by more than one standard error. Rising: it is
    earlier. Else flat. With one fold there is no standard error, and any difference counts.
    """

    n_epochs: int
    name: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        if self.n_epochs < 1:
            raise BadInput(f"fixed: n_epochs must be ≥ 1, got {self.n_epochs}")

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the given count. Raises BadInput when it was not trained."""
        if self.n_epochs > curves.n_epochs:
            raise BadInput(
                f"fixed: n_epochs must have been trained, got {self.n_epochs} and a curve of "
                f"{curves.n_epochs} epochs"
            )
        return EpochChoice.at(
            self.n_epochs,
            curves,
            horizon,
            rule=self.name,
            reason=f"given; the mean {curves.objective.metric} is {self.trend(curves)} there",
        )

    def trend(self, curves: FoldCurves) -> str:
        """Return whether it is falling, flat or rising, in terms of a loss."""
        error = curves.standard_error_after(self.n_epochs) or 0.0
        best = curves.best_n_epochs
        if curves.loss_after(best) >= curves.loss_after(self.n_epochs) - error:
            return "flat within one standard error of its best"
        return "still falling" if best > self.n_epochs else "rising"
