"""What a budget allows, what is kept back for the answer, and by how much it is overshot."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.budget import Budget
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.results import Outcome, TrialResult
from pipeline.spec import Refit
from pipeline.spending import REFIT_FACTOR, Spending

N_FOLDS = 5


def trial(n_epochs=10, best=4, horizon=10, updates=7) -> TrialResult:
    values = np.tile(np.abs(np.arange(1, n_epochs + 1) - best), (N_FOLDS, 1)) + 1.0
    params = {"learning_rate": 0.1, "max_epochs": horizon}
    curves = FoldCurves(values, Objective())
    n_updates = updates * N_FOLDS * n_epochs
    return TrialResult(0, params, Outcome.COMPLETED, curves, 1.0, n_updates)


def unfinished(best: TrialResult) -> TrialResult:
    """Return the trial as one that was pruned: nothing is kept back for it."""
    return replace(best, outcome=Outcome.PRUNED)


def spending(now=lambda: 0.0, refit=Refit(), **budget) -> Spending:  # noqa: B008 - it is frozen
    spec = SimpleNamespace(
        budget=Budget(**budget), refit=refit, objective=Objective(), longest_horizon=10
    )
    return Spending(spec, N_FOLDS, clock=now)  # type: ignore[arg-type]


def epochs_until_over(budget: Spending, updates_per_epoch=7) -> int:
    """Return how many epochs of all folds a trial trains before it is stopped."""
    n_epochs = 0
    while not budget.over(N_FOLDS * n_epochs, updates_per_epoch * N_FOLDS * n_epochs):
        n_epochs += 1
    return n_epochs


def test_without_limits_it_is_never_over():
    assert spending().over(10**9, 10**9) == ""


@pytest.mark.parametrize("most", [100, 103, 104])
def test_fold_epochs_are_never_overshot_and_all_but_one_epoch_are_used(most):
    n_epochs = epochs_until_over(spending(max_fold_epochs=most))
    assert most - N_FOLDS < N_FOLDS * n_epochs <= most


@pytest.mark.parametrize("most", [700, 725])
def test_updates_are_never_overshot(most):
    n_epochs = epochs_until_over(spending(max_updates=most))
    assert most - 2 * 7 * N_FOLDS < 7 * N_FOLDS * n_epochs <= most


def test_every_sessions_epochs_count():
    budget = spending(max_fold_epochs=150)
    budget.count([unfinished(trial())] * 2, n_here=trial().n_fold_epochs)
    assert epochs_until_over(budget) == 10
    budget.count_besides("winner", 15, 0)
    budget.count_besides("winner", 20, 0)
    assert epochs_until_over(budget) == 6


def test_the_answer_is_kept_back_and_may_be_spent_on_it():
    budget = spending(max_fold_epochs=150)
    budget.count([trial()], n_here=trial().n_fold_epochs)
    kept_back = N_FOLDS * (10 - 4) + REFIT_FACTOR * 4
    assert N_FOLDS * epochs_until_over(budget) == 150 - 50 - kept_back
    assert budget.over(65) == "max_fold_epochs=150"
    assert budget.over(95, answering=True) == ""
    assert budget.over(100, answering=True) == "max_fold_epochs=150"


def test_without_a_refit_less_is_kept_back():
    least, most = spending(max_fold_epochs=150, refit=Refit(enabled=False)), spending(
        max_fold_epochs=150, refit=Refit(n_seeds=4)
    )  # fmt: skip
    for budget in (least, most):
        budget.count([trial()])
    assert epochs_until_over(most) < epochs_until_over(least)


def test_what_is_left_for_trials_is_what_no_budget_forbids():
    now = [0.0]
    assert spending().left([]) == math.inf
    budget = spending(lambda: now[0], max_fold_epochs=150, timeout_secs=100.0)
    # No trial has ended yet: its best epoch may be the first, and the rest of its curve long.
    answer = (N_FOLDS + REFIT_FACTOR) * budget.spec.longest_horizon
    assert budget.left([]) == 150 - answer - N_FOLDS
    budget.count([trial()], n_here=50)
    kept_back = N_FOLDS * (10 - 4) + REFIT_FACTOR * 4
    assert budget.left([trial()]) == 150 - 50 - kept_back - N_FOLDS
    for now[0] in (50.0, 60.0, 70.0, 80.0):  # the first ones compile; then a second each
        budget.count([trial()], n_here=10)
    assert budget.left([trial()]) == 20 - kept_back - N_FOLDS


def test_steps_that_others_are_at_count_until_what_was_trained_is_counted_again():
    budget = spending(max_fold_epochs=150)
    budget.count([trial()])
    left, n_updates = budget.left([trial()]), budget.n_updates
    budget.count_underway(20)
    budget.count_underway(30)
    assert budget.left([trial()]) == left - 30
    assert (budget.n_fold_epochs, budget.n_updates) == (50 + 30, n_updates + 7 * 30)
    assert budget.over(int(left) - 29)
    budget.count([trial()])
    assert budget.left([trial()]) == left


def test_what_is_left_is_never_cut_short():
    """A step that costs what is left is trained to its end, one fold's as well as all folds'."""
    budget = spending(max_fold_epochs=150)
    budget.count([trial()])
    left = budget.left([trial()])
    assert all(not budget.over(n) for n in range(int(left) + 1))


def test_time_is_kept_back_at_the_speed_that_was_measured():
    now = [0.0]
    budget = spending(lambda: now[0], timeout_secs=100.0)
    budget.count([trial()], n_here=trial().n_fold_epochs)  # keeps back 35 fold-epochs
    now[0] = 50.0  # a second each
    assert budget.over() == ""
    now[0] = 60.0  # 1.2 seconds each: 42 for the answer
    assert budget.over() == "timeout_secs=100"
    assert budget.over(answering=True) == ""
    now[0] = 100.5
    assert budget.over(answering=True) == "timeout_secs=100"


def test_a_deadline_that_was_set_before_is_kept():
    now = [70.0]
    budget = spending(lambda: now[0], timeout_secs=100.0)
    earlier = replace(budget, deadline=100.0)
    now[0] = 101.0
    assert earlier.over() == "timeout_secs=100"
    assert budget.over() == ""


def test_no_more_than_half_of_the_time_is_kept_back():
    now = [0.0]
    budget = spending(lambda: now[0], timeout_secs=100.0)
    best = trial(n_epochs=1, best=1, horizon=1000)
    budget.count([best], n_here=best.n_fold_epochs)
    now[0] = 49.0
    assert budget.over() == ""
