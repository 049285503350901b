"""Diabetes progression: a regression on few rows, with an annealed learning rate.

    python -m pipeline.search diabetes

442 rows, 10 features. The cosine schedule is laid out for each trial's own max_epochs: the horizon
is part of the answer, and `max_epochs` is a choice of three horizons.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.preprocessing import StandardScaler

from pipeline import Budget, Cosine, StudySpec


def load_data():
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return x, y / 100.0


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(params["learning_rate"], momentum=0.9),
        loss="mse",
        metrics=["mae"],
    )
    return model


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    preprocess=StandardScaler(),
    space={
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "max_epochs": CategoricalDistribution([10, 20, 40]),
    },
    schedule=Cosine(),
    test_size=0.2,
    budget=Budget(n_trials=20),
)
