"""What a node hands to others that do not share its folder, and what it takes from them.

Where all workers share the study's folder nothing is sent or fetched.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from pipeline import metric_history, nodes
from pipeline.errors import StoreUnavailable
from pipeline.recording import POLL_SECS
from pipeline.results import TrialResult
from pipeline.session import Session


def give_trial(session: Session, result: TrialResult) -> None:
    """Let the tracking server have what others may need of a trial, before they hear of its end."""
    handover = session.handover
    if handover.is_needed:
        for path in session.question.trial_files(result.number):
            handover.give(path)
        flush(session)


def flush(session: Session) -> None:
    """Let the tracking server have everything, unless it is away: then it is kept here."""
    if session.handover.is_needed:
        with suppress(StoreUnavailable):
            session.run.flush()
        session.handover.flush()


def fetch_trials(session: Session, trials: Iterable[TrialResult]) -> None:
    """Bring here what the study keeps of trials that other nodes have trained.

    A node that could not send it, since the store was away, does so when that is back: it is waited
    for as long as for a store. A dead one's never comes.
    """
    if not session.handover.is_needed:
        return
    paths = [
        path
        for trial in trials
        if trial.value is not None
        for path in session.question.trial_files(trial.number)
    ]
    deadline = time.monotonic() + session.run.writer.patience_secs
    while missing := [path for path in paths if not path.exists()]:
        session.handover.fetch(*missing)
        # Row losses are not always known, metrics are.
        awaited = [p for p in missing if not p.exists() and p.parent.name == metric_history.FOLDER]
        if not awaited or time.monotonic() > deadline or session.stop:
            break
        time.sleep(POLL_SECS)


def give_winner(session: Session) -> None:
    """Let others have what was settled about the best trial."""
    for path in session.question.answer_files:
        if path.exists():
            session.handover.give(path)


def begin(session: Session) -> None:
    """Say where the run is, and bring here what another node has settled and decided."""
    nodes.tell_run(session.study, session.run)
    session.handover.fetch(*session.question.answer_files)


def drop_snapshots(session: Session) -> None:
    """Drop the states of what the answer needed, and those that any node has handed over."""
    session.snapshots.drop_all("refit_")
    session.handover.take_back_all("snapshots")
    session.handover.flush()
