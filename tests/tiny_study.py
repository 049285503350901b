"""Study files of a second or two, written into a project of their own."""

from pathlib import Path

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
