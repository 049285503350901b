"""What every worker does: ask for a trial, train it, tell; until the budget is spent.

A search that runs alone is its own worker. Others may join it, from this machine or from any that
shares the study's folder and its stores, or a server of each; see `meeting.py`.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Collection, Sequence
from contextlib import closing

from pipeline import asking, handover, nodes, optimization, training
from pipeline.batch import StopRequest, Waiting
from pipeline.budget import Budget
from pipeline.errors import Interrupted, StudyFailed, TakenOver
from pipeline.evaluation import evaluate
from pipeline.files import disk_errors
from pipeline.machine import Ceiling
from pipeline.meeting import Meeting
from pipeline.progress import Display
from pipeline.question import Question
from pipeline.range_test import as_begun
from pipeline.recording import POLL_SECS, Stores, joining
from pipeline.results import Outcome, TrialResult
from pipeline.room import own_mb
from pipeline.session import SHARED, Session, engine_of


def run_trials(session: Session, ceiling: Ceiling) -> training.Kept | None:
    """Evaluate proposals until the budget is spent, and other workers are at none any more.

    Or until this process has reached its ceiling: then another one is to go on.
    Returns the states of the best trial, if it was trained here.
    """
    spec, budget = session.spec, session.spec.budget
    session.count()
    kept, before = None, {trial.number for trial in session.finished.all()}
    while not (session.must_stop() or ceiling.is_reached):
        proposal = asking.next_proposal(session)
        if proposal is None:
            if asking.is_over(session):
                break
            # Others are at the last trials: one of them may die, or pause and go on.
            time.sleep(POLL_SECS)
            session.count()
            continue
        paused = session.paused_result(proposal.number)
        try:
            result, states = evaluate(proposal, session)
        except TakenOver as error:
            session.display.say(f"{error}; it is left to that one")
            continue
        if result.outcome is Outcome.INTERRUPTED:
            break
        trials = session.finished.all()
        session.count(n_here=result.n_fold_epochs - (paused.n_fold_epochs if paused else 0))
        best = optimization.best(trials, spec)
        if best is not None and best.number == result.number:
            kept = states
        raise_after_failures(trials, before, budget)
        ceiling.look()
    trials = session.finished.all()
    if session.stop.signal is not None:
        raise Interrupted(
            f"{session.stop.signal.name}: stopped after {len(trials)} finished trial(s); "
            "the same command continues"
        )
    n_trials = len(trials) + len(session.at_rest())
    if n_trials >= budget.n_trials:
        session.spending.ended_by = ""
    elif optimization.exhausted(session.study, spec):
        session.display.say(f"the sampler has no more to propose after {n_trials} trial(s)")
    return kept


def raise_after_failures(
    trials: Sequence[TrialResult], before: Collection[int], budget: Budget
) -> None:
    """Raise StudyFailed when so many trials in a row have failed, whoever trained them.

    before: numbers of those that had ended before this session
    """
    failed = itertools.takewhile(
        lambda trial: trial.outcome is Outcome.FAILED,
        (trial for trial in reversed(trials) if trial.number not in before),
    )
    reasons = [trial.reason for trial in failed]
    if len(reasons) >= budget.max_failures_in_a_row:
        raise StudyFailed(
            f"{len(reasons)} trials in a row failed "
            f"(budget.max_failures_in_a_row={budget.max_failures_in_a_row}); "
            f"the last one: {reasons[0]}"
        )


def join(
    question: Question,
    display: Display,
    stop: StopRequest,
    stores: Stores,
    meeting: Meeting,
    deadline: float | None = None,
    ceiling: Ceiling | None = None,
    *,
    device_mb: float | None = None,
    number_on_ray: int | None = None,
) -> str:
    """Work beside the process that holds the study, as long as there is a trial to train.

    deadline: by the monotonic clock; None is the budget's time from now on
    ceiling: of this process's memory
    device_mb: of its device, that a trial may take; None is found out, and the others are told
    number_on_ray: of a worker of Ray's
    Returns which budget ended it, in words; "" when none did, or nobody holds the study.
    """
    study = None
    while study is None:
        stop.raise_if_asked()
        if not meeting.is_held():
            return ""
        study = stores.study_begun_by_another(question)
        if study is None:
            time.sleep(POLL_SECS)
    nodes.check_versions(study)
    question.folder.mkdir(parents=True, exist_ok=True)
    # Before all else: what the others log by then, MLflow has when this one trains.
    if SHARED not in study.user_attrs:
        study.set_user_attr(SHARED, True)
    with (
        closing(display),
        disk_errors(question.folder),
        joining(stores, question, study, display, stop) as run,
    ):
        # Its holder recorded the range before the engine.
        question = as_begun(study, question)
        engine = engine_of(study, question, display)
        session = Session.of(question, study, engine, run, display, stop, meeting, deadline)
        if device_mb is None:
            limit_mb = None if ceiling is None else ceiling.limit_mb
            session.room.tell_own(own_mb(question.spec, limit_mb), number_on_ray)
        else:
            session.room.mb = device_mb
        stop.last_words = session.leave
        session.begin()
        run_trials(session, ceiling or Ceiling())
        handover.flush(session)
        return session.spending.ended_by


class Joining(Waiting):
    """Waits for the process that holds the study, and first trains what trials there are."""

    def __init__(
        self,
        question: Question,
        display: Display,
        stop: StopRequest,
        stores: Stores,
        meeting: Meeting,
        deadline: float | None,
    ) -> None:
        super().__init__(display.say, stop)
        self._join = functools.partial(join, question, display, stop, stores, meeting, deadline)
        self._joined = False

    def __call__(self, holder: str) -> None:
        """Take that the other process is still there. Raises Interrupted after a signal."""
        if not self._joined:
            self._joined = True
            self._join()
        super().__call__(holder)
