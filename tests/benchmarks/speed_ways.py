"""The ways of searching that `speed.py` times, side by side, and what each is called."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from tests.benchmarks import speed_program, speed_recipes
from tests.benchmarks.speed_turns import Job, Turns, Work


def limit(turns: Turns, job: Job) -> None:
    """Train by hand. TensorFlow is loaded in the way's own process only."""
    from tests.benchmarks import speed_limit

    speed_limit.limit(turns, job)


@dataclass(frozen=True)
class Way:
    """One way.

    train: what its process does
    piece: what it hands over
    logs: whether it keeps every epoch of every fold in MLflow
    samples: whether it proposes its own learning rates
    extra: the library that it needs beside this program's; one that is missing, or does not run
        beside them, is no error
    """

    label: str
    train: Callable[[Turns, Job], None]
    piece: Literal["fold", "trial", "epoch"]
    logs: bool = False
    samples: bool = False
    extra: str = ""

    def n_pieces(self, work: Work, recipe_trials: int, n_trials: int) -> int:
        """Return how many pieces are timed, after a first one."""
        match self.piece:
            case "fold":
                return recipe_trials * work.n_folds - 1
            case "epoch":
                return n_trials * work.n_fold_epochs
            case "trial":
                return n_trials


WAYS = {
    "recipe": Way("the plain recipe", speed_recipes.recipe, "fold", logs=True),
    "keras-tuner": Way(
        "Keras Tuner, K-fold", speed_recipes.keras_tuner, "fold", extra="keras-tuner"
    ),
    "scikeras": Way("scikeras, GridSearchCV", speed_recipes.scikeras, "fold", extra="scikeras"),
    "fit": Way("fit alone", speed_recipes.fit, "epoch"),
    "plain": Way("this program, plain", speed_program.plain, "trial", logs=True, samples=True),
    "xla": Way("this program, XLA", speed_program.xla, "trial", logs=True, samples=True),
    "in-turn": Way(
        "this program, XLA, folds in turn", speed_program.in_turn, "trial", logs=True, samples=True
    ),
    "unlogged": Way("this program, not logging", speed_program.unlogged, "trial", samples=True),
    "workers": Way(
        "this program, N workers", speed_program.workers, "trial", logs=True, samples=True
    ),
    "limit": Way("hand-written limit", limit, "trial"),
}
"""In the order of the table; the first that is measured is what the others are compared with."""


@dataclass(frozen=True)
class Model:
    """A study of `speed_studies`: the ways that are timed on it, and how many trials of each."""

    ways: Sequence[str]
    n_trials: int


MODELS = {
    "mlp": Model(("recipe", "keras-tuner", "scikeras", "plain", "xla", "workers", "limit"), 20),
    "cnn": Model(("recipe", "keras-tuner", "scikeras", "plain", "workers"), 3),
    "wide": Model(("fit", "plain", "xla"), 3),
}


def run(connection: Connection, start: float, name: str, job: Job) -> None:
    """Run a way: the target of its process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    way, turns = WAYS[name], Turns(connection, start)
    try:
        way.train(turns, job)
    except Exception as error:
        if not way.extra:
            raise
        turns.skip(f"{type(error).__name__}: {error}")
