"""The five ways side by side: what each chooses, and what going it would have cost."""

import numpy as np

from pipeline.choice import PatientBest
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.ways import five_ways

# Falls to epoch 12, rises afterwards; two folds apart by a constant.
MEAN = np.abs(np.arange(1.0, 31.0) - 12) + 1
CURVES = FoldCurves(np.stack([MEAN - 0.25, MEAN + 0.25]), Objective())


def found(**options):
    ways = five_ways(CURVES, 30, **({"n_fixed": 20} | options))
    return {(way.name, way.rule): way for way in ways}


def test_there_are_five():
    assert {name for name, _ in found()} == {
        "fixed number", "early stopping", "learning curves", "grid", "cross-validation",
    }  # fmt: skip


def test_each_says_what_it_chooses_and_what_it_costs_over_both_folds():
    ways = found(patience=PatientBest(patience=3))
    fixed = ways["fixed number", "fixed"]
    assert (fixed.n_epochs, fixed.score, fixed.n_fold_epochs) == (20, 9.0, 2 * 20)
    assert "rising" in fixed.reason
    stopped = ways["early stopping", "early-stopping"]
    assert (stopped.n_epochs, stopped.n_fold_epochs) == (12, 2 * (12 + 3))
    grid = ways["grid", "grid"]
    assert (grid.n_epochs, grid.n_fold_epochs) == (10, 2 * (5 + 10 + 20))
    best = ways["cross-validation", "best"]
    assert (best.n_epochs, best.score, best.n_fold_epochs) == (12, 1.0, 2 * 30)


def test_patience_that_never_ran_out_costs_the_whole_curve():
    way = found(patience=PatientBest(patience=25))["early stopping", "early-stopping"]
    assert way.n_fold_epochs == 2 * 30


def test_a_number_that_was_not_trained_is_said_to_be():
    way = found(n_fixed=31)["fixed number", "fixed"]
    assert way.n_epochs is None
    assert "must have been trained, got 31" in way.reason


def test_one_fold_refuses_the_rules_that_need_a_standard_error():
    ways = five_ways(FoldCurves(MEAN[None], Objective()), 30, n_fixed=5)
    refused = {way.rule for way in ways if way.n_epochs is None}
    assert refused == {"one-standard-error", "paired-one-standard-error"}
