"""The plug point for rules, and what a rule answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from pipeline.curves import FoldCurves


@dataclass(frozen=True)
class EpochChoice:
    """A number of epochs, how good it is, how sure that is, and why it was picked.

    n_epochs: a count, 1-based; train this many epochs
    horizon: the number of epochs that the learning-rate schedule was laid out for
    score, standard_error: of the mean curve at n_epochs; one fold has no standard error
    equivalent_epochs: the epoch counts whose mean lies within one standard error of the best
        mean; with one fold, the best and its equals
    rule, reason: who picked it, and one sentence for the reader
    """

    n_epochs: int
    horizon: int
    score: float
    standard_error: float | None
    equivalent_epochs: tuple[int, ...]
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
            equivalent_epochs=curves.epochs_within(within_one_standard_error(curves)),
            rule=rule,
            reason=reason,
        )


class Rule(Protocol):
    """Picks a number of epochs from fold curves."""

    name: ClassVar[str]

    def choose(self, curves: FoldCurves, horizon: int) -> EpochChoice:
        """Return the choice. Raises BadInput when the curves cannot support the rule."""


def within_one_standard_error(curves: FoldCurves) -> float:
    """Return the best mean plus its standard error, turned so that smaller is better."""
    margin = curves.standard_error_after(curves.best_n_epochs) or 0.0
    return float(curves.objective.as_loss(curves.mean).min()) + margin
