"""One standard error: the earliest epoch that is about as good as the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.choice.types import (
    EpochChoice,
    first_of_run,
    refuse_one_fold,
    within_one_standard_error,
)
from pipeline.curves import FoldCurves


@dataclass(frozen=True)
class OneStandardError:
    """The first epoch of the run around the best whose mean is within one standard error of it.

    The *run* that contains the minimum: an isolated early dip below the line does not count. A
    heuristic that prefers the simpler model, not a test (Breiman, Friedman, Olshen & Stone 1984,
    §3.4.3; Hastie, Tibshirani & Friedman 2009, §7.10).
    """

    name: ClassVar[str] = "one-standard-error"

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the first epoch of the run. Raises BadInput for one fold."""
        refuse_one_fold(self.name, curves)
        best = curves.best_n_epochs
        first = first_of_run(best, curves.epochs_where(within_one_standard_error(curves)))
        return EpochChoice.at(
            first,
            curves,
            horizon,
            rule=self.name,
            reason=f"mean {curves.objective.metric} stays within one standard error of its best "
            f"(epoch {best}) from epoch {first} on",
        )
