"""The plug point for rules, and what a rule answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from pipeline.curves import FoldCurves
from pipeline.errors import BadInput


@dataclass(frozen=True)
class EpochChoice:
    """A number of epochs, how good it is, how sure that is, and why it was picked.

    n_epochs: a count, 1-based; train this many epochs
    horizon: the number of epochs that the learning-rate schedule was laid out for
    score, standard_error: of the mean curve at n_epochs; one fold has no standard error
    rule, reason: who picked it, and one sentence for the reader
    """

    n_epochs: int
    horizon: int
    score: float
    standard_error: float | None
    rule: str
    reason: str

    def __post_init__(self) -> None:
        if not 1 <= self.n_epochs <= self.horizon:
            raise ValueError(
                f"a choice must lie in 1..{self.horizon} (its horizon), got {self.n_epochs}"
            )

    @classmethod
    def at(
        cls, n_epochs: int, curves: FoldCurves, horizon: int, *, rule: str, reason: str
    ) -> EpochChoice:
        """Return the choice of `n_epochs` on these curves."""
        return cls(
            n_epochs=n_epochs,
            horizon=horizon,
            score=curves.mean_after(n_epochs),
            standard_error=curves.standard_error_after(n_epochs),
            rule=rule,
            reason=reason,
        )


class Rule(Protocol):
    """Picks a number of epochs from fold curves."""

    name: ClassVar[str]

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the choice. Raises BadInput when the curves cannot support the rule."""


def within_one_standard_error(curves: FoldCurves) -> np.ndarray:
    """Return whether each mean is within one standard error of the best, [n_epochs]."""
    best = curves.best_n_epochs
    return curves.losses <= curves.loss_after(best) + (curves.standard_error_after(best) or 0.0)


def first_of_run(best: int, close: Collection[int]) -> int:
    """Return the first epoch of the run of epochs in `close` that ends at `best`."""
    while best - 1 in close:
        best -= 1
    return best


def refuse_one_fold(rule: str, curves: FoldCurves) -> None:
    """Raise BadInput where there is no standard error."""
    if curves.standard_error is None:
        raise BadInput(
            f"rule {rule!r} needs at least 2 folds for a standard error, got {curves.n_folds}; "
            "use rule 'best' with a fixed validation set"
        )
