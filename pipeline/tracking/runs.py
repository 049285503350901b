"""The run tree: a study's run, and under it one run per trial; folds are metric keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pipeline.objective import Objective
from pipeline.results import TrialResult
from pipeline.tracking.lookup import (
    PARENT_TAG,
    SIGNATURE_TAG,
    experiment_id_of,
    find_run,
    find_trial,
    last_epoch_in,
    mend,
)
from pipeline.tracking.records import (
    changed_params,
    status_of,
    storable_key,
    storable_text,
    storable_value,
    trial_summary,
)
from pipeline.tracking.store import Store, readable_errors
from pipeline.tracking.writer import MetricWriter

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MAX_PARAM_CHARACTERS = 6000
MAX_TAG_CHARACTERS = 8000

# MLflow shows a metric's value at its largest step. A resumed trial may end at an earlier epoch
# than it was interrupted at, so all summaries are at one step, and the last written is shown.
SUMMARY_STEP = 0


@dataclass(frozen=True)
class StudyRun:
    """The run of one study, over all its sessions.

    mended: runs of trials that a dead process had left RUNNING and that are now KILLED
    """

    store: Store
    writer: MetricWriter
    experiment_id: str
    run_id: str
    mended: int
    _trials: dict[str, TrialRun] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        store: Store,
        writer: MetricWriter,
        *,
        experiment: str,
        signature: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        keep_running: Collection[str] = (),
    ) -> Self:
        """Continue the run that has this signature, or create it.

        experiment: the study's name
        params: texts. One that has changed since the first session becomes the tag `latest.<name>`
        keep_running: ids of trial runs that are left RUNNING: they will be continued, or another
            worker is at them
        Raises BadInput when the experiment was deleted, StoreUnavailable when the store fails.
        """
        with readable_errors(f"the study's run cannot be opened in {store.address}"):
            client = store.client
            experiment_id = experiment_id_of(store, experiment)
            run = find_run(client, experiment_id, signature)
            if run is None:
                name = f"{experiment} {signature}"
                marks = {**_context_tags(), SIGNATURE_TAG: signature}
                run = client.create_run(experiment_id, tags=marks, run_name=name)
                mended = 0
            else:
                client.update_run(run.info.run_id, status="RUNNING")
                mended = mend(client, run, keep_running)
            _describe(client, run, params, tags)
        return cls(store, writer, experiment_id, run.info.run_id, mended)

    @property
    def url(self) -> str:
        """Where to look at it, once the UI runs. Passwords are masked."""
        return self.store.url_of(self.experiment_id, self.run_id)

    def start_trial(
        self,
        number: int,
        params: Mapping[str, Any],
        *,
        run_id: str | None = None,
        variant: str = "",
    ) -> TrialRun:
        """Create a trial's run, or reopen the one of an interrupted trial.

        run_id: of the interrupted trial; epochs that are in it already are not logged again. If it
            was deleted meanwhile, a new run is created
        variant: what tells a run of changed parameters from the trial's own
        Raises StoreUnavailable when the store fails.
        """
        if run_id in self._trials:
            trial = self._trials[run_id]
            self._set_running(trial.run_id)
            return trial
        with readable_errors(f"the run of trial {number} cannot be opened in {self.store.address}"):
            run = None if run_id is None else find_trial(self.store.client, run_id)
            if run is None:
                trial = TrialRun(
                    self._create_trial(number, variant), self.store.client, self.writer
                )
                logged: Mapping[str, str] = {}
            else:
                last = last_epoch_in(self.store.client, run.info.run_id)
                trial = TrialRun(run.info.run_id, self.store.client, self.writer, last)
                logged = run.data.params
                self._set_running(trial.run_id)
        missing = {k: v for k, v in _storable_params(params).items() if k not in logged}
        self.writer.call(partial(_log_texts, self.store.client, trial.run_id, params=missing))
        self._trials[trial.run_id] = trial
        return trial

    def log_dataset(self, x: Any, y: np.ndarray, *, name: str, fingerprint: str) -> None:
        """Record the development rows as the run's data set: shape and fingerprint, not content.

        x: [n_rows, ...], an array or a pandas frame; y: [n_rows, ...]
        fingerprint: of the data, as hexadecimal digits
        Raises StoreUnavailable when the store fails.
        """
        from mlflow.data.numpy_dataset import from_numpy
        from mlflow.entities import Dataset, DatasetInput, InputTag

        features = x.to_numpy() if hasattr(x, "iloc") else x
        dataset = from_numpy(features, targets=y, name=name, digest=fingerprint[:12])
        tags = [
            InputTag("mlflow.data.context", "development"),
            InputTag("fingerprint", fingerprint),
        ]
        entry = DatasetInput(Dataset(**dataset.to_dict()), tags)
        with self._readable_errors("the data set"):
            self.store.client.log_inputs(self.run_id, datasets=[entry])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or a folder to the run's artifacts, into `folder` of them.

        Raises StoreUnavailable when it cannot be stored.
        """
        with self._readable_errors(path.name):
            self.store.client.log_artifact(self.run_id, str(path), folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Queue tags of the study's run."""
        self.writer.call(partial(_log_texts, self.store.client, self.run_id, tags=dict(tags)))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = SUMMARY_STEP) -> None:
        """Queue metrics of the study's run."""
        self.writer.put(self.run_id, _storable_metrics(metrics), step)

    def end(self, status: str) -> None:
        """Write everything, then end the run as FINISHED, FAILED or KILLED.

        Raises StoreUnavailable when something is not written.
        """
        self.writer.call(_ending(self.store.client, self.run_id, status))
        self.writer.flush()

    def _create_trial(self, number: int, variant: str) -> str:
        tags = {**_context_tags(), PARENT_TAG: self.run_id, "trial": str(number)}
        name = f"trial {number:03d}" + (f", {variant}" if variant else "")
        run = self.store.client.create_run(self.experiment_id, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _set_running(self, run_id: str) -> None:
        # Behind what is queued: the end of this very run may be.
        self.writer.call(partial(self.store.client.update_run, run_id, status="RUNNING"))

    def _readable_errors(self, what: str) -> Any:
        return readable_errors(f"{what} cannot be stored in {self.store.address}")


class TrialRun:
    """The run of one trial. Nothing here waits for the store.

    last_epoch: the number of epochs that are in the store, or queued for it
    """

    def __init__(
        self, run_id: str, client: MlflowClient, writer: MetricWriter, last_epoch: int = 0
    ) -> None:
        self.run_id = run_id
        self.last_epoch = last_epoch
        self._client = client
        self._writer = writer

    def log_epoch(self, n_epochs: int, metrics: Mapping[str, float]) -> None:
        """Queue the metrics after `n_epochs` epochs, unless they were logged before.

        metrics: as from `records.epoch_metrics`
        """
        if n_epochs <= self.last_epoch:
            return
        self.last_epoch = n_epochs
        self._writer.put(self.run_id, _storable_metrics(metrics), n_epochs)

    def end(self, result: TrialResult, objective: Objective) -> None:
        """Queue the summary, the tags and the status."""
        metrics, tags = trial_summary(result, objective)
        self._writer.put(self.run_id, metrics, SUMMARY_STEP)
        self._writer.call(partial(_log_texts, self._client, self.run_id, tags=tags))
        self._writer.call(_ending(self._client, self.run_id, status_of(result.outcome)))


def _describe(
    client: MlflowClient, run: Run, params: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    """Log a session's parameters and tags on a run that may have some already."""
    wanted = _storable_params(params)
    logged = run.data.params
    latest = changed_params(logged, wanted)
    # Changed once and now changed back: the tag must not go on saying otherwise.
    latest |= {k: v for k, v in wanted.items() if f"latest.{k}" in run.data.tags}
    _log_texts(
        client,
        run.info.run_id,
        params={k: v for k, v in wanted.items() if k not in logged},
        tags={**tags, **{f"latest.{k}": v for k, v in latest.items()}},
    )


def _context_tags() -> dict[str, str]:
    """Return MLflow's own tags: who runs what."""
    from mlflow.tracking.context.registry import resolve_tags

    return dict(resolve_tags())


def _storable_params(params: Mapping[str, Any]) -> dict[str, str]:
    return {
        storable_key(name): storable_text(str(value), MAX_PARAM_CHARACTERS)
        for name, value in params.items()
    }


def _storable_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: storable_value(value) for key, value in metrics.items()}


def _log_texts(
    client: MlflowClient,
    run_id: str,
    *,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    from mlflow.entities import Param, RunTag

    client.log_batch(
        run_id,
        params=[Param(name, value) for name, value in (params or {}).items()],
        tags=[
            RunTag(name, storable_text(value, MAX_TAG_CHARACTERS))
            for name, value in (tags or {}).items()
        ],
    )


def _ending(client: MlflowClient, run_id: str, status: str) -> Callable[[], object]:
    """Return the call that ends a run now, whenever it is written."""
    end_time_ms = int(time.time() * 1000)
    return partial(client.set_terminated, run_id, status, end_time_ms)
