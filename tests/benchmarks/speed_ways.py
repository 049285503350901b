"""The ways of searching that `speed.py` times, each in a process of its own.

A way trains piece after piece (a trial, or one fold of one) and hands each over. Between pieces it
waits for its turn, so that the ways take turns on the machine.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import numpy as np

from tests.benchmarks import speed_study
from tests.benchmarks.speed_study import BATCH_SIZE, N_EPOCHS, N_FOLDS


@dataclass(frozen=True)
class Piece:
    """What was trained in one turn.

    n_updates: optimizer steps
    validation_loss: after the last epoch, the mean over the folds of the piece
    seconds: since the turn began; of the first piece, since the process was started
    """

    learning_rate: float
    n_fold_epochs: int
    n_updates: int
    validation_loss: float
    seconds: float = 0.0


class Turns:
    """A way's end of the pipe to `speed.py`. `start`: the process's, in `time.time()` seconds."""

    def __init__(self, connection: Connection, start: float) -> None:
        self._connection = connection
        self._start = start

    def hand_over(self, piece: Piece) -> None:
        """Send a finished piece, then wait for the next turn."""
        self._connection.send(replace(piece, seconds=time.time() - self._start))
        self._connection.recv()
        self._start = time.time()

    def end(self, n_logged: int) -> None:
        """Send the seconds that ending took, and how many fold-epochs are in MLflow's store."""
        self._connection.send((time.time() - self._start, n_logged))


def recipe(turns: Turns, folder: Path, n_trials: int, learning_rate: float) -> None:
    """Do what most people write: Optuna, fresh models and `fit`, MLflow's fluent calls.

    Optuna keeps its study in memory, MLflow writes to SQLite. A piece is one fold.
    """
    import keras
    import mlflow
    import optuna

    class LogEpochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            mlflow.log_metrics(logs, step=epoch)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("digits")
    x, y = speed_study.load_data()

    def objective(trial: optuna.Trial) -> float:
        low, high = speed_study.LEARNING_RATES.low, speed_study.LEARNING_RATES.high
        params = {"learning_rate": trial.suggest_float("learning_rate", low, high, log=True)}
        losses = []
        with mlflow.start_run(run_name=f"trial {trial.number}"):
            mlflow.log_params(params)
            for fold, (train, validation) in enumerate(speed_study.SPLITTER.split(x, y)):
                with mlflow.start_run(run_name=f"fold {fold}", nested=True):
                    model = speed_study.build_model(params)
                    history = model.fit(
                        x[train],
                        y[train],
                        validation_data=(x[validation], y[validation]),
                        epochs=N_EPOCHS,
                        batch_size=BATCH_SIZE,
                        verbose=0,
                        callbacks=[LogEpochs()],
                    ).history
                losses.append(history["val_loss"])
                n_updates = int(model.optimizer.iterations)
                turns.hand_over(Piece(params["learning_rate"], N_EPOCHS, n_updates, losses[-1][-1]))
            best = float(np.min(np.mean(losses, axis=0)))
            mlflow.log_metric("best_val_loss", best)
        return best

    study = optuna.create_study(direction="minimize")
    for _ in range(n_trials):
        study.enqueue_trial({"learning_rate": learning_rate})
    study.optimize(objective, n_trials=n_trials)
    turns.end(n_logged(folder / "mlflow.db"))


def xla(turns: Turns, folder: Path, n_trials: int, learning_rate: float) -> None:
    """Run this program with engine="xla". A piece is a trial; it samples its own rates."""
    this_program(turns, folder, n_trials, "xla")


def plain(turns: Turns, folder: Path, n_trials: int, learning_rate: float) -> None:
    """Run this program with engine="plain". A piece is a trial; it samples its own rates."""
    this_program(turns, folder, n_trials, "plain")


def this_program(
    turns: Turns, folder: Path, n_trials: int, engine: Literal["plain", "xla"]
) -> None:
    """Search with this program's own stores, in `folder`."""
    from pipeline.progress import Display
    from pipeline.results import TrialResult
    from pipeline.search import search
    from pipeline.spec import Budget
    from pipeline.study_file import load_study

    class HandOver(Display):
        def trial_ended(self, result: TrialResult) -> None:
            assert result.curves is not None
            turns.hand_over(
                Piece(
                    result.params["learning_rate"],
                    result.n_fold_epochs,
                    result.n_updates,
                    result.curves.mean_after(N_EPOCHS),
                )
            )

    # The stores lie in the project that holds the study file.
    (folder / "studies").mkdir()
    file = shutil.copy(str(speed_study.__file__), folder / "studies" / "speed_study.py")
    study = load_study(file)
    search(replace(study, engine=engine, budget=Budget(n_trials=n_trials)), display=HandOver())
    turns.end(n_logged(folder / "mlruns" / "mlflow.db"))


def limit(turns: Turns, folder: Path, n_trials: int, learning_rate: float) -> None:
    """Train the same epochs by hand, compiled with XLA, and log nothing. A piece is a trial."""
    from tests.benchmarks.speed_limit import compiled_epoch, initial_state

    x, y = speed_study.load_data()
    y = y.astype(np.int32)
    folds = list(speed_study.SPLITTER.split(x, y))
    rng = np.random.default_rng(0)
    epoch_of = compiled_epoch()
    for _ in range(n_trials):
        states = [initial_state(rng) for _ in folds]
        for _ in range(N_EPOCHS):
            scores = []
            for index, (train, validation) in enumerate(folds):
                order = rng.permutation(train).astype(np.int32)
                n_full = len(order) // BATCH_SIZE * BATCH_SIZE
                states[index], score = epoch_of(
                    states[index],
                    x,
                    y,
                    order[:n_full].reshape(-1, BATCH_SIZE),
                    order[n_full:],
                    validation.astype(np.int32),
                    np.float32(learning_rate),
                )
                scores.append(score)
            losses = [float(score[2]) for score in scores]  # waits for the device
        n_updates = sum(int(state.n_updates) for state in states)
        turns.hand_over(Piece(learning_rate, N_FOLDS * N_EPOCHS, n_updates, float(np.mean(losses))))
    turns.end(0)


Way = Callable[[Turns, Path, int, float], None]

WAYS: dict[str, Way] = {"recipe": recipe, "xla": xla, "plain": plain, "limit": limit}


def run(name: str, connection: Connection, start: float, folder: Path, *args: float) -> None:
    """Run a way: the target of its process."""
    WAYS[name](Turns(connection, start), folder, *args)  # type: ignore[arg-type]


def n_logged(database: Path) -> int:
    """Return how many validation losses of one fold after one epoch are in MLflow's store."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT count(*) FROM metrics WHERE key = 'val_loss' OR key LIKE 'fold_%/val_loss'"
        return int(connection.execute(query).fetchone()[0])
