"""Workers of a simulated search, many in one process, and how long what they do takes them."""

from __future__ import annotations

import copy
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from pipeline import asking
from pipeline.errors import TakenOver
from pipeline.evaluation import evaluate
from pipeline.machine import Ceiling
from pipeline.optimization import Finished, HeartbeatClaims, Proposal, open_study
from pipeline.optimization.cached import CachedDatabase
from pipeline.optimization.servers import server_at
from pipeline.results import Outcome, TrialResult
from pipeline.session import Session
from pipeline.work import run_trials
from tests.benchmarks.replay_tables import CurveTable
from tests.benchmarks.scale_clock import Clock, RealClock
from tests.benchmarks.scale_seed import claim_of
from tests.benchmarks.scale_study import Recorded, question_of, session_of, spec_of

LOCK = "lock held"

PATIENCE_SECS = 10.0**6
"""Far longer than anything takes by the server's clock, so that nobody is ever taken for dead."""

TIMED = {
    "ask": (asking, "next_proposal"),
    "report": (Proposal, "report"),
    "tell": (Proposal, "tell"),
    "let go": (HeartbeatClaims, "release"),
}
"""What takes a worker's time beside training, and where it is done."""


@dataclass
class Timings:
    """What the workers of one process did.

    clock: that all of them go by
    calls: by kind, (end, seconds, of which this thread was on a processor)
    epochs: of folds, (start, end); failures: of workers, in words
    processor_secs: that they had in all, while it was looked at
    """

    clock: Clock = field(default_factory=RealClock)
    calls: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    epochs: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    processor_secs: float = 0.0

    def slept(self, start: float, end: float) -> None:
        self.epochs.append((start, end))

    def see(self, trial: TrialResult) -> None:
        """Take a trial's result: none may fail but those whose curve diverges."""
        if trial.outcome is Outcome.FAILED and not trial.diverged:
            self.failures.append(trial.reason)

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Note how long the block takes."""
        start, on_processor = self.clock.now(), time.thread_time()
        try:
            yield
        finally:
            end = self.clock.now()
            of_kind = self.calls.setdefault(kind, [])
            of_kind.append((end, end - start, time.thread_time() - on_processor))

    def time_all(self) -> None:
        """Let all calls that take a worker's time be timed from now on, and the lock be watched."""
        for kind, (owner, name) in TIMED.items():
            setattr(owner, name, self._timing(kind, getattr(owner, name)))
        under_lock = HeartbeatClaims.asking

        @contextmanager
        def asking_watched(claims: HeartbeatClaims) -> Iterator[None]:
            with under_lock(claims), self.timed(LOCK):
                yield

        HeartbeatClaims.asking = asking_watched  # type: ignore[assignment, method-assign]

    def _timing(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.timed(kind):
                return function(*arguments, **options)

        return timed

    def without_clock(self) -> Timings:
        """Return them as another process may have them."""
        return Timings(RealClock(), self.calls, self.epochs, self.failures, self.processor_secs)


@dataclass(frozen=True)
class Workers:
    """Those of one process.

    numbers, n_epochs: the trials that they are at when they begin, and how far those are
    starts: when they begin, from the moment on that all processes are told
    ramp_secs: from then on until they are looked at, for `secs`
    """

    table: CurveTable
    url: str
    home: Path
    epoch_secs: float
    numbers: Sequence[int]
    n_epochs: Sequence[int]
    starts: Sequence[float]
    ramp_secs: float
    secs: float

    def part(self, first: int, n_parts: int) -> Workers:
        """Return those of one process of several."""
        mine = slice(first, None, n_parts)
        return replace(
            self,
            numbers=self.numbers[mine],
            n_epochs=self.n_epochs[mine],
            starts=self.starts[mine],
        )

    def run(self, answer: Connection) -> None:
        """Work, and answer with the timings when it is time; the process ends in the midst."""
        clock = RealClock()
        timings = Timings(clock)
        timings.time_all()
        known, finished = self.known()
        known._storage._backend.engine.dispose()  # type: ignore[attr-defined]
        answer.send(None)  # ready
        begin: float = answer.recv()

        def work(place: int) -> None:
            mine = as_read(known, CachedDatabase(connected_anew(known)))
            clock.sleep(begin + self.starts[place] - clock.now())
            self.work(place, mine, finished, timings)

        for place in range(len(self.numbers)):
            threading.Thread(target=work, args=(place,), daemon=True).start()
        clock.sleep(begin + self.ramp_secs - clock.now())
        before = time.process_time()
        clock.sleep(begin + self.ramp_secs + self.secs - clock.now())
        timings.processor_secs = time.process_time() - before
        answer.send(timings)
        answer.close()
        os._exit(0)

    def known(self) -> tuple[optuna.Study, Finished]:
        """Return what a worker that was there from the start would have read by now."""
        spec = spec_of(self.table)
        name = question_of(spec, self.home).name
        study = open_study(self.url, name, spec, patience_secs=PATIENCE_SECS)
        finished = Finished(study, spec)
        finished.all()
        study.get_trials(deepcopy=False)
        return study, finished

    def work(
        self,
        place: int,
        study: optuna.Study,
        finished: Finished,
        timings: Timings,
        see: Callable[[Session], None] = lambda session: None,
    ) -> None:
        """Be one worker, for ever; see: gets its session."""
        question = question_of(spec_of(self.table), self.home)
        engine = Recorded(
            self.table, self.epoch_secs, timings.clock, timings.slept, self.n_epochs[place]
        )
        session = session_of(question, self.url, study, engine, PATIENCE_SECS, timings.see)
        session.finished._results.update(finished._results)
        see(session)
        try:
            go_on(session, engine, self.numbers[place])
        except Exception as error:
            timings.failures.append(f"{type(error).__name__}: {error}")


def connected_anew(known: optuna.Study) -> Any:
    """Return a study's database by connections of its own."""
    backend = object.__new__(type(known._storage._backend))  # type: ignore[attr-defined]
    vars(backend).update(vars(known._storage._backend))  # type: ignore[attr-defined]
    backend.engine = create_engine(backend.url, **backend.engine_kwargs)
    server = server_at(backend.url)
    assert server is not None
    server.prepare(backend.engine)
    backend.scoped_session = scoped_session(sessionmaker(bind=backend.engine))
    return backend


def as_read(known: optuna.Study, storage: Any) -> optuna.Study:
    """Return a study in an empty cache, with what another one has read of it."""
    cached: Any = known._storage
    for study_id, each in cached._studies.items():
        mine = storage._studies[study_id] = copy.copy(each)
        mine.trials = dict(each.trials)
        mine.unfinished_trial_ids = set(each.unfinished_trial_ids)
    storage._trial_id_to_study_id_and_number = dict(cached._trial_id_to_study_id_and_number)
    storage._study_id_and_number_to_trial_id = dict(cached._study_id_and_number_to_trial_id)
    return optuna.Study(known.study_name, storage)


def go_on(session: Session, engine: Recorded, number: int) -> None:
    """Go on with the trial that this worker is at, then work as any other."""
    claims: Any = session.claims
    study = session.study
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    proposal = Proposal(Trial(study, trial_id), session.spec)
    claims._me = claim_of(number)
    claims._storage.record_heartbeat(trial_id)
    claims._held[number] = trial_id
    if claims._beating is None:
        claims._beating = threading.Thread(target=claims._beat, daemon=True)
        claims._beating.start()
    with suppress(TakenOver):
        evaluate(proposal, session)
    engine.n_skipped = 0
    run_trials(session, Ceiling())
