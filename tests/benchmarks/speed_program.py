"""This program's ways: with and without XLA, without logging, and with several workers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline.budget import Budget
from pipeline.progress import Display
from pipeline.results import TrialResult
from pipeline.spec import EngineMode
from tests.benchmarks.speed_turns import Job, Piece, Turns, Work
from tests.benchmarks.trial_parts import Parts


def plain(turns: Turns, job: Job) -> None:
    """Run this program with engine="plain"."""
    one_worker(turns, job, "plain")


def xla(turns: Turns, job: Job) -> None:
    """Run this program with engine="xla"."""
    one_worker(turns, job, "xla")


def in_turn(turns: Turns, job: Job) -> None:
    """Run this program with engine="xla" and one fold after the other, as on a single core."""
    with mock.patch("pipeline.training.resident.n_lanes", return_value=1):
        one_worker(turns, job, "xla")


def unlogged(turns: Turns, job: Job) -> None:
    """Run this program with the study's engine, but keep no trial and no epoch in MLflow."""
    with without_logging():
        one_worker(turns, job, job.study.engine)


def one_worker(turns: Turns, job: Job, engine: EngineMode) -> None:
    """Search in this process, with this program's own stores and sampler. A piece is a trial."""
    from pipeline.search import search
    from pipeline.study_file import load_study
    from pipeline.training import LockstepTraining

    parts = Parts()

    class HandOver(Display):
        def trial_ended(self, result: TrialResult) -> None:
            turns.count(result.n_fold_epochs, result.n_updates)
            turns.hand_over(piece_of(result, result.n_fold_epochs, parts.seconds.pop("training")))

    spec = load_study(own_study(job.model, job.folder))
    spec = replace(spec, engine=engine, budget=Budget(n_trials=job.n_trials))
    with parts.watching({"training": [(LockstepTraining, "advance")]}):
        search(spec, display=HandOver())
    turns.end(job.folder / "mlruns" / "mlflow.db", job.work.n_epochs)


def workers(turns: Turns, job: Job) -> None:
    """Do what `python -m pipeline.search --workers N` does, with the study's engine.

    The workers do not wait for each other, so a piece is what all of them have trained meanwhile.
    """
    turns.goes_on = True
    from pipeline.changes import with_options
    from pipeline.cli import search_options
    from pipeline.crew import Crew
    from pipeline.search import search
    from pipeline.study_file import load_study

    study = own_study(job.model, job.folder)
    options = search_options([str(study), f"--workers={job.n_workers}", f"--trials={job.n_trials}"])
    spec = with_options(load_study(options.study), options)
    search(
        spec,
        display=Together(turns, job.work, job.n_workers),
        crew=Crew.of(options, spec, job.folder),
    )
    turns.end(job.folder / "mlruns" / "mlflow.db", job.work.n_epochs)


class Together(Display):
    """The supervisor's display, which is told what the workers have trained: hands that over.

    A piece is at least a trial's epochs, counted at a moment when each worker is at a trial and has
    trained an epoch of it. So all have compiled when the first piece ends.
    """

    def __init__(self, turns: Turns, work: Work, n_workers: int) -> None:
        self._turns, self._work, self._n_workers = turns, work, n_workers
        self._n_fold_epochs = 0
        self._running: dict[int, int] = {}
        self._ended: dict[int, TrialResult] = {}
        self._next = 0  # the first piece shows the first trial

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None:
        """Take a worker's new trial."""
        self._running[number] = 0

    def epoch_ended(self, number: int, n_epochs: int, mean: float) -> None:
        """Count a trial's new epochs, and hand over what is enough."""
        self._n_fold_epochs += self._work.n_folds * (n_epochs - self._running[number])
        self._running[number] = n_epochs
        are_all_at_work = len(self._running) == self._n_workers and all(self._running.values())
        is_enough = self._n_fold_epochs >= self._work.n_fold_epochs
        if are_all_at_work and is_enough and self._next in self._ended:
            self._turns.hand_over(piece_of(self._ended[self._next], self._n_fold_epochs))
            self._n_fold_epochs, self._next = 0, max(self._ended)

    def trial_ended(self, result: TrialResult) -> None:
        """Count what is left of a trial. One that lasted a moment was not seen to start."""
        n_seen = self._work.n_folds * self._running.pop(result.number, 0)
        self._n_fold_epochs += result.n_fold_epochs - n_seen
        self._ended[result.number] = result
        self._turns.count(result.n_fold_epochs, result.n_updates)


def piece_of(result: TrialResult, n_fold_epochs: int, training_secs: float | None = None) -> Piece:
    """Return a piece in which this trial ended."""
    assert result.curves is not None
    rate, loss = result.params["learning_rate"], result.curves.mean_after(result.curves.n_epochs)
    return Piece(result.number, rate, n_fold_epochs, loss, training_secs)


def own_study(model: str, folder: Path) -> Path:
    """Copy a study into a project of its own: the stores lie in the project that holds it."""
    studies = folder / "studies"
    studies.mkdir()
    return Path(shutil.copy(Path(__file__).parent / "speed_studies" / f"{model}.py", studies))


class _NoRun:
    """A trial's run that is nowhere."""

    run_id = ""
    epochs: dict[int, Any] = {}  # noqa: RUF012

    def end(self, *args: Any) -> None: ...


@contextmanager
def without_logging() -> Iterator[None]:
    """Let trials and their epochs be written neither to MLflow nor to the files for it.

    The study's own run stays: it is opened before the first trial and ended after the last.
    """
    from pipeline.session import Session
    from pipeline.tracking import StudyRun
    from pipeline.unwritten import Unwritten

    with ExitStack() as stack:
        for owner, name, value in (
            (StudyRun, "start_trial", lambda *args, **options: _NoRun()),
            (Session, "log_epochs", lambda *args: None),
            (Unwritten, "keep", lambda *args: None),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        yield
