"""The run tree: a study's run, and under it one run per trial; folds are metric keys."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.nest import Nest, by_name
from pipeline.retry import is_passing, patiently
from pipeline.tracking.lookup import (
    PARENT_TAG,
    SIGNATURE_TAG,
    experiment_id_of,
    find_run,
    find_trial,
    ids_of,
    mend,
    unended_trials,
    was_never_created,
)
from pipeline.tracking.moments import MOMENTS
from pipeline.tracking.records import (
    SUMMARY_STEP,
    changed_params,
    digest_of,
    storable_metrics,
    storable_params,
)
from pipeline.tracking.store import Store, readable_errors
from pipeline.tracking.trial_run import TrialRun
from pipeline.tracking.unsent import Unsent
from pipeline.tracking.updates import LOCAL, Artifact, DatasetUse, NewRun, Status, Texts
from pipeline.tracking.views import LATEST, Views
from pipeline.tracking.writer import MetricWriter

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class StudyRun:
    """The run of one study, over all its sessions.

    mended: runs of trials that a dead process had left RUNNING and that are now KILLED
    is_joined: whether another process opened the run, and will end it
    views: how the UI shows the trials
    fold_alone: the fold that trials train before the others, if there is one
    """

    store: Store
    writer: MetricWriter
    experiment_id: str
    run_id: str
    mended: int = 0
    is_joined: bool = False
    views: Views | None = None
    fold_alone: int | None = None
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
        views: Views | None = None,
        keep_running: Collection[str] = (),
        fold_alone: int | None = None,
    ) -> StudyRun:
        """Continue the run that has this signature, or create it.

        experiment: the study's name
        views: how the UI shows the trials. Somebody may have changed that of all searches: it stays
        params: texts. One that has changed since the first session becomes the tag `latest.<name>`
        keep_running: ids of trial runs that are left RUNNING: they will be continued, or another
            worker is at them
        Raises BadInput when the experiment was deleted, StoreUnavailable when the store fails.
        """

        def opened() -> StudyRun:
            client = store.client
            experiment_id = experiment_id_of(store, experiment)
            run = find_run(client, experiment_id, signature)
            if run is None:
                name = f"{experiment} {signature}"
                marks = {**_context_tags(), SIGNATURE_TAG: signature}
                run = client.create_run(experiment_id, tags=marks, run_name=name)
                mended = 0
            else:
                MOMENTS.not_before(run.info.end_time)
                client.update_run(run.info.run_id, status="RUNNING")
                mended = mend(client, experiment_id, run.info.run_id, keep_running)
            _describe(client, run, params, tags)
            if views is not None:
                _show(client, run, views)
            ids = (experiment_id, run.info.run_id)
            return cls(store, writer, *ids, mended, views=views, fold_alone=fold_alone)

        with readable_errors(f"the study's run cannot be opened in {store.address}"):
            return patiently(opened, patience_secs=writer.patience_secs)

    @classmethod
    def join(
        cls,
        store: Store,
        writer: MetricWriter,
        *,
        experiment: str,
        signature: str,
        fold_alone: int | None = None,
    ) -> StudyRun | None:
        """Take part in the run that another process has opened; None while there is none.

        Raises StoreUnavailable when the store fails.
        """

        def joined() -> StudyRun | None:
            found = store.client.get_experiment_by_name(experiment)
            run = found and find_run(store.client, found.experiment_id, signature)
            if not run:
                return None
            info = run.info
            ids = (info.experiment_id, info.run_id)
            return cls(store, writer, *ids, is_joined=True, fold_alone=fold_alone)

        with readable_errors(f"the study's run cannot be read in {store.address}"):
            return patiently(joined, patience_secs=writer.patience_secs)

    @property
    def url(self) -> str:
        """Where to look at it, once the UI runs. Passwords are masked."""
        return self.store.url_of(f"/experiments/{self.experiment_id}/runs/{self.run_id}")

    @property
    def trials_url(self) -> str:
        """Where to look at the trials of the latest search, best first; "" without views."""
        return (
            self.store.url_of(self.views.page_of(self.experiment_id, LATEST)) if self.views else ""
        )

    def start_trial(
        self,
        number: int,
        params: Mapping[str, Any],
        *,
        run_id: str | None = None,
        variant: str = "",
        n_logged: int = 0,
    ) -> TrialRun:
        """Create a trial's run, or reopen the one of an interrupted trial.

        run_id: of the interrupted trial; epochs that are in it already are not logged again. If it
            was deleted meanwhile, a new run is created
        variant: what tells a run of changed parameters from the trial's own
        n_logged: epochs that are in the run of a finished trial, or kept for it by another process
        A store that is away for now is not waited for: the run gets a local id, and is created when
        the store is back. Raises StoreUnavailable when it fails for good.
        """
        if run_id in self._trials:
            trial = self._trials[run_id]
            self.writer.update(Status(trial.run_id, "RUNNING"))
            return trial
        with readable_errors(f"the run of trial {number} cannot be opened in {self.store.address}"):
            trial, logged = self._opened(number, run_id, variant, n_logged)
        missing = {k: v for k, v in storable_params(params).items() if k not in logged}
        self.writer.update(Texts(trial.run_id, params=missing))
        self._trials[trial.run_id] = trial
        return trial

    def let_go(self, *run_ids: str) -> None:
        """Write everything, and ask MLflow anew when these trials' runs are opened again.

        run_ids: of runs in which other workers may log from now on; of all trials if there is none
        Raises StoreUnavailable when something is not written.
        """
        kept = self._trials.keys()
        if not run_ids or kept & set(run_ids):
            self.flush()
        for run_id in run_ids or tuple(kept):
            self._trials.pop(run_id, None)

    def log_dataset(self, x: Nest, y: Nest, *, name: str, fingerprint: str) -> None:
        """Record the development rows as the run's data set: shape and fingerprint, not content.

        x: [n_rows, ...], an array or a pandas frame; y: [n_rows, ...]; or several of them
        fingerprint: of the data, as hexadecimal digits
        Raises StoreUnavailable when the store fails.
        """
        from mlflow.data.numpy_dataset import from_numpy

        features = x.to_numpy() if hasattr(x, "iloc") else by_name(x)
        dataset = from_numpy(features, targets=by_name(y), name=name, digest=digest_of(fingerprint))
        tags = {"mlflow.data.context": "development", "fingerprint": fingerprint}
        self.writer.update(DatasetUse(self.run_id, dataset.to_dict(), tags))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or a folder to the run's artifacts, into `folder` of them.

        While the store is away it is kept, to be sent later.
        Raises StoreUnavailable when it cannot be stored.
        """

        def log() -> None:
            Artifact(self.run_id, str(path), folder).send(self.store.client, self.run_id)

        def keep(unsent: Unsent) -> None:
            self.writer.update(Artifact(self.run_id, str(unsent.copied(path)), folder))

        self.send_or_keep(log, keep, what=path.name)

    def send_or_keep(
        self, send: Callable[[], Kept], keep: Callable[[Unsent], Kept], *, what: str
    ) -> Kept:
        """Return what `send` returns, tried patiently; or what `keep` does if the store stays away.

        Raises StoreUnavailable when it cannot be stored, or cannot be kept for want of a folder.
        """
        unsent = self.writer.unsent
        # One that is known to be away has had its patience.
        patience_secs = 0.0 if self.writer.is_away else self.writer.patience_secs
        with readable_errors(f"{what} cannot be stored in {self.store.address}"):
            try:
                return patiently(send, patience_secs=patience_secs)
            except Exception as error:
                if unsent is None or not is_passing(error):
                    raise
                return keep(unsent)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Queue tags of the study's run."""
        self.writer.update(Texts(self.run_id, tags=dict(tags)))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = SUMMARY_STEP) -> None:
        """Queue metrics of the study's run."""
        self.writer.put(self.run_id, storable_metrics(metrics), step)

    def unended(self, known: Collection[str]) -> set[str]:
        """Return those of the trials' runs, by ids, that have not ended or were never created."""

        def read() -> set[str]:
            client, experiment_id = self.store.client, self.experiment_id
            left = set().union(*map(ids_of, unended_trials(client, experiment_id, self.run_id)))
            left |= {each for each in known if was_never_created(client, experiment_id, each)}
            return left.intersection(known)

        with readable_errors(f"the study's runs cannot be read in {self.store.address}"):
            return patiently(read, patience_secs=self.writer.patience_secs)

    def end_all_but(self, known: Collection[str]) -> None:
        """Mark trials' runs as KILLED that are RUNNING, and are none of the known ones."""
        ids, patience_secs = (self.experiment_id, self.run_id), self.writer.patience_secs
        with readable_errors(f"the study's runs cannot be ended in {self.store.address}"):
            patiently(lambda: mend(self.store.client, *ids, known), patience_secs=patience_secs)

    def flush(self) -> None:
        """Write everything. Raises StoreUnavailable when something is not written."""
        self.writer.flush()

    def end(self, status: str) -> None:
        """Write everything, then end the run as FINISHED, FAILED or KILLED, unless it was joined.

        Raises StoreUnavailable when something is not written.
        """
        if not self.is_joined:
            self.writer.update(Status.ended(self.run_id, status))
        self.writer.flush()

    def _opened(
        self, number: int, run_id: str | None, variant: str, n_logged: int
    ) -> tuple[TrialRun, Mapping[str, str]]:
        """Return a trial's run, and the parameters that it has already."""
        tags = {**_context_tags(), PARENT_TAG: self.run_id, "trial": str(number)}
        name = f"trial {number:03d}" + (f", {variant}" if variant else "")
        new = NewRun.now(self.experiment_id, name, tags)
        if run_id and run_id.startswith(LOCAL):  # another node may be about to send it
            new = replace(new, run_id=run_id)
        client = self.store.client
        # Training goes on without waiting; only what is in an interrupted run must be known.
        patience_secs = self.writer.patience_secs if run_id else 0.0
        try:
            if self.writer.is_away:
                raise ConnectionError("the store is away")
            run = run_id and patiently(
                lambda: find_trial(client, self.experiment_id, run_id), patience_secs=patience_secs
            )
            if run:
                trial = TrialRun.of(run, client, self.writer, self.fold_alone)
                self.writer.update(Status(run.info.run_id, "RUNNING"))
                return trial, run.data.params
            return TrialRun(new.create(client), self.writer), {}
        except Exception as error:
            if not is_passing(error) or self.writer.unsent is None:
                raise
        if run_id and n_logged and run_id != new.run_id:  # it is there, though it cannot be asked
            self.writer.update(Status(run_id, "RUNNING"))
            return TrialRun(run_id, self.writer, n_logged), {}
        self.writer.update(new)
        return TrialRun(new.run_id, self.writer, n_logged), {}


def _describe(
    client: MlflowClient, run: Run, params: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    """Log a session's parameters and tags on a run that may have some already."""
    wanted = storable_params(params)
    logged = run.data.params
    latest = changed_params(logged, wanted)
    # Changed once and now changed back: the tag must not go on saying otherwise.
    latest |= {k: v for k, v in wanted.items() if f"latest.{k}" in run.data.tags}
    Texts(
        run.info.run_id,
        params={k: v for k, v in wanted.items() if k not in logged},
        tags={**tags, **{f"latest.{k}": v for k, v in latest.items()}},
    ).send(client, run.info.run_id)


def _show(client: MlflowClient, run: Run, views: Views) -> None:
    """Give the experiment its views; what is there of all searches' stays."""
    experiment_id, now_ms = run.info.experiment_id, MOMENTS.now()
    there = client.get_experiment(experiment_id).tags
    missing = {
        key: value
        for key, value in views.of_experiment(experiment_id, now_ms=now_ms).items()
        if key not in there
    }
    for key, value in (missing | views.of_latest(run.info.run_id, now_ms=now_ms)).items():
        client.set_experiment_tag(experiment_id, key, value)


@functools.cache
def _context_tags() -> Mapping[str, str]:
    """Return MLflow's own tags: who runs what. This process stays what it is."""
    from mlflow.tracking.context.registry import resolve_tags

    return dict(resolve_tags())
