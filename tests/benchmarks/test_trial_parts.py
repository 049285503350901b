"""Time by part, on a clock that the test moves."""

import threading

import pytest

from tests.benchmarks import profile_trial
from tests.benchmarks.profile_trial import IN_ALL, OTHER, WRITER
from tests.benchmarks.trial_parts import Parts


class Program:
    """Functions that take as many seconds as they are told."""

    def __init__(self):
        self.now = 0.0

    def outer(self):
        self.now += 1
        self.inner(2)
        self.unwatched()
        self.now += 3

    def unwatched(self):
        self.inner(4)

    def inner(self, secs):
        self.now += secs
        return secs

    def fails(self):
        self.inner(5)
        raise ValueError


@pytest.fixture
def program():
    return Program()


@pytest.fixture
def parts(program):
    watched = Parts(lambda: program.now)
    functions = {
        "outside": [(Program, "outer"), (Program, "fails")],
        "inside": [(Program, "inner")],
    }
    with watched.watching(functions):
        yield watched


def test_a_part_has_its_time_without_that_of_the_parts_it_calls(program, parts):
    program.outer()
    assert parts.seconds == {"outside": 4, "inside": 6}
    assert program.inner(1) == 1
    assert parts.seconds["inside"] == 7


def test_a_part_that_raises_is_counted(program, parts):
    with pytest.raises(ValueError):  # noqa: PT011
        program.fails()
    program.inner(1)
    assert parts.seconds == {"outside": 0, "inside": 6}


def test_threads_do_not_count_as_called_by_each_other(program, parts):
    def outer():
        thread = threading.Thread(target=program.inner, args=(2,))
        thread.start()
        thread.join()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "unwatched", outer)
        program.outer()
    # What the thread took is time of the waiting part as well.
    assert parts.seconds == {"outside": 6, "inside": 4}


def test_nothing_is_watched_afterwards(program):
    before = Program.inner
    with Parts().watching({"inside": [(Program, "inner")]}):
        assert Program.inner is not before
    assert Program.inner is before


def test_a_function_that_is_gone_is_an_error():
    with pytest.raises(AttributeError), Parts().watching({"gone": [(Program, "gone")]}):
        pass


# The profile.


def test_every_part_of_a_trial_is_still_in_the_program():
    parts = {**profile_trial.functions(), **profile_trial.beside()}
    for members in parts.values():
        for owner, name in members:
            assert callable(getattr(owner, name))


def test_what_no_part_accounts_for_is_other():
    lane = f"{profile_trial.BESIDE}a lane"
    measured = {"a": 0.5, lane: 1.5, IN_ALL: 1.0, WRITER: 0.1}
    seconds = profile_trial.by_part(measured, ["a", lane, "b"])
    assert seconds == {"a": 0.5, "b": 0.0, OTHER: 0.5, IN_ALL: 1.0, lane: 1.5, WRITER: 0.1}


def test_the_table_has_shares_and_what_was_before():
    now = {"a": 0.25, OTHER: 0.25, IN_ALL: 0.5}
    before = {"b": 0.5, OTHER: 0.5, IN_ALL: 1.0}
    lines = profile_trial.table(now, before).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["a", "250.0", "50.0", "%"],
        ["other", "250.0", "50.0", "%", "500.0", "50.0", "%"],
        ["in", "all", "500.0", "100.0", "%", "1000.0", "100.0", "%"],
        ["b", "500.0", "50.0", "%"],
    ]
    assert "before" not in profile_trial.table(now, None)


@pytest.mark.long
def test_each_part_of_a_trial_is_met_and_no_time_is_counted_twice():
    seconds = profile_trial.profile("mlp", "plain", 2)
    assert all(secs > 0 for part, secs in seconds.items() if part != OTHER)
    assert seconds[OTHER] > 0
