"""How searches and their trials end: diverged, refused, pruned, stopped, interrupted, edited."""

import json
import os
import signal

import pytest

from pipeline.errors import BadInput, Interrupted, NoResult, StoreUnavailable, StudyFailed
from pipeline.progress import Display
from pipeline.results import Outcome
from pipeline.search import search
from tests.tiny_study import Heard, client, runs_of, tiny

UNBOUNDED = """
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(params["learning_rate"]), loss="mse")
    return model
"""


def test_a_diverged_trial_fails_with_its_epoch_and_the_search_goes_on(home):
    fields = """dict(space={
        "learning_rate": CategoricalDistribution([1e-2, 1e30]), "max_epochs": 4},
        budget=Budget(n_trials=6))"""
    result = search(tiny(home, fields=fields, builder=UNBOUNDED))
    outcomes = {trial.params["learning_rate"]: trial for trial in result.trials}
    assert outcomes[1e-2].outcome is Outcome.COMPLETED
    assert outcomes[1e30].outcome is Outcome.FAILED
    assert "after epoch" in outcomes[1e30].reason
    assert {trial.diverged for trial in result.trials} == {False, True}
    _, children = runs_of(home)
    assert {run.info.status for run in children} == {"FINISHED", "FAILED"}


def test_a_builder_that_raises_for_a_proposal_fails_that_trial_only(home):
    fields = """dict(space={"learning_rate": 0.01, "max_epochs": 2,
        "width": CategoricalDistribution([2, 3])}, budget=Budget(n_trials=5))"""
    builder = "if params['width'] == 2: raise RuntimeError('no twos')"
    result = search(tiny(home, fields=fields, builder=builder))
    failed = [trial for trial in result.trials if trial.outcome is Outcome.FAILED]
    assert failed
    assert all(trial.params["width"] == 2 and "no twos" in trial.reason for trial in failed)


def test_failures_in_a_row_end_the_study(home):
    fields = """dict(space={"learning_rate": 0.1, "max_epochs": 2,
        "width": IntDistribution(1, 1001)},
        budget=Budget(n_trials=9, max_failures_in_a_row=3))"""
    builder = "if params['width'] != 501: raise RuntimeError('always')"
    with pytest.raises(StudyFailed, match=r"3 trials in a row failed .*always"):
        search(tiny(home, fields=fields, builder=builder))
    parent, children = runs_of(home)
    assert parent.info.status == "FAILED"
    assert [run.info.status for run in children] == ["FAILED"] * 3


def test_when_every_trial_fails_there_is_no_result(home):
    fields = """dict(space={"learning_rate": FloatDistribution(1e28, 1e30), "max_epochs": 2},
        budget=Budget(n_trials=2))"""
    with pytest.raises(NoResult, match=r"2 trial\(s\), 2 failed; the last failure: diverged"):
        search(tiny(home, fields=fields, builder=UNBOUNDED))
    assert runs_of(home)[0].info.status == "FAILED"


def test_a_pruned_trial_is_finished_and_has_no_value(home):
    fields = "dict(pruner=ThresholdPruner(upper=0.0), budget=Budget(n_trials=2))"
    with pytest.raises(NoResult, match="2 pruned"):
        search(tiny(home, fields=fields))
    _, children = runs_of(home)
    assert [run.info.status for run in children] == ["FINISHED"] * 2
    assert all(run.data.tags["outcome"] == "pruned" for run in children)
    assert all("best_val_loss" not in run.data.metrics for run in children)


def test_early_stopping_acts_on_the_mean(home):
    fields = """dict(early_stopping=EarlyStopping(patience=2, min_delta=100.0),
        space={"learning_rate": 0.01, "max_epochs": 6}, budget=Budget(n_trials=1))"""
    result = search(tiny(home, fields=fields))
    assert result.best.outcome is Outcome.STOPPED_EARLY
    assert result.trials[0].curves.n_epochs == 3
    assert result.best.value is not None


def test_a_timeout_answers_from_what_is_finished(home, monkeypatch):
    passed = 0.0

    class AnHourATrial(Display):
        def trial_ended(self, result):
            nonlocal passed
            passed += 3600.0

    monkeypatch.setattr("pipeline.spending.time.monotonic", lambda: passed)
    fields = "dict(budget=Budget(n_trials=50, timeout_secs=7000.0))"
    result = search(tiny(home, fields=fields), display=AnHourATrial())
    assert len(result.trials) == 2


def test_a_metric_can_be_maximised_with_a_fixed_validation_set(home):
    fields = """dict(objective=Objective("val_accuracy", "maximize"), splitter=None,
        load_data=load_with_validation_set)"""
    result = search(tiny(home, fields=fields))
    assert result.best.value == max(trial.value for trial in result.trials)
    assert result.best.curves is not None
    assert result.best.curves.n_folds == 1
    assert result.choice.standard_error is None


def test_a_rule_that_cannot_apply_is_refused_before_training(home):
    fields = """dict(rule=OneStandardError(), splitter=None,
        load_data=load_with_validation_set)"""
    with pytest.raises(BadInput, match="at least 2 folds"):
        search(tiny(home, fields=fields))
    assert client(home).get_experiment_by_name("tiny") is None


def test_an_annealed_trial_keeps_its_horizon(home):
    fields = """dict(schedule=Cosine(), rule=OneStandardError(),
        space={"learning_rate": FloatDistribution(0.01, 0.1),
               "max_epochs": IntDistribution(4, 6)})"""
    result = search(tiny(home, fields=fields))
    assert result.choice.horizon == result.best.params["max_epochs"]
    assert result.refit is not None
    assert result.refit.n_epochs == result.choice.n_epochs


def test_the_engine_that_was_recorded_is_obeyed(home):
    fields = "dict(engine='auto', budget=Budget(n_trials={}))"
    first, second = Heard(), Heard()
    search(tiny(home, fields=fields.format(1)), display=first)
    search(tiny(home, fields=fields.format(2)), display=second)
    assert sum(line.startswith("engine") for line in first.lines) == 1
    assert not any(line.startswith("engine") for line in second.lines)


def test_the_package_is_called_as_a_notebook_would():
    import pipeline
    import pipeline.search

    assert callable(pipeline.search)
    assert pipeline.search.search is search


def test_a_study_file_may_be_edited_while_it_runs(home):
    class Edit(Display):
        def trial_ended(self, result):
            with (home / "studies" / "tiny.py").open("a") as file:
                file.write("\nEDITED = True\n")

    result = search(tiny(home, fields="dict(budget=Budget(n_trials=1))"), display=Edit())
    assert result.decision_path.exists()
    assert result.signature in result.decision_path.parent.name


def test_the_answer_stands_when_the_refit_model_cannot_be_saved(home, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.training.fitted.FittedModel.save", full)
    with pytest.raises(StoreUnavailable, match=r"the answer stands .*No space left"):
        search(tiny(home, fields="dict(budget=Budget(n_trials=1))"))
    (path,) = home.glob("mlruns/studies/*/decision.json")
    assert json.loads(path.read_text())["refit"] is None
    assert runs_of(home)[0].info.status == "FAILED"


def test_a_signal_stops_the_refit_too(home):
    class StopAtRefit(Display):
        def say(self, line):
            if line.startswith("refit on"):
                os.kill(os.getpid(), signal.SIGTERM)

    spec = tiny(home, fields="dict(budget=Budget(n_trials=1))")
    with pytest.raises(Interrupted):
        search(spec, display=StopAtRefit())
    assert runs_of(home)[0].info.status == "KILLED"
    assert search(spec).refit is not None


@pytest.mark.long
def test_what_the_builder_makes_of_the_learning_rate_reaches_every_trial(home):
    builder = """
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    rate = params["learning_rate"]
    model.compile(
        keras.optimizers.{optimizer}, loss="binary_crossentropy", metrics=["accuracy"]
    )
    return model
"""
    fields = """dict(space={"learning_rate": CategoricalDistribution([0.001, 0.1]),
        "max_epochs": 2}, budget=Budget(n_trials=6))"""
    heard = Heard()
    baked = builder.format(optimizer="SGD(rate, weight_decay=5 * rate)")
    result = search(tiny(home, fields=fields, builder=baked), display=heard)
    assert any("learning_rate for more than the learning rate" in line for line in heard.lines)
    seen = {}
    for trial in result.trials:
        if trial.curves:
            seen[trial.params["learning_rate"]] = trial.curves.values.tolist()
    assert len(seen) == 2
    for rate, curves in seen.items():
        alone = builder.format(optimizer=f"SGD(rate, weight_decay={5 * rate!r})")
        only = fields.replace("CategoricalDistribution([0.001, 0.1])", repr(rate))
        again = search(tiny(home, fields=only, builder=alone, name=f"alone_{rate * 1000:.0f}"))
        assert again.trials[0].curves.values.tolist() == curves


@pytest.mark.long
def test_a_metric_object_has_the_same_name_in_every_trial(home):
    builder = """
    model = keras.Sequential([
        keras.Input((3,)), keras.layers.Dense(params["width"]), keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=[keras.metrics.AUC()])
    return model
"""
    fields = """dict(objective=Objective("val_auc", "maximize"), budget=Budget(n_trials=3),
        space={"learning_rate": 0.01, "max_epochs": 2, "width": CategoricalDistribution([2, 3])})"""
    result = search(tiny(home, fields=fields, builder=builder))
    assert all(trial.outcome is Outcome.COMPLETED for trial in result.trials)


def test_a_model_that_cannot_be_served_is_said_so(home):
    builder = """
    model = keras.Sequential([
        keras.Input((3,)), keras.layers.Lambda(lambda x: 2 * x), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(params["learning_rate"]), "binary_crossentropy")
    return model
"""
    heard = Heard()
    search(tiny(home, fields="dict(budget=Budget(n_trials=1))", builder=builder), display=heard)
    assert any(line.startswith("the refit model cannot be served") for line in heard.lines)


def test_a_finished_study_without_a_refit_trains_nothing_when_it_is_started_again(
    home, monkeypatch
):
    spec = tiny(home, fields="dict(refit=Refit(enabled=False))")
    result = search(spec)
    assert result.refit is None

    def train(lockstep):
        raise AssertionError("trained")

    monkeypatch.setattr("pipeline.training.lockstep.LockstepTraining.advance", train)
    again = search(spec)
    assert again.refit is None
    assert again.fold_models == result.fold_models == f"runs:/{runs_of(home)[0].info.run_id}/folds"
