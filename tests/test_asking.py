"""When there is no trial to be trained next: with a session made by hand."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import asking
from pipeline.asking import is_over, next_proposal, note_end
from pipeline.budget import Budget
from pipeline.strategy import FinishBest, Ladder, Step


@pytest.fixture
def session(monkeypatch):
    """Return a session whose strategy would go on, and at whose trials nobody is."""
    monkeypatch.setattr(asking.optimization, "exhausted", lambda study, spec: False)
    notes: dict[str, Any] = {}
    made = SimpleNamespace(
        study=SimpleNamespace(
            user_attrs=notes, set_user_attr=notes.__setitem__, get_trials=lambda **_: [1, 2]
        ),
        spec=SimpleNamespace(budget=Budget(max_fold_epochs=80), pausing=Ladder()),
        claims=SimpleNamespace(asking=nullcontext, is_taken=lambda number: False),
        climbs=SimpleNamespace(
            underway=lambda is_taken: 0,
            next_step=lambda **_: Step(None, 1),
            proposal=lambda step, take: step,
        ),
        spending=SimpleNamespace(count_underway=lambda n: None, left=lambda trials: 9.0),
        finished=SimpleNamespace(all=tuple),
        count=lambda: None,
        room=SimpleNamespace(
            takes=lambda proposal: True,
            is_left=lambda number: False,
            enough_left=lambda left: False,
        ),
    )
    made.claims.take = made.claims.is_taken
    monkeypatch.setattr(asking, "others_are_at_work", lambda session: False)
    return cast(Any, made)


def test_a_search_that_has_ended_begins_nothing_before_its_budget_or_strategy_is_another(session):
    assert next_proposal(session) == Step(None, 1)
    assert not is_over(session)
    note_end(session)
    assert next_proposal(session) is None
    assert is_over(session)
    session.spec.pausing = FinishBest()
    assert next_proposal(session) == Step(None, 1)
    session.spec.pausing, session.spec.budget = Ladder(), Budget(max_fold_epochs=90)
    assert next_proposal(session) == Step(None, 1)


def test_what_ended_by_the_clock_may_go_on(session):
    session.spec.budget = Budget(timeout_secs=60)
    note_end(session)
    assert next_proposal(session) == Step(None, 1)


def test_nothing_is_over_while_others_are_at_work(session, monkeypatch):
    monkeypatch.setattr(asking, "others_are_at_work", lambda session: True)
    note_end(session)
    assert not is_over(session)


def test_what_others_are_at_is_counted_before_the_strategy_is_asked(session):
    counted: list[int] = []
    session.climbs.underway = lambda is_taken: 7
    session.spending.count_underway = counted.append
    session.climbs.next_step = lambda **_: Step(counted[-1], 1)
    assert next_proposal(session) == Step(7, 1)
