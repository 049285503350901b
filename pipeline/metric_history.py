"""All metrics of a trial's epochs, beside the journal: the journal has the monitored one alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.curves import FoldCurves, FoldScore
from pipeline.files import write_whole
from pipeline.question import Question
from pipeline.results import trial_name

FOLDER = "metrics"
WINNER = "winner"


@dataclass(frozen=True, eq=False)
class MetricHistory:
    """What the folds' metrics were after each epoch.

    names: [n_metrics], as in Keras's logs
    values: [n_folds, n_epochs, n_metrics]
    """

    names: tuple[str, ...]
    values: np.ndarray

    def after(self, n_epochs: int) -> np.ndarray:
        """Return all metrics after `n_epochs` epochs, [n_folds, n_metrics]."""
        return self.values[:, n_epochs - 1]

    def until(self, n_epochs: int) -> MetricHistory:
        """Return the first epochs."""
        return replace(self, values=self.values[:, :n_epochs])

    def validated(self, n_epochs: int, curves: FoldCurves) -> Mapping[str, FoldScore]:
        """Return each metric of validation rows after `n_epochs` epochs, over the folds, by name.

        Without those that some fold has no finite value of.
        curves: of the monitored metric; how much a fold counts in a mean is known to them
        """
        at = zip(self.names, self.after(n_epochs).T, strict=True)
        found = {}
        for name, values in at:
            if name.startswith("val_") and np.isfinite(values).all():
                of_one = replace(curves, values=values[:, None])
                found[name] = FoldScore(of_one.mean_after(1), of_one.standard_error_after(1))
        return found


def keep(question: Question, number: int, history: MetricHistory | None) -> None:
    """Write a trial's metrics; nothing where they are not known."""
    if history is not None:
        _write(_path(question, trial_name(number)), history)


def of_trial(question: Question, number: int) -> MetricHistory | None:
    """Return what `keep` wrote; None where it did not, as in studies of before it did."""
    return _read(_path(question, trial_name(number)))


def keep_winner(question: Question, history: MetricHistory | None) -> None:
    """Write the winner's metrics, in place of those of the one before."""
    path = _path(question, WINNER)
    path.unlink(missing_ok=True)
    if history is not None:
        _write(path, history)


def of_winner(question: Question) -> MetricHistory | None:
    """Return what `keep_winner` wrote, None where they were not known."""
    return _read(_path(question, WINNER))


def _path(question: Question, name: str) -> Path:
    return question.folder / FOLDER / f"{name}.npz"


def _write(path: Path, history: MetricHistory) -> None:
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, names=np.array(history.names), values=history.values)
    write_whole(path, buffer.getvalue())


def _read(path: Path) -> MetricHistory | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return MetricHistory(tuple(arrays["names"].tolist()), arrays["values"])
