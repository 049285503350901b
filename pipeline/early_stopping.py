"""When a trial is no longer worth training: its mean curve has stopped improving."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.choice import PatientBest
from pipeline.curves import FoldCurves
from pipeline.errors import require
from pipeline.fields import require_count
from pipeline.space import is_number


@dataclass(frozen=True)
class EarlyStopping:
    """Stop a trial when its mean has not improved by more than `min_delta` for `patience` epochs.

    It acts on the mean over folds (Prechelt 1998, criterion UP on the mean curve), so all folds
    stop together.
    """

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        require_count("early_stopping.patience", self.patience)
        is_margin = is_number(self.min_delta) and self.min_delta >= 0
        require(is_margin, "early_stopping.min_delta", "a number ≥ 0", self.min_delta)

    def should_stop(self, curves: FoldCurves) -> bool:
        """Say whether the mean has gone without improvement for `patience` epochs."""
        _, stopped = PatientBest(self.patience, self.min_delta).best_and_stop(curves)
        return stopped is not None
