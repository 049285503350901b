"""Trials that pause and go on, on a real journal; their curves are made by hand."""

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from pipeline.budget import Budget
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.optimization import Climbs, enqueue, finished, importances
from pipeline.optimization.climbs import best_average
from pipeline.optimization.ranked import study_of_ranked
from pipeline.results import Outcome, TrialResult
from pipeline.strategy import Ladder, Step

HORIZON = 10
LADDER = Ladder(rungs=(0.1, 0.5, 1))


class Watching(optuna.samplers.TPESampler):
    """Keeps what it was shown of the trials when it was last asked: number -> (state, value)."""

    shown: dict = {}  # noqa: RUF012 - one for all: samplers are made anew for each trial

    def infer_relative_search_space(self, study, trial):
        trials = study.get_trials(deepcopy=False)
        type(self).shown = {each.number: (each.state, each.value) for each in trials[:-1]}
        return super().infer_relative_search_space(study, trial)


@pytest.fixture
def search(open_journal, result_of):
    """Return a function that takes steps, in a session of its own, on straight curves."""

    def run(spec, losses, n_steps=10**6, *, left=float("inf"), is_taken=lambda number: False):
        climbs = Climbs(open_journal(spec), spec, LADDER, n_folds=2)
        steps: list[tuple[int, int]] = []
        while len(steps) < n_steps:
            step = climbs.next_step(left=left, is_taken=is_taken)
            if step is None:
                break
            proposal = climbs.proposal(step)
            steps.append((proposal.number, step.rung))
            means = [losses(proposal.number)] * LADDER.n_epochs(step.rung, HORIZON)
            if step.rung == 3:
                proposal.tell(result_of(proposal, spec, means))
            else:
                paused = result_of(proposal, spec, means, Outcome.PAUSED)
                proposal.pause(paused)
        return climbs, steps

    return run


def falling(number):
    return 1.0 - number / 100


def test_what_mattered_is_seen_in_the_places_of_all_though_few_have_a_value(
    make_spec, open_journal, search
):
    spec = make_spec(budget=Budget(n_trials=30), strategy=LADDER)
    search(spec, lambda number: open_journal(spec).trials[number].params["learning_rate"])
    study = open_journal(spec)
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) < 10
    shares = importances(study, spec, 2)
    assert list(shares) == ["learning_rate", "momentum"]
    assert shares["learning_rate"] > 0.8


def test_a_paused_trial_stays_running_and_an_ended_one_is_complete(make_spec, open_journal, search):
    spec = make_spec(budget=Budget(n_trials=6))
    climbs, steps = search(spec, falling)
    trials = open_journal(spec).get_trials()
    ended = [trial.number for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(trials) == 6
    assert sorted(number for number, rung in steps if rung == 3) == ended
    assert len(ended) == LADDER.n_finalists
    assert {trial.state for trial in trials if trial.number not in ended} == {TrialState.RUNNING}
    paused = climbs.paused()
    assert {each.number for each in paused} == set(range(6)) - set(ended)
    assert all(each.outcome is Outcome.PAUSED and each.value is None for each in paused)
    assert [each.number for each in finished(open_journal(spec), spec)] == ended


def test_a_restart_changes_nothing(make_spec, open_journal, search):
    spec = make_spec(budget=Budget(n_trials=20), name="whole")
    _, whole = search(spec, falling)
    params = [trial.params for trial in open_journal(spec).get_trials()]
    open_journal(spec)._storage.delete_study(open_journal(spec)._study_id)
    parts = []
    while steps := search(spec, falling, 3)[1]:
        parts += steps
    assert parts == whole
    assert [trial.params for trial in open_journal(spec).get_trials()] == params


@pytest.mark.parametrize("objective", [Objective(), Objective("val_accuracy", "maximize")])
def test_the_best_one_goes_on_whichever_way_is_better(objective, make_spec, search):
    spec = make_spec(objective=objective, budget=Budget(n_trials=12))
    _, steps = search(spec, falling)
    first = next(number for number, rung in steps if rung == 2)
    earlier = steps[: steps.index((first, 2))]
    numbers = [number for number, _ in earlier]
    assert first == (max if objective.direction == "minimize" else min)(numbers)


@pytest.mark.parametrize("objective", [Objective(), Objective("val_accuracy", "maximize")])
def test_the_sampler_sees_places_and_deeper_rungs_decide(
    objective, make_spec, search, open_journal
):
    """Trial 0 is ahead of 1 at their first rung, and behind it at the last."""
    spec = make_spec(objective=objective, sampler=lambda seed: Watching(seed=seed))
    sign = 1 if objective.direction == "minimize" else -1
    climbs, _ = search(spec, falling, 0)
    told = [[0.1] * 9 + [0.05], [0.2] * 5 + [0.01] * 5, [0.15] * 5, [0.3]]
    for losses, rung in zip(told, (3, 3, 2, 1), strict=True):
        proposal = climbs.proposal(Step(None, 1))
        proposal.rung = rung
        outcome, tell = Outcome.PAUSED, proposal.pause
        if rung == 3:
            outcome, tell = Outcome.COMPLETED, proposal.tell
        curves = FoldCurves(sign * np.array([losses]), spec.objective)
        result = TrialResult(proposal.number, proposal.params, outcome, curves, 1.0, len(losses))
        tell(result)
    failed = climbs.proposal(Step(None, 1))
    failed.tell(TrialResult(failed.number, failed.params, Outcome.FAILED, None, 1.0, 0))
    climbs.proposal(Step(None, 1))
    places = {number: sign * value for number, (_, value) in Watching.shown.items()}
    assert places == {1: 0, 2: 1, 0: 2, 3: 3, 4: 4}
    assert {state for state, _ in Watching.shown.values()} == {TrialState.COMPLETE}
    states = [trial.state for trial in open_journal(spec).get_trials()]
    assert states[2:5] == [TrialState.RUNNING, TrialState.RUNNING, TrialState.FAIL]  # as stored


def test_a_single_epoch_that_is_good_by_chance_does_not_count():
    """The lowest mean of a third of the epochs: two of six, and one of the first two."""
    lucky = np.array([0.5, 0.4, 0.1, 0.5, 0.4, 0.4])
    assert best_average(lucky) == pytest.approx(0.25)
    assert best_average(np.array([0.5, 0.375, 0.375, 0.5, 0.75, 0.875])) == 0.375
    assert best_average(lucky[:2]) == 0.4


def test_a_rung_that_is_there_twice_is_reached_with_one_fold_and_then_with_all(
    make_spec, open_journal
):
    spec = make_spec(sampler=lambda seed: Watching(seed=seed))
    climbs = Climbs(open_journal(spec), spec, Ladder(rungs=(0.1, 0.5, 0.5, 1), n_finalists=3), 2)
    # By its first fold trial 0 is the best, and by both it is the worst.
    for ahead, behind in ((0.1, 0.9), (0.2, 0.2), (0.3, 0.3)):
        proposal = climbs.proposal(Step(None, 1))
        proposal.rung = 3
        curves = FoldCurves(np.array([[ahead] * 5, [behind] * 5]), spec.objective)
        params = proposal.params
        proposal.pause(TrialResult(proposal.number, params, Outcome.PAUSED, curves, 1.0, 10))
    climbs.proposal(Step(None, 1))
    assert {number: value for number, (_, value) in Watching.shown.items()} == {1: 0, 2: 1, 0: 2}
    assert climbs.finalists() == [1, 2, 0]


def test_a_mean_over_all_folds_counts_by_its_lowest_epoch(make_spec, open_journal):
    """Averaged over a third of the epochs, the curve that still falls would be behind."""
    spec = make_spec()
    climbs = Climbs(open_journal(spec), spec, Ladder(rungs=(0.1, 0.9, 0.9, 1)), n_folds=2)
    level = np.full(9, 0.15)
    for curve in (level, np.linspace(0.9, 0.1, 9)):
        proposal = climbs.proposal(Step(None, 1))
        proposal.rung = 3
        curves, params = FoldCurves(np.array([curve, curve]), spec.objective), proposal.params
        proposal.pause(TrialResult(proposal.number, params, Outcome.PAUSED, curves, 1.0, 18))
    assert climbs.finalists() == [1, 0]


def test_with_one_fold_no_rung_is_there_twice(make_spec, open_journal):
    spec = make_spec()
    climbs = Climbs(open_journal(spec), spec, Ladder(rungs=(0.1, 0.5, 0.5, 1)), n_folds=1)
    assert climbs.strategy == LADDER


def test_a_trial_that_was_left_in_the_middle_goes_on_first(make_spec, search, result_of):
    spec = make_spec()
    climbs, _ = search(spec, falling, 5)
    assert climbs.next_step() == Step(3, 2)
    begun = climbs.proposal(Step(None, 1))  # its process died before it paused
    again, _ = search(spec, falling, 0)
    assert again.next_step() == Step(begun.number, 1)
    begun.tell(result_of(begun, spec, [0.5], Outcome.INTERRUPTED))
    assert again.next_step() == Step(begun.number, 1)


def test_a_trial_that_another_worker_is_at_is_not_taken(make_spec, search):
    spec = make_spec()
    climbs, _ = search(spec, falling, 5)
    assert climbs.next_step() == Step(3, 2)
    assert climbs.next_step(is_taken=lambda number: number == 3) == Step(None, 1)


def test_an_enqueued_trial_is_a_new_one(make_spec, search, open_journal):
    spec = make_spec(budget=Budget(n_trials=3))
    enqueue(open_journal(spec), [{"learning_rate": 0.05, "momentum": 0.5}])
    climbs, _ = search(spec, falling, 0)
    proposal = climbs.proposal(climbs.next_step())
    assert proposal.params["learning_rate"] == 0.05
    assert climbs.next_step() == Step(0, 1)


def test_trials_of_different_horizons_are_compared_at_equal_shares_of_them(
    make_spec, search, open_journal
):
    """After one epoch of ten and ten of a hundred; after one each the first would be ahead."""
    spec = make_spec(max_epochs=IntDistribution(10, 100, step=90), budget=Budget(n_trials=2))
    rest = {"learning_rate": 0.05, "momentum": 0.5}
    enqueue(open_journal(spec), [{**rest, "max_epochs": horizon} for horizon in (10, 100)])
    climbs, _ = search(spec, falling, 0)
    for losses in ([0.5], [0.9] * 7 + [0.4] * 3):
        proposal = climbs.proposal(Step(None, 1))
        curves = FoldCurves(np.array([losses]), spec.objective)
        n_updates = len(losses)
        proposal.pause(
            TrialResult(proposal.number, proposal.params, Outcome.PAUSED, curves, 1.0, n_updates)
        )
    assert climbs.next_step() == Step(1, 2)


def test_what_is_written_to_a_ranked_study_is_in_the_study(make_spec, open_journal):
    study = open_journal(make_spec())
    ranked = study_of_ranked(study, {})
    ranked.ask().set_user_attr("kept", 1)
    assert study.get_trials()[0].user_attrs == {"kept": 1}
