"""Whole searches, with a real Keras model, a real MLflow store and a real Optuna journal."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.errors import BadInput, Interrupted, NoResult, StudyFailed
from pipeline.progress import Silent
from pipeline.results import Outcome, StudyResult
from pipeline.search import search
from tests.tiny_study import tiny


def client(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home / 'mlruns' / 'mlflow.db'}")


def runs_of(home: Path, name: str = "tiny"):
    """Return (the study's run, its trials' runs in order)."""
    store = client(home)
    experiment = store.get_experiment_by_name(name)
    runs = store.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    return parents[0], sorted(children, key=lambda run: run.info.run_name)


def bits(result: StudyResult) -> list:
    """Return everything of a result that must not depend on when or how often it was run."""
    trials = [
        (t.number, dict(t.params), t.outcome, t.n_updates, t.curves and t.curves.values.tolist())
        for t in result.trials
    ]
    return [trials, result.best.number, result.choice, result.refit and result.refit.test_metrics]


class StopAt(Silent):
    """Sends this process a signal after an epoch of a trial, once."""

    def __init__(self, number: int, n_epochs: int, signal_number: int = signal.SIGTERM) -> None:
        self.at, self.signal, self.number = (number, n_epochs), signal_number, -1

    def trial_started(self, number, params):
        self.number = number

    def epoch_ended(self, n_epochs, mean):
        if (self.number, n_epochs) == self.at:
            self.at = (-1, -1)
            os.kill(os.getpid(), self.signal)


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_database) -> tuple[Path, StudyResult]:
    """One search that several tests look at."""
    home = tmp_path_factory.mktemp("searched")
    result = search(tiny(home, fields="dict(test_size=0.2)"))
    return home, result


def test_a_search_answers_with_learning_rate_and_epochs(searched):
    _, result = searched
    assert [trial.outcome for trial in result.trials] == [Outcome.COMPLETED] * 3
    assert result.best.value == min(trial.value for trial in result.trials)
    assert result.choice.n_epochs == result.best.curves.best_n_epochs
    assert result.choice.score == result.best.value
    assert result.refit.n_rows == 48
    assert result.refit.n_updates == result.choice.n_epochs * 3
    assert set(result.refit.test_metrics) == {"loss", "accuracy"}


def test_the_decision_is_on_disk_and_in_the_run(searched):
    home, result = searched
    decision = json.loads(result.decision_path.read_text())
    assert decision["learning_rate"] == result.best.params["learning_rate"]
    assert decision["n_epochs"] == result.choice.n_epochs
    assert decision["horizon"] == result.best.params["max_epochs"]
    assert decision["engine"]["mode"] == "plain"
    assert decision["fold_epochs"] == sum(3 * t.params["max_epochs"] for t in result.trials)
    store, (parent, _) = client(home), runs_of(home)
    names = {file.path for file in store.list_artifacts(parent.info.run_id)}
    assert {"decision.json", "folds"} <= names


def test_every_epoch_of_every_fold_is_in_mlflow_once(searched):
    home, result = searched
    store, (_, children) = client(home), runs_of(home)
    for run, trial in zip(children, result.trials, strict=True):
        for fold, curve in enumerate(trial.curves.values):
            logged = store.get_metric_history(run.info.run_id, f"fold_{fold}/val_loss")
            assert [m.step for m in logged] == list(range(1, trial.curves.n_epochs + 1))
            assert [m.value for m in logged] == curve.tolist()
        means = store.get_metric_history(run.info.run_id, "val_loss_mean")
        assert [m.value for m in means] == pytest.approx(trial.curves.mean.tolist())
        rates = store.get_metric_history(run.info.run_id, "learning_rate")
        assert [m.value for m in rates] == pytest.approx(
            [trial.params["learning_rate"]] * trial.curves.n_epochs
        )


def test_runs_end_truthfully_with_best_values_and_outcomes(searched):
    home, result = searched
    parent, children = runs_of(home)
    assert parent.info.status == "FINISHED"
    for run, trial in zip(children, result.trials, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags["outcome"] == "completed"
        assert run.data.metrics["best_val_loss"] == pytest.approx(trial.value)
        assert run.data.params["learning_rate"] == str(trial.params["learning_rate"])
    assert parent.data.metrics["chosen_epochs"] == result.choice.n_epochs
    assert "engine.mode" in parent.data.params
    assert "version.keras" in parent.data.tags


def test_a_fold_model_gives_the_validation_loss_that_was_logged(searched, tmp_path):
    home, result = searched
    parent, _ = runs_of(home)
    folder = client(home).download_artifacts(parent.info.run_id, "folds", str(tmp_path))
    saved = np.load(Path(folder) / "out_of_fold.npz", allow_pickle=False)
    n_epochs = result.choice.n_epochs
    for fold in range(3):
        rows = saved["fold"] == fold
        p, y = saved["prediction"][rows, 0].astype(float), saved["label"][rows]
        loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        assert loss == pytest.approx(result.best.curves.values[fold, n_epochs - 1], rel=1e-5)
        assert (Path(folder) / f"fold_{fold}.weights.h5").is_file()
    assert sorted(saved["row"]) == list(range(48))


def test_the_same_study_in_another_place_gives_the_same_bits(searched, home):
    _, result = searched
    assert bits(search(tiny(home, fields="dict(test_size=0.2)"))) == bits(result)


def test_a_finished_study_trains_nothing_and_answers_again(searched):
    home, result = searched
    again = search(tiny(home, fields="dict(test_size=0.2)"))
    assert bits(again) == bits(result)
    assert again.refit == result.refit
    assert len(runs_of(home)[1]) == 3


def test_more_trials_continue_the_study(searched, home):
    fields = "dict(test_size=0.2, budget=Budget(n_trials={}))"
    search(tiny(home, fields=fields.format(1)))
    result = search(tiny(home, fields=fields.format(3)))
    assert bits(result) == bits(searched[1])
    assert len(runs_of(home)[1]) == 3


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_epoch_and_the_same_command_continues(searched, home, signal_number):
    spec = tiny(home, fields="dict(test_size=0.2)")
    with pytest.raises(Interrupted, match="same command continues"):
        search(spec, display=StopAt(1, 2, signal_number))
    parent, children = runs_of(home)
    assert parent.info.status == "KILLED"
    assert [run.info.status for run in children] == ["FINISHED", "KILLED"]

    assert bits(search(spec)) == bits(searched[1])
    parent, children = runs_of(home)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 4
    for run in children:
        logged = client(home).get_metric_history(run.info.run_id, "val_loss_mean")
        steps = [metric.step for metric in logged]
        assert steps == list(range(1, int(run.data.params["max_epochs"]) + 1))


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
    assert result.best.curves.n_epochs == 3
    assert result.best.value is not None


def test_a_timeout_answers_from_what_is_finished(home, monkeypatch):
    passed = 0.0

    class AnHourATrial(Silent):
        def trial_ended(self, result):
            nonlocal passed
            passed += 3600.0

    monkeypatch.setattr("pipeline.search.time.monotonic", lambda: passed)
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


def test_another_seed_is_another_study(searched):
    home, result = searched
    other = search(tiny(home, fields="dict(test_size=0.2, seed=1, budget=Budget(n_trials=1))"))
    assert other.signature != result.signature
    assert other.decision_path != result.decision_path
    assert json.loads(result.decision_path.read_text())["seed"] == 0


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
