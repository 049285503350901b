"""Two kinds of models in one space: a dense network, and two small convolutions, on digits.

`--dry-run` says which of them is trained with XLA; the budget makes it worth finding out.
"""

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.model_selection import StratifiedKFold

from pipeline import Budget, Objective, StudySpec


def load_data():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images[..., None] / 16.0).astype("float32"), digits.target


def build_model(params):
    import keras

    convolutions = [keras.layers.Conv2D(n, 3, activation="relu") for n in (16, 32)]
    dense = [keras.layers.Dense(n, activation="relu") for n in (128, 64)]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            *(convolutions if params["net"] == "convolutional" else []),
            keras.layers.Flatten(),
            *(dense if params["net"] == "dense" else []),
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
    space={
        "learning_rate": FloatDistribution(3e-4, 3e-3, log=True),
        "max_epochs": 20,
        "net": CategoricalDistribution(["convolutional", "dense"]),
    },
    objective=Objective("val_loss"),
    splitter=StratifiedKFold(5, shuffle=True, random_state=0),
    batch_size=32,
    pruner=optuna.pruners.NopPruner(),
    budget=Budget(n_trials=400),
)
