"""Which trial a worker trains next, or that there is none: asked under a lock that all share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import optimization
from pipeline.early_end import EarlyEnd, Top
from pipeline.evidence import equivalent_trials
from pipeline.results import ranked
from pipeline.session import Session

TOP = "top"
"""Note on a study: the trials at its top, as they were last seen."""

ENDED = "ended"
"""Note on a study: with which budget and strategy it had no more to train."""


def next_proposal(session: Session) -> optimization.Proposal | None:
    """Return a trial that nobody is at, or a new one; None when no other one is to begin.

    What needs a larger device than this worker's is left to those that have one.
    """
    while True:
        proposal = _proposed(session)
        if proposal is None or session.room.takes(proposal):
            return proposal
        session.claims.release(proposal.number)
        session.display.say(f"trial {proposal.number} is left to a worker with a larger device")


def _proposed(session: Session) -> optimization.Proposal | None:
    study, spec, claims, room = session.study, session.spec, session.claims, session.room
    with claims.asking():
        ends_early = _ends_early(session)
        if session.climbs is not None:
            return None if has_ended(session) else _next_climb(session, ends_early=ends_early)
        numbers = [trial.number for trial in optimization.begun(study)]
        left_behind = {number for number in numbers if not claims.is_taken(number)}
        too_large = {number for number in left_behind if room.is_left(number)}
        ends = ends_early or room.enough_left(too_large)
        if left_behind == too_large and (ends or not optimization.n_to_begin(study, spec)):
            return None
        return optimization.next_proposal(
            study, spec, take=lambda number: number not in too_large and claims.take(number)
        )


def _next_climb(session: Session, *, ends_early: bool) -> optimization.Proposal | None:
    """Return the trial of the strategy's next step, or of the one after those left to others."""
    climbs, claims, room = session.climbs, session.claims, session.room
    assert climbs is not None
    session.spending.count_underway(climbs.underway(claims.is_taken))
    left = session.spending.left(session.finished.all())
    too_large: set[int] = set()
    while True:
        step = climbs.next_step(
            is_taken=lambda number: number in too_large or claims.is_taken(number),
            ends_early=ends_early,
            left=left,
        )
        if step is None or (step.number is None and room.enough_left(too_large)):
            return None
        if step.number is None or not room.is_left(step.number):
            return climbs.proposal(step, take=claims.take)
        too_large.add(step.number)


def is_over(session: Session) -> bool:
    """Whether nobody is at a trial, and there is none to be trained."""
    with session.claims.asking():
        ends_early = _ends_early(session)
        if session.climbs is None:
            may_begin = optimization.n_to_begin(session.study, session.spec) and not ends_early
            return not may_begin and not optimization.begun(session.study)
        if others_are_at_work(session):
            return False
        session.count()
        left = session.spending.left(session.finished.all())
        step = session.climbs.next_step(ends_early=ends_early, left=left)
        return has_ended(session) or step is None


def others_are_at_work(session: Session) -> bool:
    """Whether another worker is at a trial. Only while asking."""
    taken = session.claims.is_taken
    return any(taken(trial.number) for trial in optimization.begun(session.study))


def _ends_early(session: Session) -> bool:
    """Look at the top once more; say whether it has been unchanged for as long as is stated.

    What was seen is kept with the study, for other workers and sessions; the end is final, as
    long as the study states no other number.
    """
    stated = session.spec.budget.unchanged_fold_epochs
    if stated is None:
        return False
    before = top = _top_as_seen(session)
    if before.n_unchanged < stated:
        trials = (*session.finished.all(), *session.paused())
        top = before.seen(_top(session), sum(trial.n_fold_epochs for trial in trials))
    if top != before:
        session.study.set_user_attr(TOP, top.as_plain())
    if top.n_unchanged < stated:
        return False
    session.spending.ended_by = f"unchanged_fold_epochs={stated}"
    return True


def _top(session: Session) -> Sequence[int]:
    if session.climbs is not None:
        return session.climbs.finalists()
    trials = ranked(session.finished.all(), session.spec.objective)
    return equivalent_trials(trials) or () if trials else ()


def _top_as_seen(session: Session) -> Top:
    plain = session.study.user_attrs.get(TOP)
    return Top() if plain is None else Top.of_plain(plain)


def early_end(session: Session) -> EarlyEnd | None:
    """Return why the search has ended early, if it has, and what of its budget was left."""
    stated, top = session.spec.budget.unchanged_fold_epochs, _top_as_seen(session)
    n_trials = optimization.n_to_begin(session.study, session.spec)
    if stated is None or top.n_unchanged < stated or not n_trials:
        return None
    trials = session.finished.all()
    spent = sum(trial.n_fold_epochs for trial in trials)
    n_updates = sum(trial.n_updates for trial in trials)
    n_each = max(1, spent // len(trials))
    n_saved = round(min(n_trials * n_each, session.spending.unspent(spent, n_updates)))
    return EarlyEnd(top.trials, top.n_unchanged, n_saved // n_each, n_saved)


def has_ended(session: Session) -> bool:
    """Whether a process found that trials that are paused go no further, and ended them.

    It may have died at that. With some of them gone there might be something left for others.
    """
    return bool(session.study.user_attrs.get(ENDED) == _limits(session))


def note_end(session: Session) -> None:
    """Note that there is no more to train.

    A session with more time may find something, and so may another sampler where this one is done.
    """
    may_change = session.spec.budget.timeout_secs is not None
    may_change |= optimization.exhausted(session.study, session.spec)
    if not may_change and not has_ended(session):
        session.study.set_user_attr(ENDED, _limits(session))


def _limits(session: Session) -> list[Any]:
    budget, strategy = session.spec.budget, session.spec.pausing
    return [
        *(budget.n_trials, budget.max_fold_epochs, budget.max_updates),
        *(budget.unchanged_fold_epochs, repr(strategy)),
    ]
