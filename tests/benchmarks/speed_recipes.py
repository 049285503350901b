"""Ways of searching that call `fit`: what most people write, and what other tools let them write.

Each trains a fresh model for each fold, and a piece is one fold. `fit` alone is the exception.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.speed_turns import Job, Piece, Turns


def recipe(turns: Turns, job: Job) -> None:
    """Do what most people write: Optuna, fresh models and `fit`, MLflow's fluent calls.

    Optuna keeps its study in memory, MLflow writes to SQLite.
    """
    import keras
    import mlflow
    import optuna

    class LogEpochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            mlflow.log_metrics(logs, step=epoch)

    spec, work = job.study, job.work
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_tracking_uri(f"sqlite:///{job.folder / 'mlflow.db'}")
    mlflow.set_experiment("speed")
    x, y = spec.load_data()
    rates = spec.space["learning_rate"]

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", rates.low, rates.high, log=True)
        losses = []
        with mlflow.start_run(run_name=f"trial {trial.number}"):
            mlflow.log_params(trial.params)
            for fold, (train, validation) in enumerate(spec.splitter.split(x, y)):
                with mlflow.start_run(run_name=f"fold {fold}", nested=True):
                    model = spec.build_model(trial.params)
                    history = model.fit(
                        x[train],
                        y[train],
                        validation_data=(x[validation], y[validation]),
                        epochs=work.n_epochs,
                        batch_size=spec.batch_size,
                        verbose=0,
                        callbacks=[LogEpochs()],
                    ).history
                losses.append(history["val_loss"])
                turns.count(work.n_epochs, int(model.optimizer.iterations))
                turns.hand_over(Piece(trial.number, rate, work.n_epochs, losses[-1][-1]))
            best = float(np.min(np.mean(losses, axis=0)))
            mlflow.log_metric("best_val_loss", best)
        return best

    study = optuna.create_study(direction="minimize")
    for rate in learning_rates(job):
        study.enqueue_trial({"learning_rate": rate})
    study.optimize(objective, n_trials=job.n_trials)
    turns.end(job.folder / "mlflow.db", work.n_epochs)


def keras_tuner(turns: Turns, job: Job) -> None:
    """Do what Keras Tuner's users write for K folds: a tuner whose `run_trial` loops over them.

    Nothing is logged in MLflow, for which it has no means: it writes each trial's score to a file.
    """
    import keras_tuner

    spec, work = job.study, job.work
    x, y = spec.load_data()
    numbers = iter(range(job.n_trials))

    def build_model(hyperparameters: Any) -> Any:
        rates = learning_rates(job)
        return spec.build_model({"learning_rate": hyperparameters.Choice("learning_rate", rates)})

    class CrossValidated(keras_tuner.GridSearch):
        def run_trial(self, trial, x, y, **options):
            number, losses = next(numbers), []
            for train, validation in spec.splitter.split(x, y):
                model = self.hypermodel.build(trial.hyperparameters)
                history = model.fit(
                    x[train],
                    y[train],
                    validation_data=(x[validation], y[validation]),
                    epochs=work.n_epochs,
                    batch_size=spec.batch_size,
                    verbose=0,
                ).history
                losses.append(history["val_loss"])
                turns.count(work.n_epochs, int(model.optimizer.iterations))
                rate = trial.hyperparameters.get("learning_rate")
                turns.hand_over(Piece(number, rate, work.n_epochs, losses[-1][-1]))
            return {"val_loss": float(np.min(np.mean(losses, axis=0)))}

    tuner = CrossValidated(
        build_model,
        objective=keras_tuner.Objective("val_loss", direction="min"),
        max_trials=job.n_trials,
        directory=job.folder,
    )
    tuner.search(x, y, verbose=0)
    turns.end()


def scikeras(turns: Turns, job: Job) -> None:
    """Do what scikeras's users write: `GridSearchCV` over the learning rates of a classifier.

    It validates once, after a fold's last epoch, where the others do after each, and logs nothing.
    """
    from scikeras.wrappers import KerasClassifier
    from sklearn.metrics import log_loss
    from sklearn.model_selection import GridSearchCV

    spec, work = job.study, job.work
    x, y = spec.load_data()
    folds = iter(range(job.n_trials * work.n_folds))

    def build_model(learning_rate: float) -> Any:
        return spec.build_model({"learning_rate": learning_rate})

    def score(classifier: KerasClassifier, x: np.ndarray, y: np.ndarray) -> float:
        loss = float(log_loss(y, classifier.predict_proba(x), labels=classifier.classes_))
        turns.count(work.n_epochs, int(classifier.model_.optimizer.iterations))
        rate = classifier.model__learning_rate
        turns.hand_over(Piece(next(folds) // work.n_folds, rate, work.n_epochs, loss))
        return -loss

    GridSearchCV(
        KerasClassifier(build_model, epochs=work.n_epochs, batch_size=spec.batch_size, verbose=0),
        {"model__learning_rate": learning_rates(job)},
        scoring=score,
        cv=spec.splitter,
        refit=False,
        error_score="raise",
    ).fit(x, y)
    turns.end()


def fit(turns: Turns, job: Job) -> None:
    """Train one model on the first fold in one long call of `fit`. A piece is an epoch.

    So nothing but `fit` itself is timed: no model is made anew, and nothing is logged.
    """
    import keras

    spec, work = job.study, job.work
    x, y = spec.load_data()
    train, validation = next(iter(spec.splitter.split(x, y)))
    model = spec.build_model({"learning_rate": job.learning_rate})
    n_updates = [0]

    class HandOver(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            n_updates.append(int(model.optimizer.iterations))
            turns.count(1, n_updates[-1] - n_updates[-2])
            ends_trial = (epoch + 1) % work.n_epochs == 0
            loss = logs["val_loss"] if ends_trial else None
            turns.hand_over(Piece(epoch // work.n_epochs, job.learning_rate, 1, loss))

    model.fit(
        x[train],
        y[train],
        validation_data=(x[validation], y[validation]),
        epochs=1 + (job.n_trials - 1) * work.n_fold_epochs,
        batch_size=spec.batch_size,
        verbose=0,
        callbacks=[HandOver()],
    )
    turns.end()


def learning_rates(job: Job) -> list[float]:
    """Return a rate for each trial, the given one first."""
    rates = job.study.space["learning_rate"]
    return [job.learning_rate, *np.geomspace(rates.low, rates.high, job.n_trials - 1).tolist()]
