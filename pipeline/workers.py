"""Several workers under one supervisor: started, watched, replaced when they die, stopped with it.

Each is a process of its own that joins the study (`worker.py`). The supervisor holds the study's
lock and its run, trains nothing itself until they have ended, and shows what the storage says of
them. What one that died was at, another goes on with.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import optimization, training
from pipeline.asking import is_over
from pipeline.batch import GRACE_SECS
from pipeline.cli import arguments_of
from pipeline.errors import (
    BadInput,
    ExitCode,
    Interrupted,
    PipelineError,
    StoreUnavailable,
    StudyFailed,
)
from pipeline.folds import expected_n_folds
from pipeline.machine import Place, ceiling_mb, n_workers_for, places
from pipeline.recovery import complete_runs
from pipeline.results import Outcome
from pipeline.session import Session
from pipeline.spec import StudySpec
from pipeline.work import raise_after_failures

POLL_SECS = 0.2
"""Between two looks at what the workers are at."""

WORKER_GRACE_SECS = GRACE_SECS - 5
"""As `GRACE_SECS`, in a worker: it must have ended before its supervisor gives up."""

MAX_DEATHS_EACH = 2
"""Deaths per worker without a trial that came to a value: more would follow, for ever."""


@dataclass(frozen=True)
class Crew:
    """How many workers there are to be, and what each is told of the study.

    arguments: of `python -m pipeline.worker`: the study file, and the changes of its fields
    folder: which relative paths among them are relative to
    """

    n_workers: int
    arguments: Sequence[str]
    folder: Path

    @classmethod
    def of(cls, options: argparse.Namespace, spec: StudySpec, folder: Path) -> Crew:
        """Return the crew that the command line asks for."""
        n = options.workers
        if n == "auto":
            n_folds = expected_n_folds(spec.splitter)
            n = n_workers_for(len(training.GPUS), spec.threads, n_folds, spec.budget.n_trials)
        return cls(n, arguments_of(options), folder)


def ceiling_alone_mb(crew: Crew | None) -> float | None:
    """Return how large this process may grow that trains before its crew of one does.

    None where nobody can take over: what a process has had of a GPU it keeps until its end.
    """
    return None if crew is None or training.GPUS else ceiling_mb(crew.n_workers)


def supervise(crew: Crew, session: Session, because: str = "") -> None:
    """Let a crew train trials until the budget is spent.

    because: why it does and not this process, to be said before its number
    Raises Interrupted after a signal, when all workers have stopped; StudyFailed and
    StoreUnavailable when a worker ended with that, or workers go on dying.
    """
    watch = _Watch(session)
    session.count()
    if is_over(session) or session.must_stop():
        return
    try:
        with _started(crew, session, because) as workers:
            found_over = _attend(workers, watch, session)
    finally:
        with suppress(StoreUnavailable):  # said when the run ends
            session.run.writer.adopt()
            complete_runs(session)
    session.count()
    session.stop.raise_if_asked()
    if not found_over and not is_over(session):
        raise Interrupted("the workers were asked to stop; the same command continues")


def _attend(workers: Sequence[_Worker], watch: _Watch, session: Session) -> bool:
    """Tell what the workers do, and replace those that die, until all have ended.

    Returns whether one of them found that there is nothing more to do, or to spend.
    """
    n_most, n_deaths, asked, found_over = watch.look(), 0, False, False
    while any(worker.is_at_work for worker in workers):
        time.sleep(POLL_SECS)
        if session.stop and not asked:
            asked = True
            for worker in workers:
                worker.ask_to_stop()
        if (n_now := watch.look()) > n_most:
            n_most, n_deaths = n_now, 0
        raise_after_failures(session.finished.all(), watch.before, session.spec.budget)
        for worker in workers:
            code = worker.ended()
            if code is None or code == ExitCode.INTERRUPTED:
                continue
            if code == ExitCode.SUCCESS and worker.ceiling_reached and not worker.budget_over:
                if not asked and not is_over(session):
                    session.display.say(f"worker {worker.number} has grown too large: renewed")
                    worker.start()
                continue
            if code == ExitCode.SUCCESS:
                found_over = True
                session.spending.ended_by = session.spending.ended_by or worker.budget_over
                continue
            if code > 0:
                raise worker.error(code)
            n_deaths += 1
            killed_by = name_of(-code)
            if n_deaths > MAX_DEATHS_EACH * len(workers):
                raise StudyFailed(
                    f"{n_deaths} workers died and no trial came to its end meanwhile, the last one "
                    f"by {killed_by}: is the memory enough for {len(workers)}? What it said is in "
                    f"{worker.log}"
                )
            if not asked:
                session.display.say(
                    f"worker {worker.number} was ended by {killed_by}; another takes its place"
                )
                worker.start()
    watch.look()
    return found_over


@contextmanager
def _started(crew: Crew, session: Session, because: str) -> Iterator[list[_Worker]]:
    """Start the workers; none outlives the block."""
    folder = session.question.folder / "workers"
    folder.mkdir(exist_ok=True)
    deadline, limit_mb = session.spending.deadline, ceiling_mb(crew.n_workers)
    told = [
        *crew.arguments,
        *("--supervisor", str(os.getpid()), "--question", session.question.name),
        *(() if deadline is None else ("--until", str(deadline))),
        *(() if limit_mb is None else ("--memory-limit", str(limit_mb))),
    ]
    workers = [
        _Worker(number, place, replace(crew, arguments=told), folder)
        for number, place in enumerate(places(crew.n_workers, len(training.GPUS)), start=1)
    ]
    threads = session.question.threads_for(crew.n_workers)
    each = "a thread for each core" if threads is None else f"{threads} thread(s)"
    n_workers = f"{because}{crew.n_workers} worker(s)"
    session.display.say(f"{n_workers}, each with {each}; their logs are in {folder}")
    try:
        for worker in workers:
            worker.start()
        yield workers
    finally:
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.end()


def name_of(number: int) -> str:
    """Return a signal's name; not every number has one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Worker:
    """A worker's process, and the one that takes its place when it dies."""

    def __init__(self, number: int, place: Place, crew: Crew, folder: Path) -> None:
        self.number, self.log = number, folder / f"{number}.log"
        self._output = folder / f"{number}.json"
        self._command = [
            *(sys.executable, "-m", "pipeline.worker", *crew.arguments),
            *("--gpu-share", str(place.gpu_share)),
        ]
        self._folder = crew.folder
        self._environment = dict(os.environ)
        if place.gpu is not None:
            self._environment["CUDA_VISIBLE_DEVICES"] = place.gpu
        self._process: subprocess.Popen[bytes] | None = None
        self._told: dict[str, Any] = {}
        self.log.write_bytes(b"")

    def start(self) -> None:
        """Start a process; Ctrl-C in the terminal does not reach it, only its supervisor does."""
        # Files, not pipes: what a worker has started may live on and keep a pipe open.
        with self.log.open("ab") as log, self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=log,
                cwd=self._folder, env=self._environment, start_new_session=True,
            )  # fmt: skip

    @property
    def is_at_work(self) -> bool:
        """Whether its end has not been seen yet."""
        return self._process is not None

    def ended(self) -> int | None:
        """Return the exit code, below 0 for a signal, once; None before and after that."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        with suppress(ValueError):  # one that died said nothing
            self._told = json.loads(self._output.read_bytes())
        self._process = None
        return code

    @property
    def budget_over(self) -> str:
        """Which budget it ended for, in words; "" for none."""
        return str(self._told.get("budget_over") or "")

    @property
    def ceiling_reached(self) -> bool:
        """Whether it ended because its memory had grown too large."""
        return bool(self._told.get("ceiling_reached"))

    def error(self, code: int) -> PipelineError:
        """Return the error that it ended with."""
        reason = self._told.get("error") or f"ended with exit code {code}"
        kinds = (kind for kind in (StoreUnavailable, BadInput) if kind.exit_code == code)
        kind = next(kinds, StudyFailed)
        return kind(f"worker {self.number}: {reason}; what it said is in {self.log}")

    def ask_to_stop(self) -> None:
        """Let it stop after its epoch."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait until it has stopped, and kill it if it does not."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE_SECS)
        self._process.kill()
        self._process.wait()


class _Watch:
    """Tells a display what the study's storage says of trials that others train."""

    def __init__(self, session: Session) -> None:
        self._session = session
        trials = session.finished.all()
        self.before = frozenset(trial.number for trial in trials)
        self._finished = set(self.before)
        self._begun: dict[int, int] = {}
        self._paused = {trial.number: trial.n_fold_epochs for trial in session.paused()}

    def look(self) -> int:
        """Tell what is new; return how many steps of trials have come to their end."""
        session = self._session
        paused = {trial.number: trial for trial in session.at_rest()}
        for trial in optimization.begun(session.study):
            params = session.spec.params_of(trial.params)
            if not session.spec.sampled_with(params).keys() <= params.keys():
                continue  # it is being asked for
            result = paused.get(trial.number)
            if result and self._paused.get(trial.number) == result.n_fold_epochs:
                continue
            if trial.number not in self._begun:
                session.display.trial_started(trial.number, params)
            n_epochs, mean = optimization.last_report(trial, int(params["max_epochs"]))
            if n_epochs > self._begun.get(trial.number, 0):
                session.display.epoch_ended(trial.number, n_epochs, mean)
            self._begun[trial.number] = n_epochs
            if result:
                self._paused[trial.number] = result.n_fold_epochs
                del self._begun[trial.number]
                session.display.trial_ended(result)
        for result in session.finished.all():
            if result.number not in self._finished:
                self._finished.add(result.number)
                session.display.trial_ended(result)
        return self._n_steps()

    def _n_steps(self) -> int:
        """Return how many trials have ended without failing; rungs that were reached count too."""
        trials, climbs = self._session.finished.all(), self._session.climbs
        n_ended = sum(trial.outcome is not Outcome.FAILED for trial in trials)
        if climbs is None:
            return n_ended
        return n_ended * len(climbs.strategy.rungs) + climbs.n_rungs_of_paused()
