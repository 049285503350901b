"""Whole searches, with a real Keras model, a real MLflow store and a real Optuna journal."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BadInput, Interrupted
from pipeline.results import Outcome, StudyResult, TrialResult
from pipeline.search import search
from tests.tiny_study import StopAt, bits, client, runs_of, tiny


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_database) -> tuple[Path, StudyResult]:
    """One search that several tests look at."""
    home = tmp_path_factory.mktemp("searched")
    result = search(tiny(home, fields="dict(test_size=0.2)"))
    return home, result


def whole_trials(result: StudyResult) -> list[TrialResult]:
    """Return the trials, the best one as it was trained on."""
    return [result.best if t.number == result.best.number else t for t in result.trials]


def test_a_search_answers_with_learning_rate_and_epochs(searched):
    _, result = searched
    assert [trial.outcome for trial in result.trials] == [Outcome.COMPLETED] * 3
    values = [trial.value for trial in result.trials]
    assert result.trials[result.best.number].value == min(values)
    assert result.best.value <= min(values)
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
    assert decision["horizon"] == result.best.curves.n_epochs
    assert decision["engine"]["mode"] == "plain"
    searched = sum(3 * t.params["max_epochs"] for t in result.trials)
    assert decision["fold_epochs"] == searched + result.n_extra_fold_epochs
    store, (parent, _) = client(home), runs_of(home)
    names = {file.path for file in store.list_artifacts(parent.info.run_id)}
    assert {"decision.json", "folds"} <= names


def test_every_epoch_of_every_fold_is_in_mlflow_once(searched):
    home, result = searched
    store, (_, children) = client(home), runs_of(home)
    for run, trial in zip(children, whole_trials(result), strict=True):
        for fold, curve in enumerate(trial.curves.values):
            logged = store.get_metric_history(run.info.run_id, f"fold_{fold}/val_loss")
            assert [m.step for m in logged] == list(range(1, trial.curves.n_epochs + 1))
            assert [m.value for m in logged] == curve.tolist()
        training = store.get_metric_history(run.info.run_id, "loss_mean")
        assert [m.value for m in training] == pytest.approx(trial.training.tolist())
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
    for run, trial in zip(children, whole_trials(result), strict=True):
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


@pytest.mark.parametrize(
    "signal_number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
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
    for run, trial in zip(children, whole_trials(searched[1]), strict=True):
        logged = client(home).get_metric_history(run.info.run_id, "val_loss_mean")
        assert [metric.step for metric in logged] == list(range(1, trial.curves.n_epochs + 1))


@pytest.mark.long
def test_another_seed_is_another_study(searched):
    home, result = searched
    other = search(tiny(home, fields="dict(test_size=0.2, seed=1, budget=Budget(n_trials=1))"))
    assert other.signature != result.signature
    assert other.decision_path != result.decision_path
    assert json.loads(result.decision_path.read_text())["seed"] == 0


@pytest.mark.long
def test_mlflows_variable_names_the_store_and_what_is_given_goes_before_it(home, monkeypatch):
    spec = tiny(home, fields="dict(budget=Budget(n_trials=1))")
    shutil.copy(home / "mlruns" / "mlflow.db", home / "named.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///named.db")
    assert str(home / "named.db") in search(spec).ui_command
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///named.db"
    given = search(spec, tracking_uri="sqlite:///mlruns/mlflow.db")
    assert str(home / "mlruns" / "mlflow.db") in given.ui_command
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///somewhere")
    with pytest.raises(BadInput, match="MLFLOW_TRACKING_URI"):
        search(spec)


def test_a_search_leaves_mlflows_variable_as_it_was(home):
    search(tiny(home, fields="dict(budget=Budget(n_trials=1))"))
    assert "MLFLOW_TRACKING_URI" not in os.environ
