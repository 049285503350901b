"""Workers that share a database server and no folder: real ones of both kinds."""

import threading
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from pipeline.errors import TakenOver
from pipeline.optimization import (
    AnotherHeld,
    HeartbeatClaims,
    StudyLock,
    begun,
    disconnect,
    n_to_begin,
    next_proposal,
    open_database,
    open_study,
)
from pipeline.optimization import heartbeats as module
from pipeline.optimization.database import heartbeat_secs
from pipeline.optimization.servers import base as servers
from pipeline.optimization.trials import new_proposal
from pipeline.results import Outcome
from pipeline.spec import Budget

both = pytest.mark.parametrize("server", ["postgres", "mysql"], indirect=True)
"""Not only in the long run."""

PATIENCE_SECS = 1.0
"""So that a worker is taken for dead after three seconds."""


@pytest.fixture
def open_shared(database):
    """Return a function that opens a study on the server, as every node does."""

    def opened(spec):
        return open_study(database, "study", spec, patience_secs=PATIENCE_SECS)

    return opened


@pytest.fixture
def made(database):
    """Return the address of a database with its tables."""
    disconnect(open_database(database))
    return database


@pytest.fixture(autouse=True)
def no_wait_after_a_start(monkeypatch):
    monkeypatch.setattr(module, "RETURN_SECS", 0.0)


def asked(study, spec, claims):
    with claims.asking():
        return next_proposal(study, spec, take=claims.take)


def dead(claims):
    """Let a worker be silent from now on, as if its node had lost power."""
    with claims._changed:
        claims._held.clear()
        claims._changed.notify_all()


def test_a_worker_is_waited_for_longer_than_it_waits_for_the_server():
    assert heartbeat_secs(60) == (15, 90)
    assert heartbeat_secs(1) == (1, 3)
    assert heartbeat_secs(0) == (1, 2)


def test_each_worker_has_its_trial_and_a_silent_ones_goes_on_elsewhere(make_spec, open_shared):
    spec = make_spec(budget=Budget(n_trials=3))
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    first, second = asked(one._study, spec, one), asked(two._study, spec, two)
    assert (first.number, second.number) == (0, 1)
    first.report(1, 0.5, horizon_free=True)
    time.sleep(3.5)  # both are heard of
    with two.asking():
        assert two.is_taken(0)
        assert not two.take(0)
        assert not two.is_taken(1)
    dead(one)
    time.sleep(3.5)
    again = asked(two._study, spec, two)
    assert (again.number, again.params) == (0, first.params)
    assert [trial.number for trial in begun(two._study)] == [0, 1]
    assert n_to_begin(two._study, spec) == 1
    two.release(0)
    two.release(1)


def test_a_worker_that_was_only_silent_leaves_its_trial_to_the_other(
    make_spec, open_shared, result_of
):
    spec = make_spec()
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    slow = asked(one._study, spec, one)
    one.check(0, now=True)
    dead(one)
    time.sleep(3.5)
    quick = asked(two._study, spec, two)
    one._held[0] = one._trial(0)._trial_id
    with pytest.raises(TakenOver, match="trial 0 was taken up by another worker"):
        one.check(0, now=True)
    one.release(0)  # does not let the other's go
    with one.asking():
        assert one.is_taken(0)
    quick.tell(result_of(quick, spec, [0.5], Outcome.COMPLETED))
    two.release(0)
    with pytest.raises(TakenOver):
        slow.report(1, 0.4, horizon_free=True)
    with pytest.raises(TakenOver):
        slow.tell(result_of(slow, spec, [0.4], Outcome.COMPLETED))
    assert open_shared(spec).trials[0].value == 0.5


def test_heartbeats_notice_that_the_trial_is_anothers(make_spec, open_shared):
    spec = make_spec()
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    asked(one._study, spec, one)
    two._storage.set_trial_user_attr(one._held[0], module.CLAIM, "another")
    deadline = time.monotonic() + 5
    while 0 not in one._lost:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(TakenOver):
        one.check(0)


@both
def test_a_trial_that_is_left_on_purpose_goes_on_at_once(make_spec, open_shared):
    spec = make_spec()
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    left = asked(one._study, spec, one)
    one.release(0)
    one.release(0)
    assert asked(two._study, spec, two).params == left.params


def test_a_trial_whose_worker_died_while_it_asked_is_free(make_spec, open_shared):
    spec = make_spec()
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    left = next_proposal(one._study, spec)
    assert asked(two._study, spec, two).params == left.params


def test_no_more_trials_are_begun_than_the_budget_has(make_spec, open_shared):
    spec, begun_by_all = make_spec(budget=Budget(n_trials=5)), []

    def work():
        study = open_shared(spec)
        claims = HeartbeatClaims(study)
        while True:
            with claims.asking():
                if not n_to_begin(study, spec):
                    break
                begun_by_all.append(new_proposal(study, spec, take=claims.take).number)
        for number in list(claims._held):
            claims.release(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun_by_all) == [0, 1, 2, 3, 4]


def test_trials_are_read_once_for_an_ask_however_many_are_begun(make_spec, open_shared):
    spec, reads = make_spec(), []
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))

    def seen(connection, cursor, statement, *more):
        if " IN (SELECT" in statement and "intermediate_value_type" in statement:
            reads.append(statement)

    event.listen(one._storage.engine, "before_cursor_execute", seen)
    for _ in range(3):
        asked(two._study, spec, two)
        two._held.clear()
        reads.clear()
        asked(one._study, spec, one)
        one._held.clear()
        assert len(reads) == 1


@both
def test_a_connection_is_looked_at_after_a_silence_only(make_spec, open_shared, monkeypatch):
    spec, looks = make_spec(), []
    claims = HeartbeatClaims(open_shared(spec))
    engine: Any = claims._storage.engine
    look = engine.dialect.do_ping

    def seen(connection: Any) -> bool:
        looks.append(connection)
        return bool(look(connection))

    monkeypatch.setattr(engine.dialect, "do_ping", seen)
    asked(claims._study, spec, claims)
    looks.clear()
    claims._study.get_trials()
    assert not looks
    monkeypatch.setattr(servers, "QUIET_SECS", 0.0)
    claims._study.get_trials()
    assert looks


def test_what_breaks_before_it_is_looked_at_is_tried_again(make_spec, database, server):
    spec = make_spec()
    claims = HeartbeatClaims(open_study(database, "study", spec, patience_secs=30.0))
    asked(claims._study, spec, claims)
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
    )
    assert len(claims._study.get_trials()) == 1
    with claims.asking():
        assert len(claims._study.get_trials()) == 1


def test_an_ask_is_no_more_than_so_many_statements(make_spec, open_shared):
    """Each is a way to the server and back, while all others wait."""
    spec, statements = make_spec(), []
    claims = HeartbeatClaims(open_shared(spec))
    asked(claims._study, spec, claims)
    claims._held.clear()
    event.listen(
        claims._storage.engine, "before_cursor_execute", lambda *about: statements.append(about[2])
    )
    assert asked(claims._study, spec, claims).number == 1
    assert len(statements) <= 31


def test_a_trial_that_has_ended_is_let_go_while_others_ask(make_spec, open_shared, result_of):
    spec = make_spec()
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    ended = asked(one._study, spec, one)
    ended.tell(result_of(ended, spec, [0.5], Outcome.COMPLETED))
    letting_go = threading.Thread(target=one.release, args=(0,), daemon=True)
    with two.asking():
        letting_go.start()
        letting_go.join(timeout=10)
        assert not letting_go.is_alive()
    assert not one._held


def test_a_worker_keeps_two_connections(make_spec, open_shared):
    spec = make_spec()
    claims = HeartbeatClaims(open_shared(spec))
    engine: Any = claims._storage.engine
    with claims.asking(), engine.connect():  # a heartbeat meanwhile
        next_proposal(claims._study, spec, take=claims.take)
        assert engine.pool.checkedout() == 2
    assert engine.pool.checkedin() == 2
    claims.release(0)


@both
def test_an_enqueued_trial_is_claimed_as_well(make_spec, open_shared):
    spec = make_spec()
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    one._study.enqueue_trial({"learning_rate": 0.01})
    assert asked(one._study, spec, one).number == 0
    assert asked(two._study, spec, two).number == 1


def test_heartbeats_do_not_depend_on_a_nodes_time_zone(make_spec, open_shared, monkeypatch):
    spec = make_spec()
    one = HeartbeatClaims(open_shared(spec))
    asked(one._study, spec, one)
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    two = HeartbeatClaims(open_shared(spec))
    with two.asking():
        assert two.is_taken(0)


@pytest.mark.parametrize("minutes", [10, pytest.param(-10, marks=pytest.mark.long)])
def test_heartbeats_do_not_depend_on_a_nodes_clock(minutes, make_spec, open_shared, monkeypatch):
    class WrongClock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(minutes=minutes)

    spec = make_spec()
    one, two = (HeartbeatClaims(open_shared(spec)) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr("optuna.storages._rdb.storage.datetime", WrongClock)
        asked(one._study, spec, one)
    begun_at = one._trial(0).datetime_start
    assert begun_at is not None
    assert abs((begun_at - datetime.now()).total_seconds()) > 590
    with two.asking():
        assert two.is_taken(0)
    dead(one)
    time.sleep(3.5)
    with two.asking():
        assert not two.is_taken(0)


@both
def test_one_process_holds_a_study_until_it_ends(made):
    one, two = (StudyLock(made, "tiny", "tiny-a") for _ in range(2))
    assert two.holder() == ""
    assert one.acquire()
    assert not two.acquire()
    assert "(host, process), since 2" in two.holder()
    assert StudyLock(made, "tiny", "tiny-b").acquire()
    one.release()
    assert two.acquire()


@both
def test_a_node_with_another_study_of_the_name_is_told(made):
    one, other = (StudyLock(made, "tiny", f"tiny-{signature}", alone=True) for signature in "ab")
    assert one.acquire()
    with pytest.raises(AnotherHeld, match=r"\(host, process\), since"):
        other.acquire()
    one.release()
    assert other.acquire()


@both
def test_a_holder_takes_its_lock_again_when_the_connection_was_cut(made, server):
    one, two = (StudyLock(made, "tiny", "tiny-a") for _ in range(2))
    assert one.acquire()
    server.cut_locks()
    assert one.keep()
    assert not two.acquire()
    server.cut_locks()
    assert two.acquire()
    assert not one.keep()
