"""Workers of a simulated search by a clock that nobody waits for, all in one process."""

from __future__ import annotations

import functools
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from optuna.trial import FrozenTrial

from pipeline.optimization import HeartbeatClaims
from pipeline.optimization import trials as proposals
from pipeline.optimization.cached import CachedDatabase
from pipeline.optimization.database import PatientStorage
from pipeline.optimization.reports import GatheredReports
from pipeline.results import TrialResult
from pipeline.session import Session
from tests.benchmarks.scale_clock import Meter, VirtualClock
from tests.benchmarks.scale_worker import Timings, Workers, as_read

COLLECT_SECS = 60.0
"""Between two collections of what Python's memory has of cycles, for all workers together: one
alone has a thousandth of it to look through."""


class Known:
    """Trials and results that all workers have read, once each: they would not fit otherwise."""

    def __init__(self) -> None:
        self._ended: dict[int, FrozenTrial] = {}
        self._begun: dict[int, FrozenTrial] = {}
        self._results: dict[int, TrialResult] = {}

    def ended(self, trial: FrozenTrial) -> FrozenTrial:
        """Return what is known of a trial, if it has ended."""
        return (
            self._ended.setdefault(trial._trial_id, trial) if trial.state.is_finished() else trial
        )

    def let_share(self, session: Session) -> None:
        """Take from a worker what is known, and what it reads anew before it looks at it."""
        study: Any = session.study
        trials = study._storage._studies[study._study_id].trials
        for number, trial in trials.items():
            if not trial.state.is_finished():
                trials[number] = self._begun.setdefault(trial._trial_id, trial)
        results = session.finished._results
        for number, result in results.items():
            results[number] = self._results.setdefault(number, result)


class SharedDatabase(CachedDatabase):
    """A worker's cache; an ended trial is the same object in all of them."""

    def __init__(self, backend: PatientStorage, known: Known) -> None:
        super().__init__(backend)
        self._known = known

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        super()._add_trials_to_cache(study_id, [self._known.ended(trial) for trial in trials])


@dataclass(frozen=True)
class Virtual:
    """Plays workers: one runs at a time, and all share the connections that it needs.

    n_cores: of the server; round_trip_secs: to it and back
    """

    workers: Workers
    n_cores: int
    round_trip_secs: float

    def run(self, answer: Connection) -> None:
        """Work, and answer with the timings when it is time; the process ends in the midst."""
        workers = self.workers
        study, finished = workers.known()
        backend: Any = study._storage._backend  # type: ignore[attr-defined]
        backend.engine.dispose()
        clock = VirtualClock(
            Meter(backend.engine).read, n_cores=self.n_cores, round_trip_secs=self.round_trip_secs
        )
        timings, known, sessions = Timings(clock), Known(), dict[int, Session]()
        go_by(clock, after_asking=lambda claims: known.let_share(sessions[id(claims)]))
        timings.time_all()

        def work(place: int) -> None:
            def see(session: Session) -> None:
                claims: Any = session.claims
                sessions[id(claims)] = session
                claims._beating = "by the clock"
                interval = claims._storage.heartbeat_interval
                clock.every(interval, clock.now() + interval, claims.beat)

            mine = as_read(study, SharedDatabase(backend, known))
            clock.forget()
            workers.work(place, mine, finished, timings, see)

        for place, at in enumerate(workers.starts):
            clock.begin(at, functools.partial(work, place))
        gc.disable()
        gc.freeze()
        run(clock, workers.ramp_secs)
        answer.send(None)  # now it is looked at
        answer.recv()
        before = clock.client_secs
        run(clock, workers.ramp_secs + workers.secs)
        timings.processor_secs = clock.client_secs - before
        answer.send(timings.without_clock())
        answer.close()
        os._exit(0)


def run(clock: VirtualClock, until: float) -> None:
    """Let all work until this time; what is between their turns is not theirs."""
    last = time.monotonic()

    def tidy() -> None:
        nonlocal last
        if time.monotonic() - last > COLLECT_SECS:
            gc.collect()
            last = time.monotonic()

    clock.run(until, tidy)


def go_by(clock: VirtualClock, after_asking: Callable[[HeartbeatClaims], None]) -> None:
    """Let the program wait by the clock, in all of this process."""
    under_lock = HeartbeatClaims.asking

    @contextmanager
    def asking(claims: HeartbeatClaims) -> Iterator[None]:
        clock.acquire()
        try:
            with under_lock(claims):
                yield
        finally:
            clock.release()
            after_asking(claims)
            clock.forget()

    HeartbeatClaims.asking = asking  # type: ignore[assignment, method-assign]
    reports: Callable[..., Any] = functools.partial(GatheredReports, clock=clock.now)
    proposals.reports_of = reports
