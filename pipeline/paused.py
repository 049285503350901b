"""Trials that are paused: whose states are kept, and how they end when the search is over."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pipeline.asking import note_end, others_are_at_work
from pipeline.errors import StoreUnavailable
from pipeline.results import Outcome, trial_name
from pipeline.session import Session


def drop_states_of_the_last(session: Session) -> None:
    """Drop the states of paused trials that others are before, and say so."""
    assert session.climbs is not None
    is_taken = session.claims.is_taken
    with session.claims.asking():  # what another worker takes up is still there then
        first = session.climbs.in_line(is_taken)
        dropped = [
            trial.number
            for trial in session.at_rest()
            if trial.number not in first
            and session.snapshots.has(trial_name(trial.number))
            and not is_taken(trial.number)
        ]
        for number in dropped:
            session.snapshots.drop(trial_name(number))
    for number in dropped:
        session.display.say(f"trial {number} is far from going on: its state is dropped")


def end_paused(session: Session) -> None:
    """End the trials that are still paused when the search is over, as pruned ones.

    Other workers that have more time may still go on with any of them: then they stay.
    MLflow first: if this process dies in between, they are paused, and ended by the next one.
    """
    if session.climbs is None or session.stop:
        return
    with session.claims.asking():
        if others_are_at_work(session):
            return
        ended = [
            replace(trial, outcome=Outcome.PRUNED, reason=f"{trial.reason}: others were better")
            for trial in session.at_rest()
        ]
        for trial in ended:
            session.end_run(trial)
        if ended:
            with suppress(StoreUnavailable):  # said at the end, when all else is done
                session.run.flush()
        note_end(session)
        for trial in ended:
            session.climbs.end(trial)
    if ended:
        session.display.say(f"{len(ended)} trial(s) that were paused are not trained further")
