"""Which optimizer? Six of them, each with its own hyperparameters, and three schedules.

    python -m pipeline.search optimizers

Iris: 150 rows, three classes. A parameter that hangs on the optimizer exists in that optimizer's
trials only, and is absent from `params` in the others. Each trial has a program of its own to
compile, since its continuous parameters are constants of it.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.preprocessing import StandardScaler

from pipeline import Budget, Constant, Cosine, Step, StudySpec, When


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
    optimizers = {
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
        "lion": keras.optimizers.Lion,
        "muon": keras.optimizers.Muon,
    }
    own = {name: params[name] for name in ("momentum", "rho", "weight_decay") if name in params}
    model.compile(
        optimizer=optimizers[params["optimizer"]](params["learning_rate"], **own),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    preprocess=StandardScaler(),
    space={
        "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "max_epochs": 20,
        "optimizer": CategoricalDistribution(["sgd", "adam", "adamw", "rmsprop", "lion", "muon"]),
        "momentum": When("optimizer", ("sgd", "muon"), FloatDistribution(0.0, 0.99)),
        "rho": When("optimizer", "rmsprop", FloatDistribution(0.8, 0.99)),
        "weight_decay": When(
            "optimizer", ("adamw", "lion", "muon"), FloatDistribution(1e-4, 1e-1, log=True)
        ),
    },
    schedule={"constant": Constant(), "step": Step(0.5, epochs_drop=5), "cosine": Cosine()},
    budget=Budget(n_trials=30),
    batch_size=16,
    engine="plain",
)
