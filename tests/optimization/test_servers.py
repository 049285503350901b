"""What is stored in database servers, and what is said of those that cannot be used: real ones."""

import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.optimization import (
    StudyLock,
    check_server,
    disconnect,
    finished,
    next_proposal,
    open_database,
    open_study,
)
from pipeline.optimization.servers import MySQL, PostgreSQL, connection_to, server_at
from pipeline.results import Outcome, TrialResult
from tests.mysql import MySQL as MySQLServer
from tests.postgres import PASSWORD, running_server

both = pytest.mark.parametrize("server", ["postgres", "mysql"], indirect=True)
"""Not only in the long run."""


@both
def test_numbers_and_long_curves_come_back_to_the_bit(database, make_spec):
    spec, random = make_spec(4000), np.random.default_rng(0)
    study = open_study(database, "study", spec)
    proposal = next_proposal(study, spec)
    # Of every size that a double has.
    means = (random.random(300) + 1) * 10.0 ** random.integers(-307, 307, 300)
    means[:4] = 5e-324, np.inf, -np.inf, np.nextafter(1, 2)
    for n_epochs, mean in enumerate(means, start=1):
        proposal.report(n_epochs, float(mean), horizon_free=True)
    curves = FoldCurves(random.random((5, 4000)), spec.objective)
    outcome = Outcome.COMPLETED
    proposal.tell(TrialResult(0, proposal.params, outcome, curves, 1.5, 7, "größer als 64 KiB"))
    again = open_study(database, "study", spec)
    (trial,) = again.trials
    assert [trial.intermediate_values[n] for n in range(1, 301)] == means.tolist()
    assert trial.params == {k: v for k, v in proposal.params.items() if k in trial.params}
    (result,) = finished(again, spec)
    assert result.curves is not None
    assert np.array_equal(result.curves.values, curves.values)
    assert result.reason == "größer als 64 KiB"
    assert trial.value == result.value


def test_names_are_told_apart_in_locks(database):
    server = server_at(database)
    assert server is not None
    with connection_to(database) as one, connection_to(database) as other:
        assert server.try_lock(one, "a", "b")
        assert not server.try_lock(other, "a", "b")
        for names in (("a",), ("b",), ("b", "a"), ("ab",)):
            assert server.try_lock(other, *names)
        server.unlock(one, "a", "b")
        assert server.try_lock(other, "a", "b")


def test_locks_of_two_databases_are_told_apart(database, server):
    addresses = database, server.new_database()
    for each in addresses:
        disconnect(open_database(each))
    here, there = (StudyLock(each, "tiny", "a") for each in addresses)
    assert here.acquire()
    assert there.acquire()


def test_the_password_may_be_in_the_variable_of_the_driver(postgres, make_spec, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    url = postgres.new_database().replace(f":{PASSWORD}", "")
    assert open_study(url, "study", make_spec()).trials == []


def test_the_password_may_be_in_a_file_of_the_driver(mysql, make_spec, tmp_path):
    (tmp_path / "my.cnf").write_text(f"[client]\npassword={PASSWORD}\n")
    url = mysql.new_database().replace(f":{PASSWORD}", "")
    url = f"{url}?read_default_file={tmp_path / 'my.cnf'}"
    assert open_study(url, "study", make_spec()).trials == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (
            lambda url: url.replace(PASSWORD, "wr0ng"),
            "password authentication failed|Access denied",
        ),
        (lambda url: f"{url}_not", "does not exist|Unknown database"),
        (
            lambda url: url.replace("127.0.0.1", "nowhere.invalid"),
            "resolve host|Name or service not known",
        ),
    ],
)
def test_what_waiting_does_not_mend_is_bad_input(address, reason, database, make_spec):
    start = time.monotonic()
    with pytest.raises(BadInput, match=reason) as error:
        open_study(address(database), "study", make_spec(), patience_secs=30)
    assert time.monotonic() - start < 5
    assert "wr0ng" not in str(error.value)
    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize("kind", [PostgreSQL, MySQL])
def test_a_missing_driver_is_bad_input_that_says_what_to_install(kind, monkeypatch, make_spec):
    monkeypatch.setitem(sys.modules, kind.drivers[0], None)
    with pytest.raises(BadInput, match=rf"pip install 'epoch-pipeline\[{kind.extra}\]'") as error:
        open_study(f"{kind.schemes[0]}://me:{PASSWORD}@host/study", "study", make_spec())
    assert PASSWORD not in str(error.value)


def test_tables_of_another_optuna_are_bad_input(database, server, make_spec):
    open_study(database, "study", make_spec())
    name = database.rpartition("/")[2]
    server.execute("UPDATE alembic_version SET version_num = 'v1.3.0.a'", name)
    with pytest.raises(BadInput, match=r"must be those of this Optuna .*optuna storage upgrade"):
        open_study(database, "study", make_spec())


def test_tables_are_made_once_by_processes_that_begin_together(database, make_spec):
    errors = []

    def make():
        try:
            open_study(database, "study", make_spec())
        except StoreUnavailable as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@both
def test_a_user_who_may_only_read_is_told_before_anything_is_written(database, server, make_spec):
    open_study(database, "study", make_spec())
    name = database.rpartition("/")[2]
    server.let_read(name, f"reader_{name}"[:32])
    address = server.url(name, user=f"reader_{name}"[:32])
    with pytest.raises(BadInput, match=r"permission denied|command denied") as error:
        check_server(address, 30.0)
    assert PASSWORD not in str(error.value)
    assert "\n" not in str(error.value)
    check_server(database, 30.0)
    assert [
        study.study_name
        for study in open_study(database, "study", make_spec())._storage.get_all_studies()
    ] == ["study"]


@pytest.mark.long
def test_the_other_driver_of_mysql_serves_as_well(mysql, make_spec):
    pytest.importorskip("MySQLdb", reason="mysqlclient must be installed")
    address = mysql.new_database().replace("mysql:", "mysql+mysqldb:")
    check_server(address, 0.0)
    spec = make_spec()
    proposal = next_proposal(open_study(address, "study", spec), spec)
    proposal.report(1, 0.1 + 0.2, horizon_free=True)
    proposal._reports.flush()
    proposal.write_note("long", "x" * 100_000)
    (trial,) = open_study(address, "study", spec).trials
    assert (trial.intermediate_values, len(trial.user_attrs["long"])) == ({1: 0.1 + 0.2}, 100_000)
    one, two = (StudyLock(address, "tiny", "a") for _ in range(2))
    assert one.acquire()
    assert not two.acquire()
    assert "(host, process), since 2" in two.holder()


def test_a_server_that_has_lost_a_trial_is_an_error_that_says_so(database, server, make_spec):
    spec = make_spec()
    study = open_study(database, "study", spec)
    proposal = next_proposal(study, spec)
    for table in ("trial_params", "trials"):
        server.execute(f"DELETE FROM {table}", database.rpartition("/")[2])
    with pytest.raises(StoreUnavailable, match="has lost what was written to it"):
        proposal.write_note("kept", 1)
    assert next_proposal(open_study(database, "study", spec), spec).params == proposal.params


@pytest.mark.parametrize("minutes", [10, -10])
def test_a_node_whose_clock_is_another_one_is_named(minutes, database, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "node-7")
    off = timedelta(minutes=minutes)
    way = "ahead" if minutes > 0 else "behind"
    with pytest.raises(BadInput, match=rf"the clock of node-7 must .* (600|599|601) s {way}"):
        check_server(database, 0.0, clock=lambda: datetime.now(UTC) + off)
    check_server(database, 0.0, clock=lambda: datetime.now(UTC) + off / 20)
    slow = iter([datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=3)])
    check_server(database, 0.0, clock=lambda: next(slow))


@pytest.mark.parametrize(
    ("kind", "option"),
    [("postgres", "-c max_connections=4"), ("mysql", "--max-connections=1")],
)
@pytest.mark.long
def test_a_server_without_a_free_connection_is_waited_for(kind, option, make_spec):
    with running_server(MySQLServer) if kind == "mysql" else running_server() as server:
        address = server.new_database("study")
        server.stop()
        server.start(option)
        held = [connection_to(address)]
        while True:
            try:
                held.append(connection_to(address))
            except Exception:
                break
        said: list[str] = []
        with pytest.raises(StoreUnavailable, match=r"(?i)too many|connection slots") as error:
            check_server(address, 2.0, say=said.append)
        assert PASSWORD not in str(error.value)
        assert len(said) == 1
        assert said[0].endswith("; trying again for 2 s …")
        for each in held:
            threading.Timer(2.0, each.close).start()
        check_server(address, 30.0)
