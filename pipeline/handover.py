"""What a node hands to others that do not share its folder, and what it takes from them.

Where all workers share the study's folder nothing is sent or fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from pipeline import nodes
from pipeline.errors import StoreUnavailable
from pipeline.results import TrialResult
from pipeline.session import Session


def give_trial(session: Session, result: TrialResult) -> None:
    """Let the tracking server have what others may need of a trial, before they hear of its end."""
    handover = session.handover
    if handover.is_needed:
        for path in session.question.trial_files(result.number):
            handover.give(path)
        with suppress(StoreUnavailable):  # kept in this node's folder
            session.run.flush()
        handover.flush()


def fetch_trials(session: Session, trials: Iterable[TrialResult]) -> None:
    """Bring here what the study keeps of trials that other nodes have trained."""
    for trial in trials:
        for path in session.question.trial_files(trial.number):
            if trial.value is not None and not path.exists():
                session.handover.fetch(path)


def give_winner(session: Session) -> None:
    """Let others have what was settled about the best trial."""
    for path in session.question.answer_files:
        if path.exists():
            session.handover.give(path)


def begin(session: Session) -> None:
    """Say where the run is, and bring here what another node has settled and decided."""
    nodes.tell_run(session.study, session.run)
    for path in session.question.answer_files:
        session.handover.fetch(path)


def drop_snapshots(session: Session) -> None:
    """Drop the states of what the answer needed, and those that any node has handed over."""
    session.snapshots.drop_all("refit_")
    session.handover.take_back_all("snapshots")
    session.handover.flush()
