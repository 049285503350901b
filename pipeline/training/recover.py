"""The best trial's models, brought back at the chosen epoch.

Training is a function of the trial's parameters and the study's seed, so any epoch's weights can be
had again: from a kept snapshot when it is at that epoch, by training once more when it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.curves import FoldCurves
from pipeline.data import Dataset, take_rows
from pipeline.folds import Folds
from pipeline.nest import Nest, map_parts
from pipeline.training.lockstep import LockstepTraining, Snapshot


@dataclass(frozen=True)
class Kept:
    """A trial's states where its mean was best."""

    params: Mapping[str, Any]
    snapshot: Snapshot


def restore(lockstep: LockstepTraining, kept: Kept | None, *, n_epochs: int | None = None) -> None:
    """Go on from what was kept, if it is of these parameters and not later than `n_epochs`."""
    if kept is None or not lockstep.resumable or dict(kept.params) != dict(lockstep.params):
        return
    if n_epochs is None or kept.snapshot.n_epochs <= n_epochs:
        lockstep.restore(kept.snapshot)


def advance_to(
    n_epochs: int, lockstep: LockstepTraining, go_on: Callable[[], None] = lambda: None
) -> LockstepTraining:
    """Train until `n_epochs` epochs are done; `go_on` is called before each, and raises to stop."""
    while lockstep.n_epochs < n_epochs:
        go_on()
        lockstep.advance()
    return lockstep


def say_if_not_repeated(
    recorded: FoldCurves, again: np.ndarray, *, say: Callable[[str], None]
) -> None:
    """Say when training again did not repeat a curve to the last bit, as on another machine.

    again: [n_folds, n_epochs], as far as both go
    """
    n_epochs = min(recorded.n_epochs, again.shape[1])
    before, now = recorded.values[:, :n_epochs], again[:, :n_epochs]
    if not np.array_equal(before, now):
        say(
            "trained again, the best trial differs from its record by up to "
            f"{np.abs(before - now).max():.2g}: another machine, or other library versions?"
        )


def write_fold_models(
    folder: Path, training: LockstepTraining, folds: Folds, data: Dataset
) -> Path:
    """Write each fold's weights, and the out-of-fold predictions of them all; return the folder.

    `out_of_fold.npz` holds `row` [n], `fold` [n], `prediction` [n, ...] and `label` [n, ...], in
    the order of the folds' validation rows; of several outputs `prediction_<name>` and
    `label_<name>`, by the outputs' names or else their places.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = training.program
    rows, numbers, predictions = [], [], []
    for fold in folds:
        model = program.model(fold.index, training.states[fold.index], training.params)
        # Weights alone: a new model's optimizer has no slots yet, and would refuse the file.
        model.optimizer = None
        model.save_weights(folder / f"fold_{fold.index}.weights.h5")
        rows.append(fold.validation)
        numbers.append(np.full(len(fold.validation), fold.index))
        predictions.append(
            program.predict(fold.index, training.states[fold.index], fold.validation)
        )
    row = np.concatenate(rows)
    prediction = map_parts(lambda *of_folds: np.concatenate(of_folds), *predictions)
    # A tuple's labels are called as the predictions, which are in the same order.
    label = take_rows(data.y, row)
    if isinstance(label, tuple) and isinstance(prediction, dict):
        label = dict(zip(prediction, label, strict=True))
    columns = {
        "row": row,
        "fold": np.concatenate(numbers),
        **_columns("prediction", prediction),
        **_columns("label", label),
    }
    # mypy takes names that are not known beforehand for any argument's.
    np.savez_compressed(folder / "out_of_fold.npz", **columns)  # type: ignore[arg-type]
    return folder


def _columns(what: str, nest: Nest) -> dict[str, np.ndarray]:
    if not isinstance(nest, dict):
        return {what: nest}
    return {f"{what}_{name}": part for name, part in nest.items()}
