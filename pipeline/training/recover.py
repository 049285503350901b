"""The best trial's models, brought back at the chosen epoch.

Training is a function of the trial's parameters and the study's seed, so any epoch's weights can be
had again: from a kept snapshot when it is at that epoch, by training once more when it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data import Dataset
from pipeline.folds import Folds
from pipeline.results import TrialResult
from pipeline.spec import StudySpec
from pipeline.training.engine import Engine
from pipeline.training.lockstep import LockstepTraining, Snapshot


@dataclass(frozen=True)
class Kept:
    """A trial's states where its mean was best."""

    number: int
    snapshot: Snapshot


def states_at(
    n_epochs: int,
    best: TrialResult,
    kept: Kept | None,
    engine: Engine,
    folds: Folds,
    spec: StudySpec,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> LockstepTraining:
    """Return the best trial's training as it was after `n_epochs` epochs.

    Says so when training it again did not repeat the recorded curve to the last bit, as on another
    machine.
    """
    training = LockstepTraining(
        engine.program(best.params), best.params, tuple(folds),
        schedule=spec.schedule, seed=spec.seed,
    )  # fmt: skip
    if kept and kept.number == best.number and kept.snapshot.n_epochs <= n_epochs:
        training.restore(kept.snapshot)
    while training.n_epochs < n_epochs:
        training.advance()
    recorded = best.curves.values[:, :n_epochs] if best.curves else None
    again = training.history(spec.objective.metric)
    if recorded is not None and not np.array_equal(recorded, again):
        say(
            "trained again, the best trial differs from its record by up to "
            f"{np.abs(recorded - again).max():.2g}: another machine, or other library versions?"
        )
    return training


def write_fold_models(
    folder: Path, training: LockstepTraining, best: TrialResult, engine: Engine,
    folds: Folds, data: Dataset,
) -> Path:  # fmt: skip
    """Write each fold's weights, and the out-of-fold predictions of them all; return the folder.

    `out_of_fold.npz` holds `row` [n], `fold` [n], `prediction` [n, ...] and `label` [n, ...], in
    the order of the folds' validation rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = engine.program(best.params)
    rows, numbers, predictions = [], [], []
    for fold in folds:
        model = program.model(fold.index, training.states[fold.index], best.params)
        # Weights alone: a new model's optimizer has no slots yet, and would refuse the file.
        model.optimizer = None
        model.save_weights(folder / f"fold_{fold.index}.weights.h5")
        rows.append(fold.validation)
        numbers.append(np.full(len(fold.validation), fold.index))
        predictions.append(
            program.predict(fold.index, training.states[fold.index], fold.validation)
        )
    row = np.concatenate(rows)
    np.savez_compressed(
        folder / "out_of_fold.npz",
        row=row,
        fold=np.concatenate(numbers),
        prediction=np.concatenate(predictions),
        label=data.y[row],
    )
    return folder
