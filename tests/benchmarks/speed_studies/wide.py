"""A network in which arithmetic dominates: 64-1024-1024-10, 20,000 rows, batches of 256.

What a program costs beside its arithmetic should not be seen here.
"""

import optuna
from optuna.distributions import FloatDistribution
from sklearn.model_selection import StratifiedKFold

from pipeline import Objective, Refit, StudySpec


def load_data():
    from sklearn.datasets import make_classification

    x, y = make_classification(
        20_000, n_features=64, n_informative=32, n_classes=10, random_state=0
    )
    return x.astype("float32"), y


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(1024, activation="relu"),
            keras.layers.Dense(1024, activation="relu"),
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
    space={"learning_rate": FloatDistribution(1e-4, 1e-3, log=True), "max_epochs": 2},
    objective=Objective("val_loss"),
    splitter=StratifiedKFold(5, shuffle=True, random_state=0),
    batch_size=256,
    early_stopping=None,
    pruner=optuna.pruners.NopPruner(),
    refit=Refit(enabled=False),
    engine="plain",
)
