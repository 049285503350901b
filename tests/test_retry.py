"""What is tried again, and for how long."""

import pytest

from pipeline.errors import BadInput
from pipeline.retry import is_passing, patiently


class FakeTime:
    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, secs: float) -> None:
        self.now += secs


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        Exception("(sqlite3.OperationalError) database is locked"),
        Exception("HTTPConnectionPool: Failed to establish: [Errno 111] Connection refused"),
        Exception("('Connection aborted.', ConnectionResetError(104, 'reset by peer'))"),
        Exception("too many 503 error responses"),
        Exception("API request to endpoint /x failed with error code 500 != 200."),
        Exception("FATAL:  sorry, too many clients already"),
        Exception("FATAL:  remaining connection slots are reserved for roles with SUPERUSER"),
        Exception("FATAL:  the database system is starting up"),
        Exception("terminating connection due to administrator command"),
        Exception("deadlock detected"),
        Exception("(1040, 'Too many connections')"),
        Exception("(1053, 'Server shutdown in progress')"),
        Exception("(1213, 'Deadlock found when trying to get lock; try restarting transaction')"),
        Exception("Lost connection to MySQL server during query"),
        Exception('Could not connect to the endpoint URL: "http://127.0.0.1:9000/bucket/key"'),
        Exception("An error occurred (503) when calling PutObject (reached max retries: 4): Slow"),
    ],
)
def test_what_passes_by_itself(error):
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        Exception("file is not a database"),
        Exception("attempt to write a readonly database"),
        Exception("run 500 was not found"),
        Exception("failed with error code 404 != 200"),
        PermissionError("denied"),
        ImportError("No module named psycopg2"),
        Exception("Unable to locate credentials"),
        Exception("An error occurred (NoSuchBucket) when calling the PutObject operation"),
    ],
)
def test_what_does_not(error):
    assert not is_passing(error)


def test_a_cause_counts():
    error = RuntimeError("a library's own words")
    error.__cause__ = ConnectionResetError()
    assert is_passing(error)


def test_it_is_tried_until_it_works_with_longer_pauses_and_said_once():
    time = FakeTime()
    said: list[str] = []
    attempts: list[float] = []

    def action():
        attempts.append(time.now)
        if len(attempts) < 6:
            raise ConnectionError("away")
        return "done"

    got = patiently(action, patience_secs=60, say=said.append, clock=time.clock, sleep=time.sleep)
    assert got == "done"
    assert attempts == [0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert said == ["away; trying again for 60 s …"]


def test_what_was_found_to_be_bad_input_does_not_pass():
    error = BadInput("Can't connect to MySQL server on 'nowhere' (Name or service not known)")
    error.__cause__ = ConnectionError()
    assert not is_passing(error)


@pytest.mark.parametrize("patience", [0, 30])
def test_patience_ends_at_the_stated_time(patience):
    time, attempts = FakeTime(), []

    def action():
        attempts.append(time.now)
        raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        patiently(action, patience_secs=patience, clock=time.clock, sleep=time.sleep)
    assert time.now <= patience
    assert len(attempts) == (1 if patience == 0 else 7)


def test_what_does_not_pass_is_raised_at_once():
    time = FakeTime()

    def action():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        patiently(action, patience_secs=60, clock=time.clock, sleep=time.sleep)
    assert time.now == 0
