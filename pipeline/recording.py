"""The study's run in MLflow, from its opening to its true end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import nodes, optimization, tracking, training
from pipeline.addresses import storage_of, tracking_uri_of
from pipeline.batch import StopRequest
from pipeline.errors import Interrupted, StoreUnavailable
from pipeline.lazy_rows import stand_in
from pipeline.machine import Share
from pipeline.meeting import InFolder, InServer, Meeting
from pipeline.nest import map_parts
from pipeline.progress import Display
from pipeline.question import Question, pose
from pipeline.spec import StudySpec

POLL_SECS = 0.5
"""Between two looks for what another process is about to make."""


@dataclass(frozen=True)
class Stores:
    """Where a search keeps its records, and how long it waits for them.

    tracking_uri: MLflow's store; None is that of MLFLOW_TRACKING_URI, or else `mlruns/mlflow.db` in
        the study's project
    storage: Optuna's, a journal file or a URL; None is that of OPTUNA_STORAGE, or else a journal in
        the study's folder
    patience_secs: how long a store that is locked or away is tried again
    """

    tracking_uri: str | None
    storage: str | None
    patience_secs: float

    def check(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Open a storage that is a server, so that what is wrong with it is said at once.

        Raises BadInput and StoreUnavailable.
        """
        if self._server is not None:
            optimization.check_server(self._server, self.patience_secs, say=say)

    def posed(self, spec: StudySpec, *, share: Share, say: Callable[[str], None]) -> Question:
        """Return the study with its data split, for a search; see `question.pose`."""
        self.check(say)
        return pose(spec, share=share, measures=True, begun=self.bring_record, say=say)

    def meeting_for(
        self,
        question: Question,
        stop: StopRequest,
        *,
        alone: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> Meeting:
        """Return where the workers of a study meet.

        alone: whether no other study of its name may be held at once, where that can be told
        """
        if self._server is None:
            return InFolder(question)
        return InServer(question, self._server, self.patience_secs, stop, say, alone=alone)

    def bring_record(self, question: Question) -> None:
        """Bring here what another node has recorded of a study that is new in this folder."""
        if self._server is not None and question.is_new:
            threads = nodes.threads_of(
                self._server, question.name, patience_secs=self.patience_secs
            )
            if threads:
                question.folder.mkdir(parents=True, exist_ok=True)
                question.record_threads(threads)

    def opened_for(
        self, question: Question, *, say: Callable[[str], None]
    ) -> tuple[tracking.Store, Any]:
        """Return MLflow's store and Optuna's study, created if need be.

        Raises BadInput and StoreUnavailable. The caller holds the study's lock.
        """
        store = self.tracking_for(question, say=say)
        study = optimization.open_study(
            self._storage_of(question), question.name, question.spec,
            patience_secs=self.patience_secs,
        )  # fmt: skip
        nodes.introduce(study, question)
        return store, study

    def tracking_for(self, question: Question, *, say: Callable[[str], None]) -> tracking.Store:
        """Return MLflow's store. Raises BadInput and StoreUnavailable."""
        return tracking.open_store(
            tracking_uri_of(self.tracking_uri),
            question.home,
            patience_secs=self.patience_secs,
            say=say,
        )

    def study_begun_by_another(self, question: Question) -> Any:
        """Return Optuna's study when its holder has opened it and recorded its engine, or None."""
        storage = self._storage_of(question)
        if isinstance(storage, Path) and not storage.exists():
            return None
        with suppress(StoreUnavailable):  # not there yet
            study = optimization.read_study(
                storage, question.name, patience_secs=self.patience_secs
            )
            if "engine" in study.user_attrs:
                return study
            optimization.disconnect(study._storage)
        return None

    @property
    def is_server(self) -> bool:
        """Whether Optuna's is one on which nodes meet that need not share a folder."""
        return self._server is not None

    @property
    def _server(self) -> str | None:
        """The storage, if it is a server on which nodes can meet."""
        storage = storage_of(self.storage)
        return storage if storage and optimization.is_server(storage) else None

    def _storage_of(self, question: Question) -> str | Path:
        return storage_of(self.storage) or question.folder / "journal.log"


@contextmanager
def joining(
    stores: Stores, question: Question, study: Any, display: Display, stop: StopRequest
) -> Iterator[tracking.StudyRun]:
    """Take part in a run that another process holds, as soon as that has opened it.

    study: Optuna's
    What the store does not take is kept in a folder of this worker's, for the holder to send.
    """
    store = stores.tracking_for(question, say=display.say)
    unsent = tracking.Unsent.of_worker(question.folder, store.address)
    patience_secs = stores.patience_secs
    writer = tracking.MetricWriter(store.client, unsent=unsent, patience_secs=patience_secs)
    try:
        with writer:
            run = _joined(stores, store, writer, question, study, stop)
            tracking.check_files(run)
            yield run
    finally:
        # In a common folder its holder takes it over, and says what becomes of it.
        if writer.left_behind and stores.is_server:
            display.say(writer.left_behind)


def _joined(
    stores: Stores,
    store: tracking.Store,
    writer: tracking.MetricWriter,
    question: Question,
    study: Any,
    stop: StopRequest,
) -> tracking.StudyRun:
    """Return the run that another process holds, when that has opened it."""
    names = {"experiment": question.spec.name, "signature": question.signature}
    alone, start = fold_alone(question), time.monotonic()
    while (run := tracking.StudyRun.join(store, writer, **names, fold_alone=alone)) is None:
        stop.raise_if_asked()
        waited = time.monotonic() - start
        # Until then what is written may be of the holder before.
        if waited > nodes.INTRODUCTION_SECS and (wrong := nodes.run_elsewhere(study, store)):
            raise wrong
        if waited > max(stores.patience_secs, 2 * nodes.INTRODUCTION_SECS):
            raise StoreUnavailable(f"{store.address} has no run of this study to join")
        time.sleep(POLL_SECS)
    return run


@contextmanager
def recording(
    store: tracking.Store,
    question: Question,
    engine: training.Engine,
    to_continue: Sequence[str],
    display: Display,
    patience_secs: float,
) -> Iterator[tracking.StudyRun]:
    """Open the study's run and end it truthfully: FINISHED, KILLED or FAILED.

    What the store does not take until then is kept in the study's folder, and the display told so.
    """
    unsent = tracking.Unsent(question.folder, store.address)
    writer = tracking.MetricWriter(store.client, unsent=unsent, patience_secs=patience_secs)
    try:
        with writer:
            if writer.n_left:
                display.say(f"{writer.n_left} update(s) of an earlier session go to MLflow now")
                with suppress(StoreUnavailable):
                    writer.flush()
            run = _opened(store, writer, question, engine, to_continue)
            display.run_opened(run.url)
            if run.mended:
                display.say(f"{run.mended} run(s) of a killed process marked KILLED in MLflow")
            with tracking.alive(run):
                yield from _ended_truthfully(run, question)
    finally:
        if writer.left_behind:
            display.left_behind(writer.left_behind)


def _opened(
    store: tracking.Store,
    writer: tracking.MetricWriter,
    question: Question,
    engine: training.Engine,
    to_continue: Sequence[str],
) -> tracking.StudyRun:
    return tracking.StudyRun.open(
        store,
        writer,
        experiment=question.spec.name,
        signature=question.signature,
        params={
            **question.spec.described(),
            "engine.mode": str(engine.setup),
            "splits_hash": question.folds.hash,
            "data_fingerprint": question.data_fingerprint,
        },
        tags=tracking.provenance(question.home),
        views=tracking.Views(question.spec.objective, len(question.folds)),
        keep_running=to_continue,
        fold_alone=fold_alone(question),
    )


def fold_alone(question: Question) -> int | None:
    """Return the fold that trials train before the others, if the study has a strategy."""
    strategy = question.spec.pausing
    return None if strategy is None else strategy.fold


def _ended_truthfully(run: tracking.StudyRun, question: Question) -> Iterator[tracking.StudyRun]:
    rows, status = question.development, "FAILED"
    try:
        tracking.check_files(run)
        run.log_dataset(
            map_parts(stand_in, rows.x),
            rows.y,
            name=question.spec.name,
            fingerprint=question.data_fingerprint,
        )
        yield run
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        with suppress(StoreUnavailable):  # the writer says so when it closes
            run.end(status)
