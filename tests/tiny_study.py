"""Study files of a second or two, written into a project of their own."""

import os
import signal
from pathlib import Path

from mlflow import MlflowClient

from pipeline.progress import Display
from pipeline.results import StudyResult
from pipeline.spec import StudySpec
from pipeline.study_file import load_study

TEXT = """
import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner, ThresholdPruner
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from pipeline import *

N_ROWS = 60


def load_data():
    random = np.random.default_rng(0)
    x = random.normal(3.0, 2.0, (N_ROWS, 3))
    y = (x[:, 0] + x[:, 1] > 6.0).astype(int)
    return x, y


def load_with_validation_set():
    x, y = load_data()
    return (x[:40], y[:40]), (x[40:], y[40:])


def build_model(params):
    import keras

    {builder}
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


study = StudySpec(**dict(
    load_data=load_data,
    build_model=build_model,
    space={{
        "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "max_epochs": IntDistribution(3, 6),
    }},
    splitter=KFold(3, shuffle=True),
    preprocess=StandardScaler(),
    batch_size=16,
    engine="plain",
    budget=Budget(n_trials=3),
    pruner=NopPruner(),
) | {fields})
"""


def write_study(
    home: Path,
    *,
    fields: str = "{}",
    builder: str = "",
    name: str = "tiny",
) -> Path:
    """Write a study file; `fields` and `builder` are source that changes it."""
    path = home / "studies" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    text = TEXT.format(fields=fields, builder=builder)
    path.write_text(text, encoding="utf-8")
    return path


def tiny(home: Path, **changes: str) -> StudySpec:
    """Return the spec of a tiny study whose stores lie in `home`."""
    return load_study(write_study(home, **changes))


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


class StopAt(Display):
    """Sends this process a signal after an epoch of a trial, once."""

    def __init__(self, number: int, n_epochs: int, signal_number: int = signal.SIGTERM) -> None:
        self.at, self.signal = (number, n_epochs), signal_number

    def epoch_ended(self, number, n_epochs, mean):
        if (number, n_epochs) == self.at:
            self.at = (-1, -1)
            os.kill(os.getpid(), self.signal)


class Heard(Display):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line):
        self.lines.append(line)
