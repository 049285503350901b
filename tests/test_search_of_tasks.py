"""Whole searches of every kind of task, on a metric that is not the loss.

What the search says of the chosen epoch is computed again from the out-of-fold predictions, and
what the refit scores on the test rows from the served model, by scikit-learn.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import mlflow
import numpy as np
import pytest
from sklearn import metrics

from pipeline.data import load
from pipeline.search import search
from pipeline.set_aside import set_test_rows_aside
from tests.tiny_study import client, runs_of, tiny

BUILDER = """model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense({units}, activation={activation!r})]
    )
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]), loss={loss!r}, metrics=[{metric}]
    )
    return model"""

ROWS = """lambda: (
        random := np.random.default_rng(0),
        x := random.normal(size=(96, 3)),
        scores := x @ [[1, -1, 0.5], [0.5, 1, -1], [-1, 0.5, 1]] + random.normal(size=(96, 3)),
        (x, {y}),
    )[-1]"""

FIELDS = """dict(
    load_data={rows}, objective=Objective({objective}), test_size=24,
    space=dict(learning_rate=FloatDistribution(0.02, 0.2), max_epochs=3), preprocess=None,
    budget=Budget(n_trials=2), refit=Refit(policy="epochs"))"""


@dataclass(frozen=True)
class Task:
    """y: labels, made of scores [n_rows, 3]; score: of labels and predictions, by scikit-learn."""

    y: str
    units: int
    activation: str | None
    loss: str
    metric: str
    objective: str
    score: Callable[[np.ndarray, np.ndarray], float]
    is_up: bool = True


TASKS = {
    "binary": Task(
        "(scores[:, 0] > 0).astype(int)", 1, "sigmoid", "binary_crossentropy",
        '"accuracy"', '"val_accuracy"',
        lambda y, p: metrics.accuracy_score(y, p[:, 0] > 0.5),
    ),
    "classes": Task(
        "scores.argmax(axis=1)", 3, "softmax", "sparse_categorical_crossentropy",
        '"accuracy"', '"val_accuracy"',
        lambda y, p: metrics.accuracy_score(y, p.argmax(axis=1)),
    ),
    "one-hot": Task(
        "np.eye(3)[scores.argmax(axis=1)]", 3, "softmax", "categorical_crossentropy",
        'keras.metrics.F1Score("macro", name="f1")', '"val_f1", "maximize"',
        lambda y, p: metrics.f1_score(y.argmax(axis=1), p.argmax(axis=1), average="macro"),
    ),
    "labels": Task(
        "(scores > 0).astype(int)", 3, "sigmoid", "binary_crossentropy",
        '"binary_accuracy"', '"val_binary_accuracy"',
        lambda y, p: float(np.mean((p > 0.5) == y)),
    ),
    "a number": Task(
        "scores[:, 0]", 1, None, "mse", '"mae"', '"val_mae"',
        lambda y, p: metrics.mean_absolute_error(y, p[:, 0]), is_up=False,
    ),
    "numbers": Task(
        "scores", 3, None, "huber", "keras.metrics.R2Score()", '"val_r2_score"',
        metrics.r2_score,
    ),
}  # fmt: skip
IN_CI = {"one-hot", "binary", "numbers"}


@pytest.mark.parametrize(
    "name",
    [each if each in IN_CI else pytest.param(each, marks=pytest.mark.long) for each in TASKS],
)
def test_the_answer_is_what_the_predictions_score(name, home, monkeypatch):
    task = TASKS[name]
    builder = BUILDER.format(
        units=task.units, activation=task.activation, loss=task.loss, metric=task.metric
    )
    fields = FIELDS.format(rows=ROWS.format(y=task.y), objective=task.objective)
    spec = tiny(home, fields=fields, builder=builder)
    result = search(spec)
    assert result.spec.objective.direction == ("maximize" if task.is_up else "minimize")
    best_of = max if task.is_up else min
    assert result.choice.score == best_of(result.best.curves.mean)
    of_trials = {trial.value: trial.number for trial in reversed(result.trials) if trial.value}
    assert result.best.number == of_trials[best_of(of_trials)]

    run, _ = runs_of(home)
    folder = client(home).download_artifacts(run.info.run_id, "folds")
    with np.load(f"{folder}/out_of_fold.npz") as kept:
        in_fold = [kept["fold"] == fold for fold in range(3)]
        scores = [task.score(kept["label"][rows], kept["prediction"][rows]) for rows in in_fold]
    assert result.choice.score == pytest.approx(np.mean(scores), rel=1e-5)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlruns/mlflow.db")
    refit = json.loads(result.decision_path.read_text())["refit"]
    served = mlflow.pyfunc.load_model(refit["model_uri"])
    _, test = set_test_rows_aside(load(spec.load_data), spec.test_size, spec.seed)
    on_test = task.score(test.y, served.predict(test.x))
    assert refit["test_metrics"][spec.objective.training_metric] == pytest.approx(on_test, rel=1e-5)
