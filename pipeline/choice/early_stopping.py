"""Early stopping: where patience would have ended training, and the best before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.choice.types import EpochChoice
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput


@dataclass(frozen=True)
class PatientBest:
    """What early stopping on the mean curve would have chosen.

    Training would have stopped at the first epoch with no improvement by more than `min_delta` for
    `patience` epochs; the choice is the best before it (Prechelt 1998, §2; Keras's EarlyStopping
    with restore_best_weights).

    patience: epochs without improvement
    min_delta: in the metric's unit
    """

    patience: int = 10
    min_delta: float = 0.0
    name: ClassVar[str] = "early-stopping"

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise BadInput(f"early-stopping: patience must be ≥ 1, got {self.patience}")
        if self.min_delta < 0:
            raise BadInput(f"early-stopping: min_delta must be ≥ 0, got {self.min_delta}")

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the last improvement before patience ran out, or before training ended."""
        best, stopped = self.best_and_stop(curves)
        end = (
            f"stopped after epoch {stopped}"
            if stopped is not None
            else f"not run out in the {curves.n_epochs} trained epochs"
        )
        return EpochChoice.at(
            best,
            curves,
            horizon,
            rule=self.name,
            reason=f"the last improvement before a patience of {self.patience}, {end}",
        )

    def best_and_stop(self, curves: FoldCurves) -> tuple[int, int | None]:
        """Return the epoch of the last improvement, and where it stopped, None if nowhere."""
        best, value = 1, curves.mean_after(1)
        for n_epochs in range(2, curves.n_epochs + 1):
            mean = curves.mean_after(n_epochs)
            if curves.objective.better(mean, value, self.min_delta):
                best, value = n_epochs, mean
            elif n_epochs - best >= self.patience:
                return best, n_epochs
        return best, None
