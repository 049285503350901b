"""The run of one trial: its epochs, each queued once, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.objective import Objective
from pipeline.results import TrialResult
from pipeline.tracking.lookup import last_epoch_in
from pipeline.tracking.moments import MOMENTS
from pipeline.tracking.records import (
    SUMMARY_STEP,
    fold_alone,
    mark_of,
    status_of,
    storable_metrics,
    trial_summary,
    without_fold,
)
from pipeline.tracking.updates import Status, Texts
from pipeline.tracking.writer import MetricWriter

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class TrialRun:
    """The run of one trial. Nothing here waits for the store.

    last_epoch: the number of epochs that are in the store whole, or queued for it
    last_alone: those of folds that were trained alone, by fold
    epochs: what was logged by this process and when, by number of epochs
    """

    def __init__(
        self,
        run_id: str,
        writer: MetricWriter,
        last_epoch: int = 0,
        last_alone: Mapping[int, int] | None = None,
    ) -> None:
        self.run_id = run_id
        self.last_epoch = last_epoch
        self.last_alone = dict(last_alone or {})
        self.epochs: dict[int, tuple[int, Mapping[str, float]]] = {}
        self._writer = writer

    @classmethod
    def of(
        cls, run: Run, client: MlflowClient, writer: MetricWriter, may_be_alone: int | None = None
    ) -> TrialRun:
        """Return the run of an interrupted trial, with the epochs that it has.

        may_be_alone: the fold that the study trains alone. A process that died as it wrote has left
            its first epochs in the history, and none as the latest.
        """
        run_id = run.info.run_id
        folds = {may_be_alone, *(fold_alone({key: 0.0}) for key in run.data.metrics)}
        last_alone = {
            fold: last_epoch_in(client, run_id, mark_of(fold)) for fold in folds if fold is not None
        }
        return cls(run_id, writer, last_epoch_in(client, run_id), last_alone)

    def log_epoch(
        self, n_epochs: int, metrics: Mapping[str, float], *, timestamp_ms: int | None = None
    ) -> None:
        """Queue the metrics after `n_epochs` epochs, unless they were logged before.

        metrics: as from `records.epoch_metrics`, or `records.alone` of a fold that is trained
            before the others: those are logged when they have come so far, and the mean with them
        timestamp_ms: at which another process queued them, too: MLflow takes the two for one
        """
        timestamp_ms = timestamp_ms or MOMENTS.now()
        self.epochs[n_epochs] = (timestamp_ms, metrics)
        if (fold := fold_alone(metrics)) is not None:
            if n_epochs <= self.last_alone.get(fold, 0):
                return
            self.last_alone[fold] = n_epochs
        elif n_epochs <= self.last_epoch:
            return
        else:
            self.last_epoch = n_epochs
            for fold, last in self.last_alone.items():
                metrics = without_fold(metrics, fold) if n_epochs <= last else metrics
        self._writer.put(self.run_id, storable_metrics(metrics), n_epochs, timestamp_ms)

    def end(self, result: TrialResult, objective: Objective) -> None:
        """Queue the summary, the tags and the status."""
        metrics, tags = trial_summary(result, objective)
        self._writer.put(self.run_id, metrics, SUMMARY_STEP)
        self._writer.update(Texts(self.run_id, tags=tags))
        self._writer.update(Status.ended(self.run_id, status_of(result.outcome)))
