"""Paired one standard error: the earliest epoch that the same folds cannot tell from the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.choice.types import EpochChoice, first_of_run, refuse_one_fold
from pipeline.curves import FoldCurves


@dataclass(frozen=True)
class PairedOneStandardError:
    """The first epoch of the run around the best that is within one error of it, fold by fold.

    The standard error is of each fold's *difference* to the best epoch. Folds differ far more from
    each other than one fold does from epoch to epoch, so this is narrower than the unpaired rule,
    and answers the question that is asked: is this epoch worse than that one? A heuristic, not a
    test (the pairing as in Dietterich 1998, §3.3).
    """

    name: ClassVar[str] = "paired-one-standard-error"

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the first epoch of the run. Raises BadInput for one fold."""
        refuse_one_fold(self.name, curves)
        best = curves.best_n_epochs
        differences = curves.differences_to(best)
        close = differences.mean <= differences.standard_error
        first = first_of_run(best, curves.epochs_where(close))
        return EpochChoice.at(
            first,
            curves,
            horizon,
            rule=self.name,
            reason=f"from epoch {first} on, the folds' differences to their best (epoch {best}) "
            "stay within one standard error",
        )
