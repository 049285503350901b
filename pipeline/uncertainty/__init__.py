"""How sure is the answer? Sets, intervals and corrections for a few folds, after training.

Losses here are smaller is better. With one fold there is nothing to go by: the answer is None.
"""

from __future__ import annotations

from pipeline.uncertainty.bootstrap import bootstrapped
from pipeline.uncertainty.intervals import (
    Interval,
    difference_interval,
    independent_difference_interval,
    score_interval,
)
from pipeline.uncertainty.optimism import MAX_FOLDS, over_trials, within_trial
from pipeline.uncertainty.sets import confidence_set
from pipeline.uncertainty.variance import Component, VarianceComponents

__all__ = [
    "MAX_FOLDS",
    "Component",
    "Interval",
    "VarianceComponents",
    "bootstrapped",
    "confidence_set",
    "difference_interval",
    "independent_difference_interval",
    "over_trials",
    "score_interval",
    "within_trial",
]
