"""Workers of a simulated search, many in one process, and how long what they do takes them."""

from __future__ import annotations

import copy
import functools
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import Trial
from sqlalchemy import create_engine, event
from sqlalchemy.orm import scoped_session, sessionmaker

from pipeline import asking
from pipeline.errors import TakenOver
from pipeline.evaluation import evaluate
from pipeline.machine import Ceiling
from pipeline.optimization import Finished, HeartbeatClaims, Proposal, disconnect, open_study
from pipeline.optimization.servers import server_at
from pipeline.question import Question
from pipeline.results import Outcome, TrialResult
from pipeline.session import Session
from pipeline.work import run_trials
from tests.benchmarks.replay_tables import CurveTable
from tests.benchmarks.scale_seed import claim_of
from tests.benchmarks.scale_study import Recorded, question_of, session_of, spec_of

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

    calls: by kind, (end, seconds, of which this thread was on a processor)
    epochs: of folds, (start, end); failures: of workers, in words
    processor_secs: of the process, while it was looked at
    All by the monotonic clock, which the processes of a machine share.
    """

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

    def time(self, kind: str, owner: Any, name: str) -> None:
        """Let a function's calls be timed from now on."""
        calls = self.calls.setdefault(kind, [])
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            start, on_processor = time.monotonic(), time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                end = time.monotonic()
                calls.append((end, end - start, time.thread_time() - on_processor))

        setattr(owner, name, timed)


@dataclass(frozen=True)
class Alone:
    """What an ask takes when nobody else works: so long the others could not ask.

    secs: of the fastest one; processor_secs: that its thread had, the median
    """

    secs: float
    processor_secs: float
    n_statements: int


def asked_alone(
    study: optuna.Study, table: CurveTable, question: Question, url: str, n_times: int = 8
) -> Alone:
    """Ask for new trials, which fail at once, while the study is as others would have it."""
    session = session_of(question, url, study, Recorded(table, 0.0, lambda *at: None), 60.0)
    statements: list[str] = []
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    secs, processor, counts = [], [], []
    for _ in range(n_times):
        statements.clear()
        start, on_processor = time.monotonic(), time.thread_time()
        proposal = asking.next_proposal(session)
        secs.append(time.monotonic() - start)
        processor.append(time.thread_time() - on_processor)
        counts.append(len(statements))
        assert proposal is not None
        number, params = proposal.number, proposal.params
        proposal.tell(TrialResult(number, params, Outcome.FAILED, None, 0.0, 0, "only asked for"))
        session.claims.release(proposal.number)
    return Alone(min(secs), float(np.median(processor)), counts[-1])


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
    n_trials: int
    epoch_secs: float
    patience_secs: float
    numbers: Sequence[int]
    n_epochs: Sequence[int]
    starts: Sequence[float]
    ramp_secs: float
    secs: float

    def run(self, answer: Connection) -> None:
        """Work, and answer with the timings when it is time; the process ends in the midst."""
        timings = Timings()
        for kind, (owner, name) in TIMED.items():
            timings.time(kind, owner, name)
        spec = spec_of(self.table, self.n_trials)
        question = question_of(spec, self.home)
        # What a worker that was there from the start would have read by now.
        known = open_study(self.url, question.name, spec, patience_secs=self.patience_secs)
        finished = Finished(known, spec)
        finished.all()
        disconnect(known._storage)
        answer.send(None)  # ready
        begin: float = answer.recv()

        def work(place: int) -> None:
            engine = Recorded(
                self.table, self.epoch_secs, timings.slept, n_skipped=self.n_epochs[place]
            )
            study = as_read(known)
            session = session_of(question, self.url, study, engine, self.patience_secs, timings.see)
            session.finished._results.update(finished._results)
            sleep_until(begin + self.starts[place])
            try:
                go_on(session, engine, self.numbers[place])
            except Exception as error:
                timings.failures.append(f"{type(error).__name__}: {error}")

        for place in range(len(self.numbers)):
            threading.Thread(target=work, args=(place,), daemon=True).start()
        sleep_until(begin + self.ramp_secs)
        before = time.process_time()
        sleep_until(begin + self.ramp_secs + self.secs)
        timings.processor_secs = time.process_time() - before
        answer.send(timings)
        answer.close()
        os._exit(0)


def sleep_until(moment: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))


def as_read(known: optuna.Study) -> optuna.Study:
    """Return a study by connections of its own, with what another one has read."""
    cached: Any = known._storage
    backend = object.__new__(type(cached._backend))  # a copy would look for its tables again
    vars(backend).update(vars(cached._backend))
    backend.engine = create_engine(backend.url, **backend.engine_kwargs)
    server = server_at(backend.url)
    assert server is not None
    server.prepare(backend.engine)
    backend.scoped_session = scoped_session(sessionmaker(bind=backend.engine))
    storage: Any = type(cached)(backend)
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
    claims._beating = threading.Thread(target=claims._beat, daemon=True)
    claims._beating.start()
    with suppress(TakenOver):
        evaluate(proposal, session)
    engine.n_skipped = 0
    run_trials(session, Ceiling())
