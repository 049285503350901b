"""Breast cancer, malignant or benign: dropout, weight decay and epochs for a binary classifier.

    python -m pipeline.search breast_cancer

569 rows, 30 features on very different scales: each fold's scaler is fitted on its training rows.
"""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.preprocessing import StandardScaler

from pipeline import Budget, EarlyStopping, OneStandardError, StudySpec


def load_data():
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(params["dropout"]),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(
            params["learning_rate"], weight_decay=params["weight_decay"]
        ),
        loss="binary_crossentropy",
        metrics=["accuracy", "auc"],
    )
    return model


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    preprocess=StandardScaler(),
    space={
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "max_epochs": IntDistribution(10, 60),
        "dropout": CategoricalDistribution([0.0, 0.3]),
        "weight_decay": CategoricalDistribution([0.0, 1e-3, 1e-2]),
    },
    early_stopping=EarlyStopping(patience=10),
    rule=OneStandardError(),
    test_size=0.2,
    budget=Budget(n_trials=25),
)
