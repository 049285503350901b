"""A small convolutional network on scikit-learn's digits: two 3×3 convolutions on 8×8 pixels.

The folds, epochs and batches are those of `mlp.py`.
"""

import optuna
from optuna.distributions import FloatDistribution
from sklearn.model_selection import StratifiedKFold

from pipeline import Objective, Refit, StudySpec


def load_data():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images[..., None] / 16.0).astype("float32"), digits.target


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
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
    engine="plain",  # XLA's convolutions are slow on processors
)
