"""Each row's loss where it was validated: what the folds' means hide.

A row's loss is the monitored one, so that the mean of a fold's rows is that fold's curve: what the
fold's loss holds beside its rows' own (regularisation) is shared among them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.curves import FoldCurves
from pipeline.files import write_whole
from pipeline.folds import Folds
from pipeline.question import Question
from pipeline.results import TrialResult, trial_name
from pipeline.spec import StudySpec

MAX_VALUES = 50_000_000
"""Row losses that are kept of one trial, all epochs together: 200 MB."""


def can_be_kept(spec: StudySpec, folds: Folds, n_epochs: int) -> bool:
    """Say whether rows' losses are the monitored metric, and few enough to be kept."""
    n_rows = sum(len(fold.validation) for fold in folds)
    return spec.objective.metric == "val_loss" and n_rows * n_epochs <= MAX_VALUES


def as_in(curves: FoldCurves, row_losses: Sequence[np.ndarray] | None) -> list[np.ndarray] | None:
    """Return each fold's row losses [n_validation_rows, n_epochs], their mean the fold's curve.

    row_losses: as from `LockstepTraining.row_losses`, None where they are not known
    """
    if row_losses is None:
        return None
    n_epochs = curves.n_epochs
    shared = [losses[:, :n_epochs].mean(axis=0) for losses in row_losses]
    # In the precision that they are stored with: a later session sees the same bits.
    return [
        (losses[:, :n_epochs] + (curve - mean)).astype(np.float32)
        for losses, mean, curve in zip(row_losses, shared, curves.values, strict=True)
    ]


def keep(question: Question, trial: TrialResult, row_losses: Sequence[np.ndarray] | None) -> None:
    """Write a trial's losses beside the journal; nothing where they are not known.

    row_losses: as from `LockstepTraining.row_losses`
    """
    if trial.curves is not None and row_losses is not None:
        _write(_path(question, trial_name(trial.number)), as_in(trial.curves, row_losses) or ())


def of_trial(question: Question, trial: TrialResult) -> list[np.ndarray] | None:
    """Return what `keep` wrote, None where the losses were not known."""
    path = _path(question, trial_name(trial.number))
    return _read(path) if path.exists() else None


def keep_winner(question: Question, row_losses: Sequence[np.ndarray] | None) -> None:
    """Write the winner's losses, by fold [n_validation_rows, n_epochs], if they are known."""
    _write(_path(question, "winner"), row_losses or ())


def of_winner(question: Question) -> list[np.ndarray] | None:
    """Return what `keep_winner` wrote, None where the losses were not known."""
    path = _path(question, "winner")
    return _read(path) or None if path.exists() else None


def of_candidates(
    question: Question, trials: Sequence[TrialResult], winner_rows: Sequence[np.ndarray] | None
) -> np.ndarray | None:
    """Return each row's loss for all that could have been chosen, [n_rows, n_candidates].

    A candidate is a trial at one of its epochs; of a schedule that must not be cut, at its last.
    Over repeats it is the mean; a row that no fold validates has NaN. None where the losses of a
    trial are not known, or there are too many.

    trials: the winner, then the others; winner_rows: the winner's losses by fold, if known
    """
    if winner_rows is None:
        return None
    columns, n_values = [_by_row(winner_rows, question.folds)], 0
    for trial in trials[1:]:
        by_fold = of_trial(question, trial)
        if by_fold is None:
            return None
        columns.append(_by_row(by_fold if trial.any_epoch else _last(by_fold), question.folds))
        n_values += columns[-1].size
        if n_values > MAX_VALUES:
            return None
    return np.concatenate(columns, axis=1)


def _by_row(by_fold: Sequence[np.ndarray], folds: Folds) -> np.ndarray:
    """Return losses by fold [n_validation_rows, n_epochs] as [n_rows, n_epochs]."""
    total = np.zeros((folds.n_rows, by_fold[0].shape[1]))
    times = np.zeros((folds.n_rows, 1))
    for fold, losses in zip(folds, by_fold, strict=True):
        total[fold.validation] += losses
        times[fold.validation] += 1
    with np.errstate(invalid="ignore"):
        return total / times


def _last(by_fold: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [losses[:, -1:] for losses in by_fold]


def _path(question: Question, name: str) -> Path:
    return question.folder / "row_losses" / f"{name}.npz"


def _write(path: Path, arrays: Sequence[np.ndarray]) -> None:
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    write_whole(path, buffer.getvalue())


def _read(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in arrays.files]
