"""Enqueued trials are tried first, and a killed session changes nothing."""

import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from pipeline.errors import StoreUnavailable
from pipeline.optimization import best_params, enqueue, next_proposal

ENQUEUED = [
    {"learning_rate": 0.01, "momentum": 0.5, "max_epochs": 3},
    {"learning_rate": 0.02, "momentum": 0.25, "max_epochs": 4},
]


@pytest.fixture
def spec(make_spec):
    return make_spec(max_epochs=IntDistribution(2, 6))


def curve(params):
    return [params["learning_rate"] + 1 / n for n in range(1, params["max_epochs"] + 1)]


def searched(open_it, spec, run_trial, n=4, begin=True):
    study = open_it()
    if begin:
        enqueue(study, ENQUEUED)
    for _ in range(n):
        proposal = next_proposal(study, spec)
        run_trial(proposal, spec, curve(proposal.params))
    return [(trial.number, trial.params, trial.state) for trial in study.trials]


def test_enqueued_trials_are_first_and_in_order(spec, open_journal, run_trial):
    trials = searched(lambda: open_journal(spec), spec, run_trial)
    assert [params for _, params, _ in trials[:2]] == ENQUEUED
    assert [number for number, _, _ in trials] == [0, 1, 2, 3]
    assert all(state is TrialState.COMPLETE for _, _, state in trials)


@pytest.mark.parametrize("n_before", [0, 1, 2, 3])
def test_where_a_session_ends_changes_nothing(spec, open_journal, run_trial, n_before):
    whole = searched(lambda: open_journal(spec, "whole"), spec, run_trial)
    searched(lambda: open_journal(spec), spec, run_trial, n=n_before)
    assert searched(lambda: open_journal(spec), spec, run_trial, n=4 - n_before) == whole


@pytest.mark.parametrize("n_finished", [0, 1])
def test_one_killed_before_its_parameters_were_stored_keeps_them(
    spec, open_journal, run_trial, n_finished
):
    whole = searched(lambda: open_journal(spec, "whole"), spec, run_trial)
    searched(lambda: open_journal(spec), spec, run_trial, n=n_finished)
    open_journal(spec).ask()  # killed here: RUNNING, and no parameter stored
    assert searched(lambda: open_journal(spec), spec, run_trial, n=4 - n_finished) == whole


def test_a_session_killed_while_it_enqueued_goes_on_enqueuing(spec, open_journal, run_trial):
    whole = searched(lambda: open_journal(spec, "whole"), spec, run_trial)
    enqueue(open_journal(spec), ENQUEUED[:1])
    assert searched(lambda: open_journal(spec), spec, run_trial) == whole


def test_the_best_of_a_study_come_first(spec, open_journal, run_trial, tmp_path):
    trials = searched(lambda: open_journal(spec), spec, run_trial)
    values = {number: min(curve(params)) for number, params, _ in trials}
    found = best_params(tmp_path / "journal.log", "study")
    assert [number for number, _ in found] == sorted(values, key=lambda number: values[number])
    assert dict(found)[0] == ENQUEUED[0]


def test_a_study_that_cannot_be_read_is_said_to_be_one(tmp_path):
    with pytest.raises(StoreUnavailable, match="the trials of digits-abc cannot be read: "):
        best_params(tmp_path / "missing" / "journal.log", "digits-abc")
    assert not (tmp_path / "missing").exists()
