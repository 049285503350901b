"""Schedules of both kinds in one study: pruners compare like with like."""

import pytest
from optuna import pruners

from pipeline.optimization import begun, last_report, next_proposal
from pipeline.results import Outcome

HORIZON = 20


def run(study, spec, run_trial, means, *, horizon_free):
    return run_trial(next_proposal(study, spec), spec, means, horizon_free=horizon_free)


@pytest.fixture
def median(make_spec):
    return make_spec(max_epochs=HORIZON, pruner=pruners.MedianPruner(n_startup_trials=2))


GOOD, BAD = [0.1] * HORIZON, [0.9] * HORIZON


def test_a_trial_is_pruned_by_those_of_its_own_kind_alone(median, open_journal, run_trial):
    study = open_journal(median)
    for _ in range(3):
        run(study, median, run_trial, GOOD, horizon_free=True)
    # An annealed curve lies above constant ones until its end: at first there is none like it.
    assert run(study, median, run_trial, BAD, horizon_free=False).outcome is Outcome.COMPLETED
    assert run(study, median, run_trial, BAD, horizon_free=True).outcome is Outcome.PRUNED
    assert run(study, median, run_trial, BAD, horizon_free=False).outcome is Outcome.COMPLETED
    worse = [1.0] * HORIZON
    assert run(study, median, run_trial, worse, horizon_free=False).outcome is Outcome.PRUNED
    assert run(study, median, run_trial, GOOD, horizon_free=False).outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    "make",
    [
        lambda: pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2),
        # One bracket: which one a trial is in hangs on its number.
        lambda: pruners.HyperbandPruner(2, max_resource=3, reduction_factor=2),
    ],
    ids=["successive halving", "hyperband"],
)
def test_rungs_are_those_of_the_kind(make, make_spec, open_journal, run_trial):
    """As many of the other kind first, all of them better, whose rungs lie at the same steps."""
    curves = [[0.5 - 0.01 * number] * HORIZON for number in range(6)]
    curves += [[0.9] * HORIZON]

    def outcomes(name, others):
        spec = make_spec(max_epochs=HORIZON, pruner=make())
        study = open_journal(spec, name)
        for _ in range(others):
            run(study, spec, run_trial, GOOD, horizon_free=False)
        found = [run(study, spec, run_trial, means, horizon_free=True) for means in curves]
        return [trial.outcome for trial in found]

    alone = outcomes("alone", others=0)
    assert set(alone) == {Outcome.COMPLETED, Outcome.PRUNED}
    assert outcomes("mixed", others=8) == alone


def test_a_report_is_read_as_what_it_counts(make_spec, open_journal):
    spec = make_spec(max_epochs=100)
    study = open_journal(spec)
    for horizon_free in (True, False):
        proposal = next_proposal(study, spec, take=lambda number: number == len(begun(study)))
        for n_epochs in (5, 10):
            proposal.report(n_epochs, 0.5, horizon_free=horizon_free)
    assert [last_report(trial, 100) for trial in begun(study)] == [(10, 0.5), (10, 0.5)]
