"""Signals that come in storms, starts at the same instant, and clocks that jump."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ExitCode
from tests.faults import Started, command, ended, search_until
from tests.kill import FIELDS, answer_in, assert_mlflow_tells_the_truth, finish
from tests.tiny_study import runs_of, write_study

ANSWERED = (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
HOURS = 3600.0


def seeds(n_in_ci, n_long):
    long = [pytest.param(seed, marks=pytest.mark.long) for seed in range(n_in_ci, n_long)]
    return pytest.mark.parametrize("seed", [*range(n_in_ci), *long])


@seeds(1, 12)
@pytest.mark.long
def test_a_storm_of_signals_changes_nothing(home, uninterrupted, seed):
    study, random = write_study(home, fields=FIELDS), np.random.default_rng(seed)
    for _ in range(6):
        searching = Started(command, [str(study)])
        for pause_secs in 0.1 + random.exponential(3.0, size=random.integers(1, 4)):
            searching.send(random.choice([signal.SIGTERM, signal.SIGINT]), after_secs=pause_secs)
        code, said = searching.end()
        # One signal stops the search, a second one ends the process.
        assert code in (*ANSWERED, ExitCode.INTERRUPTED, -signal.SIGTERM, -signal.SIGINT), said
        # Python says so of a signal that was pending when the one before it was answered.
        assert "Traceback" not in said or "ignored due to race condition" in said, said
    finish(study)
    answer, n_epochs = uninterrupted
    assert answer_in(home) == answer
    assert_mlflow_tells_the_truth(home, n_epochs)


def command_at(arguments, said, instant):
    while time.monotonic() < instant:
        pass
    command(arguments, said)


@seeds(1, 20)
@pytest.mark.parametrize("if_running", ["skip", pytest.param("wait", marks=pytest.mark.long)])
def test_of_two_started_at_the_same_instant_one_searches(tmp_path, uninterrupted, if_running, seed):
    """In an empty project, so that both would create its stores."""
    study = write_study(tmp_path, fields=FIELDS)
    options, instant = [str(study), "--if-running", if_running], time.monotonic() + 2
    both = [Started(command_at, options, instant) for _ in range(2)]
    codes, texts = zip(*(each.end() for each in both), strict=True)
    if if_running == "skip":
        assert sorted(codes)[1] == ExitCode.ANOTHER_RUN_ACTIVE, texts
        assert sorted(codes)[0] in ANSWERED
    else:
        assert set(codes) <= set(ANSWERED), texts
        assert sum("waiting for the process" in text for text in texts) == 1
    assert not any("Traceback" in text for text in texts)
    answer, n_epochs = uninterrupted
    assert answer_in(tmp_path) == answer
    assert_mlflow_tells_the_truth(tmp_path, n_epochs)


def jump_forward(folder: Path) -> None:
    _jump(5 * HOURS)


def jump_back(folder: Path) -> None:
    _jump(-5 * HOURS)


def _jump(secs: float) -> None:
    """Set the time of day of this process, as far as Python can see it."""
    now, now_ns = time.time, time.time_ns
    setattr(time, "time", lambda: now() + secs)  # noqa: B010 - a function is not assigned to
    setattr(time, "time_ns", lambda: now_ns() + int(secs * 1e9))  # noqa: B010


def interrupt(folder: Path) -> None:
    signal.raise_signal(signal.SIGTERM)


def assert_the_latest_is_shown(home, uninterrupted):
    answer, n_epochs = uninterrupted
    assert answer_in(home) == answer
    assert_mlflow_tells_the_truth(home, n_epochs)
    for run in runs_of(home)[1]:
        assert run.data.metrics["trained_epochs"] == n_epochs[int(run.data.tags["trial"])]


@pytest.mark.parametrize("jump", [jump_forward, jump_back])
@pytest.mark.long
def test_a_clock_that_jumps_in_a_search_changes_nothing(home, uninterrupted, jump):
    options = [str(write_study(home, fields=FIELDS)), "--timeout", "1h"]
    code, said = ended(search_until, options, jump, home, "winner", 2)
    assert code in ANSWERED, said
    assert_the_latest_is_shown(home, uninterrupted)


@pytest.mark.long
def test_nor_does_one_that_was_put_back_between_two_sessions(home, uninterrupted):
    options = [str(write_study(home, fields=FIELDS))]
    code, said = ended(search_until, options, interrupt, home, "report", 6)
    assert code == ExitCode.INTERRUPTED, said
    code, said = ended(search_until, options, jump_back, home, "start", 1)
    assert code in ANSWERED, said
    assert_the_latest_is_shown(home, uninterrupted)
