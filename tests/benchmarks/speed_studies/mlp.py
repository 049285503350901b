"""A small dense network on scikit-learn's digits: 64-128-64-10, 5 folds, 20 epochs a trial.

Nothing is pruned or stopped, so that every way of searching has the same work to do.
"""

import optuna
from optuna.distributions import FloatDistribution
from sklearn.model_selection import StratifiedKFold

from pipeline import Objective, Refit, StudySpec


def load_data():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16.0).astype("float32"), y


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(params.get("units", 128), activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(params["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    space={"learning_rate": FloatDistribution(3e-4, 3e-3, log=True), "max_epochs": 20},
    objective=Objective("val_loss"),
    splitter=StratifiedKFold(5, shuffle=True, random_state=0),
    batch_size=32,
    early_stopping=None,
    pruner=optuna.pruners.NopPruner(),
    refit=Refit(enabled=False),
    engine="xla",
)
