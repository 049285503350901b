"""The five ways in use of choosing a number of epochs, side by side on the same curves.

Each is one or several rules, and a cost: the epochs that going this way would have trained for one
set of hyperparameters, summed over folds. That is what is compared; the search before it is the
same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.choice import (
    BestOfMean,
    Fixed,
    Grid,
    MedianOfFoldBests,
    OneStandardError,
    PairedOneStandardError,
    PatientBest,
    Plateau,
    Rule,
    SmoothedMean,
)
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput


@dataclass(frozen=True)
class Way:
    """What one way chooses on the winner's curves.

    name: of the way, in words
    rule: the rule that stands for it
    n_epochs, score, standard_error: the choice; None where the rule cannot choose
    n_fold_epochs: epochs that this way would have trained, summed over folds
    reason: why this epoch, or why none
    """

    name: str
    rule: str
    n_epochs: int | None
    score: float | None
    standard_error: float | None
    n_fold_epochs: int | None
    reason: str


Cost = Callable[[FoldCurves], int]
"""curves -> epochs that are trained of each fold."""


def five_ways(
    curves: FoldCurves, horizon: int, *, n_fixed: int, patience: PatientBest | None = None
) -> tuple[Way, ...]:
    """Return what each way chooses, several rules of one way beside each other.

    curves: the winner's, trained without stopping
    n_fixed: the number that somebody would have trained for
    patience: of early stopping; the rule's own by default
    """
    return tuple(
        _way(name, rule, cost, curves, horizon)
        for name, rule, cost in _ways(n_fixed, patience or PatientBest())
    )


def _ways(n_fixed: int, patience: PatientBest) -> Iterator[tuple[str, Rule, Cost]]:
    def whole(curves: FoldCurves) -> int:
        return curves.n_epochs

    def stopped(curves: FoldCurves) -> int:
        return patience.best_and_stop(curves)[1] or curves.n_epochs

    grid = Grid()
    yield "fixed number", Fixed(n_fixed), lambda curves: n_fixed
    yield (
        "early stopping",
        patience,
        lambda curves: patience.best_and_stop(curves)[1] or whole(curves),
    )
    yield "learning curves", Plateau(), whole
    yield "learning curves", SmoothedMean(), whole
    # Without curves, each count of a grid is trained from its first epoch.
    yield "grid", grid, lambda curves: sum(n for n in grid.counts if n <= curves.n_epochs)
    for rule in (BestOfMean(), OneStandardError(), PairedOneStandardError(), MedianOfFoldBests()):
        yield "cross-validation", rule, whole


def _way(name: str, rule: Rule, cost: Cost, curves: FoldCurves, horizon: int) -> Way:
    try:
        choice = rule.choose(curves, horizon)
    except BadInput as reason:
        return Way(name, rule.name, None, None, None, None, str(reason))
    return Way(
        name,
        rule.name,
        choice.n_epochs,
        choice.score,
        choice.standard_error,
        cost(curves) * curves.n_folds,
        choice.reason,
    )
