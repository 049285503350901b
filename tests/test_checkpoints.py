"""--keep-checkpoints: the best trials' fold models, each with the scores that it really has."""

from pathlib import Path

import joblib
import keras
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.cli import search_options
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.question import pose
from pipeline.results import ranked
from pipeline.search import search
from tests.tiny_study import Heard, client, runs_of, tiny

FIELDS = "dict(budget=Budget(n_trials={}), keep_checkpoints={}, refit=Refit(enabled=False))"


@pytest.fixture
def in_store(home):
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlruns/mlflow.db")
    yield home
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # it takes that, too


def checkpoints(home):
    """Return the checkpoints by their trials' numbers."""
    models = client(home).search_logged_models(["1"])
    return {int(model.tags["pipeline.checkpoint"].split()[1]): model for model in models}


def files_of(model):
    folder = Path(mlflow.artifacts.download_artifacts(model.model_uri))
    return folder / "artifacts"


def test_a_checkpoint_loaded_has_the_loss_that_was_logged(in_store):
    spec = tiny(in_store, fields=FIELDS.format(3, 2))
    result = search(spec)
    best = result.best
    second = next(t for t in ranked(result.trials, spec.objective) if t.number != best.number)
    found = checkpoints(in_store)
    assert set(found) == {best.number, second.number}
    question = pose(spec)
    rows = question.development
    counts = (result.choice.n_epochs, second.best_n_epochs or 0)
    for trial, n_epochs in zip((best, second), counts, strict=True):
        model, scores = found[trial.number], []
        logged = {metric.key: metric for metric in model.metrics}
        assert {metric.step for metric in model.metrics} == {n_epochs}
        for fold in question.folds:
            files = files_of(model)
            loaded = keras.models.load_model(files / f"model_{fold.index}.keras")
            preprocess = joblib.load(files / f"preprocess_{fold.index}.joblib")
            x = preprocess.transform(rows.x[fold.validation]).astype(np.float32)
            loss = loaded.evaluate(
                x, rows.y[fold.validation], batch_size=16, verbose=0, return_dict=True
            )["loss"]
            assert loss == logged[f"checkpoint/fold_{fold.index}"].value
            assert loss == trial.curves.after(n_epochs)[fold.index]
            scores.append(loss)
        assert np.mean(scores) == logged["checkpoint/val_loss"].value
        run = client(in_store).get_run(model.source_run_id)
        assert run.data.tags["trial"] == str(trial.number)
    served = mlflow.pyfunc.load_model(found[best.number].model_uri)
    assert served.predict(rows.x[:4]).shape == (4, 1)


def test_what_fell_behind_goes_and_what_is_there_is_not_made_again(in_store):
    search(tiny(in_store, fields=FIELDS.format(2, "'all'")))
    before = checkpoints(in_store)
    assert len(before) == 2
    heard = Heard()
    result = search(tiny(in_store, fields=FIELDS.format(4, 1)), display=heard)
    after = checkpoints(in_store)
    assert set(after) == {result.best.number}
    kept = {model.model_id for model in after.values()}
    gone = [model for model in before.values() if model.model_id not in kept]
    assert any("superseded checkpoint(s) removed" in line for line in heard.lines)
    for model in gone:
        assert not Path(model.artifact_location).exists()
    again = Heard()
    search(tiny(in_store, fields=FIELDS.format(4, 1)), display=again)
    assert not any("checkpoint" in line for line in again.lines)
    assert {model.model_id for model in checkpoints(in_store).values()} == kept


@pytest.mark.long
def test_a_registered_checkpoint_stays(in_store):
    search(tiny(in_store, fields=FIELDS.format(2, 2)))
    store, before = client(in_store), checkpoints(in_store)
    store.create_registered_model("mine")
    for model in before.values():
        store.create_model_version("mine", model.model_uri, model_id=model.model_id)
    search(tiny(in_store, fields=FIELDS.format(2, 1)))
    assert set(checkpoints(in_store)) == set(before)


def test_one_that_was_logged_without_its_scores_is_made_again(in_store, monkeypatch):
    log_batch = MlflowClient.log_batch

    def die(self, run_id, metrics=(), **others):
        if any(metric.model_id for metric in metrics):
            raise ConnectionResetError("Connection reset")
        return log_batch(self, run_id, metrics=metrics, **others)

    spec = tiny(in_store, fields=FIELDS.format(1, 1))
    with monkeypatch.context() as killed:
        killed.setattr(MlflowClient, "log_batch", die)
        with pytest.raises(StoreUnavailable, match="a checkpoint cannot be stored"):
            search(spec)
    assert not checkpoints(in_store)[0].metrics
    search(spec)
    (model,) = client(in_store).search_logged_models(["1"])
    assert model.metrics


def test_they_are_asked_for_on_the_command_line_or_in_the_study(home):
    assert search_options(["--keep-checkpoints", "3"]).keep_checkpoints == 3
    assert search_options(["--keep-checkpoints", "all"]).keep_checkpoints == "all"
    with pytest.raises(BadInput, match="keep_checkpoints must be a whole number ≥ 0, or 'all'"):
        tiny(home, fields="dict(keep_checkpoints='some')")


def test_a_trials_own_metrics_stay_single(in_store):
    search(tiny(in_store, fields=FIELDS.format(1, 1)))
    _, (trial,) = runs_of(in_store)
    points = client(in_store).get_metric_history(trial.info.run_id, "val_loss_mean")
    steps = [point.step for point in points]
    assert steps == sorted(set(steps))
