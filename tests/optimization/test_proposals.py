"""What is proposed does not depend on where a session begins or ends."""

import warnings
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from pipeline.errors import BadInput
from pipeline.optimization import exhausted, finished, next_proposal, run_ids
from pipeline.results import Outcome

N_TRIALS = 14
"""TPE draws its first ten trials at random."""


def curve(params):
    """Return a mean curve that depends on the parameters."""
    floor = abs(params["learning_rate"] - 0.01) + params["momentum"] / 10
    return [floor + 1 / n for n in range(1, params["max_epochs"] + 1)]


def search(open_it, spec, run_trial, n=N_TRIALS):
    study = open_it()
    for _ in range(n):
        proposal = next_proposal(study, spec)
        run_trial(proposal, spec, curve(proposal.params))
    return proposals(study)


def proposals(study):
    return [(trial.number, trial.params) for trial in study.trials]


@pytest.fixture
def spec(make_spec):
    return make_spec(max_epochs=IntDistribution(2, 6))


@pytest.fixture
def uninterrupted(spec, open_journal, run_trial):
    return search(lambda: open_journal(spec, "uninterrupted"), spec, run_trial)


def test_two_studies_of_one_seed_propose_the_same(spec, uninterrupted, open_journal, run_trial):
    assert search(lambda: open_journal(spec), spec, run_trial) == uninterrupted


def test_another_seed_proposes_otherwise(make_spec, uninterrupted, open_journal, run_trial):
    other = make_spec(max_epochs=IntDistribution(2, 6), seed=4)
    again = search(lambda: open_journal(other), other, run_trial, n=3)
    assert all(a != b for (_, a), (_, b) in zip(again, uninterrupted, strict=False))


def test_no_two_trials_are_drawn_alike(uninterrupted):
    rates = [params["learning_rate"] for _, params in uninterrupted]
    assert len(set(rates)) == N_TRIALS


def test_a_study_reopened_after_every_trial_proposes_the_same(
    spec, uninterrupted, open_journal, run_trial
):
    for _ in range(N_TRIALS):
        proposal = next_proposal(study := open_journal(spec), spec)
        run_trial(proposal, spec, curve(proposal.params))
    assert proposals(study) == uninterrupted


def test_a_study_interrupted_in_every_trial_proposes_the_same(
    spec, uninterrupted, open_journal, run_trial, result_of
):
    for number in range(N_TRIALS):
        proposal = next_proposal(open_journal(spec), spec)
        means = curve(proposal.params)
        proposal.report(1, means[0], horizon_free=True)
        if number % 2:  # told so, or killed
            proposal.tell(result_of(proposal, spec, means[:1], Outcome.INTERRUPTED))
        study = open_journal(spec)
        again = next_proposal(study, spec)
        assert (again.number, again.params) == (number, proposal.params)
        run_trial(again, spec, means)
    assert proposals(study) == uninterrupted
    assert len(finished(study, spec)) == N_TRIALS


def cut_after(path: Path, n_params: int) -> None:
    """Leave of a journal what a process wrote before it was killed: `n_params` of the last trial's.

    A new trial is a record with op_code 4, each of its parameters one with op_code 5.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith(b'{"op_code":4,'))
    params = [i for i, line in enumerate(lines) if i > last and line.startswith(b'{"op_code":5,')]
    path.write_bytes(b"".join(lines[: params[n_params]]))


@pytest.mark.parametrize("sampler", [None, lambda seed: optuna.samplers.RandomSampler(seed)])
@pytest.mark.parametrize("n_params", [0, 1, 2])
@pytest.mark.parametrize("number", [0, 4, 12])
def test_a_trial_killed_before_its_params_were_stored_gets_those_it_would_have_had(
    number, n_params, sampler, make_spec, open_journal, run_trial, tmp_path
):
    spec = make_spec(max_epochs=IntDistribution(2, 6), sampler=sampler)
    if number:
        search(lambda: open_journal(spec), spec, run_trial, n=number)
    proposal = next_proposal(open_journal(spec), spec)
    cut_after(tmp_path / "journal.log", n_params)
    (killed,) = open_journal(spec).get_trials(states=(TrialState.RUNNING,))
    assert len(killed.params) == n_params
    again = next_proposal(open_journal(spec), spec)
    assert (again.number, again.params) == (number, proposal.params)


def test_a_running_trial_comes_before_a_new_one(spec, open_journal, run_trial):
    first = next_proposal(open_journal(spec), spec)
    study = open_journal(spec)
    assert next_proposal(study, spec).number == first.number == 0
    run_trial(next_proposal(study, spec), spec, curve(first.params))
    assert next_proposal(study, spec).number == 1


def test_the_runs_of_all_trials_are_known(spec, open_journal, run_trial):
    study = open_journal(spec)
    ended = next_proposal(study, spec)
    ended.write_note("mlflow_run", "ended")
    run_trial(ended, spec, curve(ended.params))
    next_proposal(study, spec).write_note("mlflow_run", "running")
    next_proposal(study, spec)  # has none yet
    assert run_ids(open_journal(spec)) == ["ended", "running"]


class Asked(optuna.pruners.NopPruner):
    """Remembers the steps that it was asked about; prunes at one of them."""

    def __init__(self, prune_at=None):
        self.steps = []
        self.prune_at = prune_at

    def prune(self, study, trial):
        self.steps.append(trial.last_step)
        return trial.last_step == self.prune_at


@pytest.mark.parametrize(
    ("horizon", "horizon_free", "killed_at", "asked_again"),
    [
        (10, True, 4, [4, 5, 6, 7, 8, 9]),
        (10, False, 4, [8, 10, 12, 14, 16, 18]),  # two shares an epoch
        (60, False, 53, [17, 18, 19]),  # three epochs a share: 17 was reported after epoch 51
        (60, False, 54, [18, 19]),
    ],
)
def test_a_continued_trial_is_judged_from_its_last_report_on(
    horizon, horizon_free, killed_at, asked_again, make_spec, open_journal
):
    spec = make_spec(max_epochs=horizon, pruner=Asked())
    proposal = next_proposal(open_journal(spec), spec)
    for n_epochs in range(1, killed_at + 1):
        proposal.report(n_epochs, 1 / n_epochs, horizon_free=horizon_free)
    continued = make_spec(max_epochs=horizon, pruner=Asked())
    study = open_journal(continued)
    reported = dict(study.trials[0].intermediate_values)
    again = next_proposal(study, continued)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n_epochs in range(1, horizon + 1):
            again.report(n_epochs, 1 / n_epochs, horizon_free=horizon_free)
    assert caught == []
    assert continued.pruner.steps == asked_again
    assert reported.items() <= study.trials[0].intermediate_values.items()
    assert max(study.trials[0].intermediate_values) == (10 if horizon_free else 20)


@pytest.mark.parametrize("horizon_free", [True, False])
def test_a_trial_killed_between_the_verdict_and_its_telling_is_pruned_where_it_was(
    horizon_free, make_spec, open_journal
):
    step = 4 if horizon_free else 8
    spec = make_spec(pruner=Asked(prune_at=step))
    for _ in range(2):
        proposal = next_proposal(open_journal(spec), spec)
        verdicts = [proposal.report(n, 1.0, horizon_free=horizon_free) for n in (1, 2, 3, 4)]
        assert verdicts == [False, False, False, True]


def test_a_trial_killed_between_two_reports_of_an_epoch_gets_the_second(make_spec, open_journal):
    spec = make_spec(pruner=Asked())
    proposal = next_proposal(study := open_journal(spec), spec)
    proposal._trial.report(1.0, 1)
    again = next_proposal(study := open_journal(spec), spec)
    again.report(1, 1.0, horizon_free=False)
    assert study.trials[0].intermediate_values == {1: 1.0, 2: 1.0}
    assert spec.pruner.steps == [2]


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        (lambda seed: 1 / 0, r"sampler\(\d+\) raised ZeroDivisionError: division by zero"),
        (lambda seed: None, "sampler must return an Optuna sampler, got None"),
        (lambda seed: optuna.samplers.TPESampler, "must return an Optuna sampler, got <class"),
        (
            lambda seed: optuna.samplers.GridSampler({"momentum": [0.1]}, seed=seed),
            "sampler must propose learning_rate, momentum, got .*Grid.*, which raised ValueError: ",
        ),
        (
            lambda seed: optuna.samplers.GridSampler({"learning_rate": [0.01, 9.99]}, seed=seed),
            "values of learning_rate that its space has, FloatDistribution.*, got 9.99 in GridSamp",
        ),
    ],
)
def test_a_sampler_that_cannot_be_used_is_named(sampler, says, make_spec, open_journal):
    spec = make_spec(sampler=sampler)
    with pytest.raises(BadInput, match=says):
        next_proposal(open_journal(spec), spec)


def test_the_factory_is_called_with_a_seed_of_the_trial(make_spec, open_journal, run_trial):
    seeds = []

    def sampler(seed):
        seeds.append(seed)
        return optuna.samplers.RandomSampler(seed)

    spec = make_spec(sampler=sampler)
    search(lambda: open_journal(spec), spec, run_trial, n=3)
    assert len(set(seeds)) == 3
    assert all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)


def test_a_grid_is_proposed_once_over_sessions_and_then_ends(make_spec, open_journal, run_trial):
    grid = {"learning_rate": [0.001, 0.01], "momentum": [0.0, 0.5]}
    spec = make_spec(
        max_epochs=5, sampler=lambda seed: optuna.samplers.GridSampler(grid, seed=seed)
    )
    n = 0
    while not exhausted(study := open_journal(spec), spec):
        proposal = next_proposal(study, spec)
        assert exhausted(study, spec) == (n == 3)  # the last point is not proposed twice
        run_trial(proposal, spec, curve(proposal.params))
        n += 1
    assert n == 4
    assert sorted(tuple(trial.params.values()) for trial in study.trials) == [
        (rate, momentum) for rate in grid["learning_rate"] for momentum in grid["momentum"]
    ]
    assert {result.outcome for result in finished(study, spec)} == {Outcome.COMPLETED}


def test_other_samplers_are_never_exhausted(make_spec, open_journal):
    spec = make_spec(max_epochs=CategoricalDistribution([1]))
    assert not exhausted(open_journal(spec), spec)


def test_a_process_that_gets_a_trial_no_further_died_in_vain(spec, open_journal):
    def began(n_epochs, n_fold_epochs=0):
        return next_proposal(open_journal(spec), spec).begin_attempt(n_epochs, n_fold_epochs)

    assert [began(n) for n in (0, 0, 0)] == [0, 1, 2]
    assert [began(0, n) for n in (1, 2, 2)] == [0, 0, 1]  # folds that are behind caught up by one
    assert [began(n) for n in (3, 3)] == [0, 1]  # it got to epoch 3, and not beyond
    next_proposal(open_journal(spec), spec).end_attempt()
    assert began(3) == 0  # it left on purpose


def test_reported_epochs_are_progress_too(spec, open_journal):
    proposal = next_proposal(open_journal(spec), spec)
    assert proposal.begin_attempt(0, 0) == 0
    proposal.report(1, 1.0, horizon_free=True)
    assert next_proposal(open_journal(spec), spec).begin_attempt(0, 0) == 0
