"""Text: which part of scikit-learn does a sentence of its documentation speak of?

    python -m pipeline.search sentences

Some 3,000 sentences from the docstrings that scikit-learn brings along, of four classes. Each fold
learns its vocabulary from its own training rows. Sentences of one docstring stay together: those of
`Ridge` and its like repeat each other.
"""

import inspect
import re

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from pipeline import Budget, Dataset, EarlyStopping, StudySpec

CLASSES = ("linear_model", "cluster", "ensemble", "decomposition")
N_TOKENS, N_WORDS = 1500, 30


def load_data():
    from importlib import import_module

    found: dict[str, tuple[int, str]] = {}
    for label, name in enumerate(CLASSES):
        module = import_module(f"sklearn.{name}")
        for public in sorted(module.__all__):
            docstring = inspect.getdoc(getattr(module, public)) or ""
            for part in re.split(r"(?<=[.!?])\s+|\n\s*\n", docstring):
                words = part.split()
                if 5 <= len(words) <= N_WORDS:
                    found.setdefault(" ".join(words), (label, f"{name}.{public}"))
    labels, groups = zip(*found.values(), strict=True)
    return Dataset(list(found), np.array(labels), groups=np.array(groups))


def words():
    import keras

    return keras.layers.TextVectorization(max_tokens=N_TOKENS, output_sequence_length=N_WORDS)


def build_model(params):
    import keras

    model = keras.Sequential(
        [
            keras.Input((N_WORDS,)),
            keras.layers.Embedding(N_TOKENS, params["width"]),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(len(CLASSES), activation="softmax"),
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
    preprocess=words,
    space={
        "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "max_epochs": 30,
        "width": IntDistribution(8, 32, step=8),
    },
    batch_size=64,
    engine="plain",
    early_stopping=EarlyStopping(patience=5),
    budget=Budget(n_trials=12),
    test_size=0.2,
)
