"""Reports, pruning and results, on a real journal and curves made by hand."""

import math
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from pipeline.curves import FoldCurves
from pipeline.errors import StoreUnavailable
from pipeline.objective import Objective
from pipeline.optimization import best, finished, next_proposal
from pipeline.optimization.trials import N_SHARES, comparable_step
from pipeline.results import Outcome, TrialResult
from pipeline.strategy import Ladder

MAXIMIZE = Objective("val_accuracy", "maximize")
HORIZONS = [1, 2, 3, 7, 10, 19, 20, 21, 33, 99, 100, 1000]


class Recording(optuna.pruners.NopPruner):
    """Keeps what it is asked about, and prunes from `prune_at` on."""

    def __init__(self, prune_at: float = math.inf) -> None:
        self.prune_at = prune_at
        self.asked: list[int] = []

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        assert trial.last_step is not None
        self.asked.append(trial.last_step)
        return trial.last_step >= self.prune_at


@pytest.mark.parametrize("horizon", HORIZONS)
def test_a_share_of_a_horizon_is_a_step_at_most_once_and_the_last_always(horizon):
    steps = [comparable_step(n, horizon, horizon_free=False) for n in range(1, horizon + 1)]
    reached = [step for step in steps if step is not None]
    assert reached == sorted(set(reached))
    assert reached[-1] == N_SHARES
    if horizon >= N_SHARES:
        assert reached == list(range(1, N_SHARES + 1))


@pytest.mark.parametrize("horizon", HORIZONS)
def test_no_step_is_given_before_its_share_is_over(horizon):
    """Or a short trial's later value would be compared with a long one's earlier value."""
    for n_epochs in range(1, horizon + 1):
        step = comparable_step(n_epochs, horizon, horizon_free=False)
        if step is not None:
            assert step * horizon <= n_epochs * N_SHARES < (step + 1) * horizon


def test_horizons_meet_at_equal_shares():
    """Epoch 9 of 10 is compared with epoch 90 of 100, never with epoch 9."""
    assert comparable_step(9, 10, horizon_free=False) == 18
    assert comparable_step(90, 100, horizon_free=False) == 18
    assert comparable_step(9, 100, horizon_free=False) is None


@pytest.mark.parametrize("horizon", [5, 100])
def test_without_a_horizon_the_step_is_the_number_of_epochs(horizon):
    assert [comparable_step(n, horizon, horizon_free=True) for n in (1, 4)] == [1, 4]


def completed(make_spec, open_journal, run_trial, n, **fields):
    """Return a study with `n` completed trials of a flat curve at 1.0, and its spec."""
    spec = make_spec(**fields)
    study = open_journal(spec)
    for _ in range(n):
        proposal = next_proposal(study, spec)
        run_trial(proposal, spec, [1.0] * proposal.params["max_epochs"])
    return study, spec


def test_a_trial_worse_than_the_median_is_pruned(make_spec, open_journal, run_trial):
    study, spec = completed(make_spec, open_journal, run_trial, 5)
    assert run_trial(next_proposal(study, spec), spec, [0.5] * 10).outcome is Outcome.COMPLETED
    assert run_trial(next_proposal(study, spec), spec, [2.0] * 10).outcome is Outcome.PRUNED


def test_worse_is_lower_when_the_objective_is_maximized(make_spec, open_journal, run_trial):
    study, spec = completed(make_spec, open_journal, run_trial, 5, objective=MAXIMIZE)
    assert run_trial(next_proposal(study, spec), spec, [2.0] * 10).outcome is Outcome.COMPLETED
    assert run_trial(next_proposal(study, spec), spec, [0.5] * 10).outcome is Outcome.PRUNED


@pytest.mark.parametrize(
    ("strategy", "outcome"), [(None, Outcome.PRUNED), (Ladder(), Outcome.COMPLETED)]
)
def test_a_trial_that_may_pause_is_not_pruned_as_well(
    strategy, outcome, make_spec, open_journal, run_trial
):
    study, spec = completed(make_spec, open_journal, run_trial, 5, strategy=strategy)
    assert run_trial(next_proposal(study, spec), spec, [2.0] * 10).outcome is outcome


@pytest.mark.parametrize(("horizon", "pruned_after"), [(9, 1), (10, 2), (36, 4), (100, 12)])
def test_the_default_pruner_waits_for_a_ninth_of_the_horizon(
    horizon, pruned_after, make_spec, open_journal, run_trial
):
    study, spec = completed(make_spec, open_journal, run_trial, 5, max_epochs=horizon)
    result = run_trial(next_proposal(study, spec), spec, [2.0] * horizon)
    assert result.curves.n_epochs == pruned_after


def test_a_pruner_of_the_users_waits_for_nothing(make_spec, open_journal, run_trial):
    study, spec = completed(
        make_spec, open_journal, run_trial, 5, max_epochs=36, pruner=optuna.pruners.MedianPruner()
    )
    assert run_trial(next_proposal(study, spec), spec, [2.0] * 36).curves.n_epochs == 1


def test_a_trial_is_never_pruned_at_its_last_epoch(make_spec, open_journal, run_trial):
    """It is trained: its value costs nothing more."""
    pruner = Recording(prune_at=10)
    spec = make_spec(pruner=pruner)
    result = run_trial(next_proposal(open_journal(spec), spec), spec, [1.0] * 10)
    assert result.outcome is Outcome.COMPLETED
    assert pruner.asked == list(range(1, 10))


def test_trials_of_other_horizons_are_compared_at_shares(make_spec, open_journal, run_trial):
    """A short cosine is low at epoch 9 because it is nearly over: it must not prune a long one."""
    spec = make_spec(max_epochs=IntDistribution(20, 100, step=80))
    study = open_journal(spec)

    def falling(horizon: int, offset: float = 0.0) -> list[float]:
        return [1.0 + offset - n / horizon for n in range(1, horizon + 1)]

    def proposal_of(horizon: int):
        study.enqueue_trial({"max_epochs": horizon})
        return next_proposal(study, spec)

    for _ in range(5):
        run_trial(proposal_of(20), spec, falling(20), horizon_free=False)
    long = run_trial(proposal_of(100), spec, falling(100), horizon_free=False)
    assert long.outcome is Outcome.COMPLETED
    worse = run_trial(proposal_of(100), spec, falling(100, offset=0.5), horizon_free=False)
    assert (worse.outcome, worse.curves.n_epochs) == (Outcome.PRUNED, 15)


def test_between_two_shares_of_its_horizon_the_pruner_is_not_asked(
    make_spec, open_journal, run_trial
):
    spec = make_spec(max_epochs=60, pruner=Recording())
    run_trial(next_proposal(open_journal(spec), spec), spec, [1.0] * 60, horizon_free=False)
    assert spec.pruner.asked == list(range(1, N_SHARES))  # the last share ends the trial


@pytest.mark.parametrize(
    ("outcome", "state", "value"),
    [
        (Outcome.COMPLETED, TrialState.COMPLETE, 0.5),
        (Outcome.STOPPED_EARLY, TrialState.COMPLETE, 0.5),
        (Outcome.PRUNED, TrialState.PRUNED, 0.75),
        (Outcome.FAILED, TrialState.FAIL, None),
        (Outcome.INTERRUPTED, TrialState.RUNNING, None),
    ],
)
def test_an_outcome_becomes_a_state(outcome, state, value, make_spec, open_journal, result_of):
    """A pruned trial's value is its last report, as Optuna has it; a complete one's its best."""
    spec = make_spec()
    proposal = next_proposal(open_journal(spec), spec)
    means = [1.0, 0.5, 0.75]
    for n_epochs, mean in enumerate(means, start=1):
        proposal.report(n_epochs, mean, horizon_free=True)
    proposal.tell(result_of(proposal, spec, means, outcome))
    (trial,) = open_journal(spec).trials
    assert (trial.state, trial.value) == (state, value)
    assert trial.intermediate_values == {1: 1.0, 2: 0.5, 3: 0.75}


@pytest.mark.parametrize(
    ("outcome", "values"),
    [
        (Outcome.COMPLETED, [[0.1, 1 / 3], [2e-17, 7.0]]),
        (Outcome.STOPPED_EARLY, [[0.1, 0.2]]),
        (Outcome.PRUNED, [[0.1], [0.2]]),
        (Outcome.FAILED, [[0.1], [0.2]]),
        (Outcome.FAILED, None),
    ],
)
def test_a_result_comes_back_as_it_was_told(outcome, values, make_spec, open_journal):
    spec = make_spec(objective=MAXIMIZE)
    proposal = next_proposal(open_journal(spec), spec)
    curves = values and FoldCurves(np.array(values), MAXIMIZE, tuple(range(3, 3 + len(values))))
    training = np.array(values)[0] if values else None
    told = TrialResult(
        0, proposal.params, outcome, curves, 1.25, 17, "why: “ünïcode”",
        training=training, diverged=outcome is Outcome.FAILED,
    )  # fmt: skip
    proposal.tell(told)
    (back,) = finished(open_journal(spec), spec)
    arrays = {"curves": None, "training": None}
    assert vars(back) | arrays == vars(told) | arrays
    np.testing.assert_array_equal(back.training, training)
    if curves and back.curves:
        np.testing.assert_array_equal(back.curves.values, curves.values)
        assert (back.curves.folds, back.curves.objective) == (curves.folds, MAXIMIZE)
    assert (back.curves is None) == (curves is None)


def test_params_hold_the_fixed_ones_too(make_spec, open_journal, run_trial):
    spec = make_spec(batch_size=64)
    told = run_trial(next_proposal(open_journal(spec), spec), spec, [1.0] * 10)
    assert (told.params["batch_size"], told.params["max_epochs"]) == (64, 10)
    assert finished(open_journal(spec), spec)[0].params == told.params


def test_finished_trials_come_in_order_and_running_ones_do_not(make_spec, open_journal, run_trial):
    study, spec = completed(make_spec, open_journal, run_trial, 3)
    next_proposal(study, spec)
    assert [result.number for result in finished(study, spec)] == [0, 1, 2]


def test_a_trial_that_another_program_wrote_is_named(make_spec, open_journal):
    spec = make_spec()
    study = open_journal(spec)
    study.tell(study.ask(), 1.0)
    with pytest.raises(StoreUnavailable, match="trial 0 has no result: another program wrote"):
        finished(study, spec)


def test_a_note_stays_with_its_trial(make_spec, open_journal):
    spec = make_spec()
    next_proposal(open_journal(spec), spec).write_note("mlflow_run", "abc")
    assert next_proposal(open_journal(spec), spec).note == {"mlflow_run": "abc"}


def result(number, value, objective=None, outcome=Outcome.COMPLETED):
    curves = FoldCurves(np.array([[value]]), objective or Objective())
    params = {"learning_rate": 0.1, "max_epochs": 1}
    return TrialResult(number, params, outcome, curves, 1.0, 1)


@pytest.mark.parametrize(("objective", "number"), [(Objective(), 2), (MAXIMIZE, 1)])
def test_the_best_trial_is_the_lowest_or_the_highest(objective, number, make_spec):
    results = [result(n, value, objective) for n, value in enumerate([0.5, 0.9, -0.1, 0.2])]
    assert best(results, make_spec(objective=objective)) is results[number]


@pytest.mark.parametrize("objective", [Objective(), MAXIMIZE])
def test_the_first_of_equals_is_best(objective, make_spec):
    results = [result(n, 0.0, objective) for n in range(3)]
    assert best(results, make_spec(objective=objective)) is results[0]


def test_only_a_trial_with_a_value_can_be_best(make_spec):
    pruned, complete = result(0, 0.1, outcome=Outcome.PRUNED), result(1, 0.2)
    assert best([pruned, complete], make_spec()) is complete
    assert best([pruned], make_spec()) is None
    assert best([], make_spec()) is None


def test_outcomes_are_counted_over_sessions(make_spec, open_journal, run_trial):
    study, spec = completed(make_spec, open_journal, run_trial, 5)
    run_trial(next_proposal(study, spec), spec, [2.0] * 10)
    again = finished(open_journal(spec), spec)
    assert Counter(each.outcome for each in again) == {Outcome.COMPLETED: 5, Outcome.PRUNED: 1}
