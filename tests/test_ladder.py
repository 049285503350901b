"""Whole searches whose trials pause on rungs, with a real model, store and journal."""

import numpy as np
import pytest

from pipeline.errors import BadInput, Interrupted
from pipeline.results import Outcome
from pipeline.search import search
from tests.tiny_study import Heard, StopAt, bits, client, runs_of, tiny

HORIZON = 8
FIELDS = (
    "dict(pruner=None, strategy=Ladder(rungs=(0.25, 0.5, 1), n_finalists=2{ladder}), "
    'space={{"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "max_epochs": 8}}, '
    "budget=Budget(n_trials=6{budget}){more})"
)


def study(home, *, ladder="", budget="", more=""):
    return tiny(home, fields=FIELDS.format(ladder=ladder, budget=budget, more=more))


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_database):
    """One search that several tests look at."""
    home = tmp_path_factory.mktemp("searched")
    return home, search(study(home))


def test_trials_of_one_horizon_pause_where_nothing_is_said(home):
    space = '{"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "max_epochs": 9}'
    display = Heard()
    result = search(tiny(home, fields=f"dict(pruner=None, space={space})"), display=display)
    assert [line for line in display.lines if "strategy=None trains all" in line]
    trained = sorted(trial.n_fold_epochs for trial in result.trials)
    assert trained[0] < trained[-1] == 3 * 9
    assert [trial.curves.folds for trial in result.trials].count((0,)) >= 1


def completed(result):
    return [trial for trial in result.trials if trial.outcome is Outcome.COMPLETED]


def test_only_trials_on_all_folds_may_win(searched):
    _, result = searched
    assert [trial.number for trial in result.trials] == list(range(6))
    assert len(completed(result)) == 2
    assert all(trial.curves.values.shape == (3, HORIZON) for trial in completed(result))
    for trial in result.trials:
        if trial not in completed(result):
            assert trial.outcome is Outcome.PRUNED
            assert trial.curves.folds == (0,)
            assert trial.curves.n_epochs in (2, 4)
    best = min(completed(result), key=lambda trial: trial.value)
    assert result.best.number == best.number
    spent = sum(trial.n_fold_epochs for trial in result.trials)
    assert spent < 6 * 3 * HORIZON / 2


def test_folds_that_came_late_are_what_they_would_have_been(searched, home):
    """Trained from the start on all folds, the same parameters give the same bits."""
    _, result = searched
    trial = completed(result)[0]
    rate = trial.params["learning_rate"]
    fields = (
        f'dict(space={{"learning_rate": {rate!r}, "max_epochs": 8}}, budget=Budget(n_trials=1))'
    )
    again = search(tiny(home, fields=fields)).trials[0]
    np.testing.assert_array_equal(again.curves.values, trial.curves.values)
    np.testing.assert_array_equal(again.training, trial.training)
    assert again.n_updates == trial.n_updates


def test_every_epoch_of_every_fold_is_in_mlflow_once(searched):
    home, result = searched
    store, (parent, children) = client(home), runs_of(home)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 7
    for run, trial in zip(children, result.trials, strict=True):
        assert run.data.tags["outcome"] == trial.outcome.label
        if trial.number == result.best.number:
            trial = result.best
        for row, fold in enumerate(trial.curves.folds):
            logged = store.get_metric_history(run.info.run_id, f"fold_{fold}/val_loss")
            assert [m.step for m in logged] == list(range(1, trial.curves.n_epochs + 1))
            assert [m.value for m in logged] == trial.curves.values[row].tolist()
        means = store.get_metric_history(run.info.run_id, "val_loss_mean")
        expected = trial.curves.mean.tolist() if trial.value is not None else []
        assert [m.value for m in means] == pytest.approx(expected)


@pytest.mark.parametrize(
    "at", [pytest.param("a new trial", marks=pytest.mark.long), "catching up", "the last rung"]
)
def test_a_signal_ends_the_epoch_and_the_same_command_continues(searched, home, at):
    finalist = completed(searched[1])[0].number
    where = {"a new trial": (1, 1), "catching up": (finalist, 1), "the last rung": (finalist, 7)}
    spec, stopped = study(home), StopAt(*where[at])
    if at == "catching up":
        stopped = StopAtSecond(finalist, 1)
    with pytest.raises(Interrupted, match="same command continues"):
        search(spec, display=stopped)
    parent, children = runs_of(home)
    assert parent.info.status == "KILLED"
    assert {run.info.status for run in children} <= {"KILLED", "SCHEDULED", "FINISHED"}
    assert bits(search(spec)) == bits(searched[1])
    assert {run.info.status for run in runs_of(home)[1]} == {"FINISHED"}
    for run in runs_of(home)[1]:
        for key in ("fold_0/val_loss", "fold_1/val_loss", "val_loss_mean"):
            steps = [m.step for m in client(home).get_metric_history(run.info.run_id, key)]
            assert steps == list(range(1, len(steps) + 1))


class StopAtSecond(StopAt):
    """At the second time that a trial is at this epoch: on the last rung, with the other folds."""

    n_times = 0

    def epoch_ended(self, number, n_epochs, mean):
        if (number, n_epochs) == self.at:
            self.n_times += 1
        if self.n_times == 2 or (number, n_epochs) != self.at:
            super().epoch_ended(number, n_epochs, mean)


@pytest.mark.parametrize(
    "most",
    [80, pytest.param(60, marks=pytest.mark.long), pytest.param(120, marks=pytest.mark.long)],
)
def test_fold_epochs_are_never_overshot_and_there_is_an_answer(home, most):
    result = search(study(home, budget=f", max_fold_epochs={most}", more=", refit=Refit(False)"))
    spent = sum(trial.n_fold_epochs for trial in result.trials) + result.n_extra_fold_epochs
    assert spent <= most
    assert completed(result)


def test_states_are_dropped_of_those_that_are_far_from_going_on(searched, home):
    """Which says so, and changes nothing."""
    heard = Heard()
    result = search(study(home, ladder=", n_snapshots=1"), display=heard)
    assert any("its state is dropped" in line for line in heard.lines)
    assert not list(result.decision_path.parent.glob("snapshots/trial_*"))
    assert bits(result) == bits(searched[1])


def test_a_finished_search_trains_nothing_and_answers_again(searched):
    home, result = searched
    assert bits(search(study(home))) == bits(result)
    assert len(runs_of(home)[1]) == 6


@pytest.mark.long
def test_folds_that_come_in_at_half_of_the_epochs_are_those_of_a_trial_that_had_them(home):
    """And a search that is stopped while they catch up goes on to the same bits."""
    ladder = "Ladder(rungs=(0.25, 0.5, 1), n_finalists=2)"
    twice = "Ladder(rungs=(0.25, 0.5, 0.5, 1), n_finalists=1)"
    fields = FIELDS.format(ladder="", budget="", more="").replace(ladder, twice)
    fields = fields.replace("n_trials=6", "n_trials=8")
    whole = search(tiny(home, fields=fields))
    (ended,) = completed(whole)
    halfway = [t for t in whole.trials if t.outcome is Outcome.PRUNED and len(t.curves.folds) == 3]
    assert {trial.curves.values.shape for trial in halfway} == {(3, 4)}
    alone = [t for t in whole.trials if t.curves.folds == (0,)]
    assert len(halfway) + len(alone) + 1 == 8
    for trial in (ended, halfway[0]):
        rate, n_epochs = trial.params["learning_rate"], trial.curves.n_epochs
        again = (
            f'dict(space={{"learning_rate": {rate!r}, "max_epochs": 8}}, budget=Budget(n_trials=1))'
        )
        curves = search(tiny(home, fields=again, name="again")).trials[0].curves.values
        np.testing.assert_array_equal(trial.curves.values, curves[:, :n_epochs])
    stopped = tiny(home, fields=fields, name="stopped")
    with pytest.raises(Interrupted):
        search(stopped, display=StopAtSecond(ended.number, 2))
    assert bits(search(stopped)) == bits(whole)
    run = runs_of(home)[1][halfway[0].number]
    means = client(home).get_metric_history(run.info.run_id, "val_loss_mean")
    assert [m.value for m in means] == pytest.approx(halfway[0].curves.mean.tolist())


def test_a_schedule_that_is_laid_out_for_its_horizon_counts_at_its_end(home):
    result = search(study(home, more=", schedule=Cosine()"))
    assert {trial.curves.n_epochs for trial in completed(result)} == {HORIZON}
    assert result.choice.n_epochs == result.choice.horizon


@pytest.mark.long
def test_rungs_are_shares_of_a_schedules_own_horizon_and_it_goes_on_where_it_paused(home):
    """Of two horizons; bit for bit what a training without a pause gives."""
    horizons = FIELDS.replace('"max_epochs": 8', '"max_epochs": CategoricalDistribution([8, 12])')
    more = ", schedule=Cosine(), refit=Refit(False)"
    result = search(tiny(home, fields=horizons.format(ladder="", budget="", more=more)))
    assert {trial.horizon for trial in result.trials} == {8, 12}
    for trial in result.trials:
        is_whole = trial in completed(result)
        ends = {trial.horizon} if is_whole else {trial.horizon // 4, trial.horizon // 2}
        assert trial.curves.n_epochs in ends
    longest = max(completed(result), key=lambda trial: trial.horizon)
    space = {name: longest.params[name] for name in ("learning_rate", "max_epochs")}
    fields = f"dict(space={space!r}, schedule=Cosine(), budget=Budget(n_trials=1))"
    again = search(tiny(home, fields=fields, name="again")).trials[0]
    np.testing.assert_array_equal(again.curves.values, longest.curves.values)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (", strategy=Ladder(fold=3)", "strategy.fold must be one of the 3 fold"),
        (", strategy='ladder'", "strategy must be a strategy such as Ladder"),
        (", pruner=NopPruner()", "pruner must be None with a strategy"),
        (", schedule=ReduceOnPlateau()", "reacts to the mean curve"),
        (", schedule=dict(flat=Constant(), cosine=Cosine())", "cannot be compared"),
    ],
)
def test_what_does_not_go_together_is_refused(home, more, message):
    fields = f"{FIELDS.format(ladder='', budget='', more='')} | dict({more[2:]})"
    with pytest.raises(BadInput, match=message):
        search(tiny(home, fields=fields))


def test_the_simple_strategy_finishes_the_best(home):
    ladder = "Ladder(rungs=(0.25, 0.5, 1), n_finalists=2)"
    fields = FIELDS.format(ladder="", budget="", more="").replace(ladder, "FinishBest()")
    result = search(tiny(home, fields=fields))
    paused = [trial for trial in result.trials if trial.outcome is Outcome.PRUNED]
    first = [trial.curves.values[0, :2].min() for trial in result.trials]
    assert sorted(first)[:3] == sorted(
        trial.curves.values[0, :2].min() for trial in completed(result)
    )
    assert {trial.curves.n_epochs for trial in paused} == {2}
