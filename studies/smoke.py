"""A study of seconds: does everything work on this machine?

    python -m pipeline.search smoke

Iris: 150 rows, three classes.
"""

from optuna.distributions import FloatDistribution, IntDistribution

from pipeline import Budget, StudySpec


def load_data():
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
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
        "learning_rate": FloatDistribution(1e-2, 1e-1, log=True),
        "max_epochs": IntDistribution(10, 30),
    },
    budget=Budget(n_trials=6),
    batch_size=16,
    engine="plain",
)
