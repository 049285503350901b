"""Handwritten digits: which learning rate, and for how many epochs, for a small dense network?

    python -m pipeline.search                 # this study is the default
    python -m pipeline.search digits --trials 50

1,797 images of 8 × 8 pixels, ten classes, bundled with scikit-learn.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline import Budget, EarlyStopping, StudySpec


def load_data():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x / 16.0, y


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(params["units"], activation="relu"),
            keras.layers.Dense(params["units"], activation="relu"),
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
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "max_epochs": IntDistribution(10, 60),
        "units": CategoricalDistribution([32, 64, 128]),
    },
    early_stopping=EarlyStopping(patience=8),
    test_size=0.2,
    budget=Budget(n_trials=30),
    # Decided here, not measured, so that every machine of one kind gives the same bits.
    engine="xla",
)
