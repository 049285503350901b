"""Which worker is at which trial."""

import subprocess
import sys
import threading

import optuna
import pytest

from pipeline.budget import Budget
from pipeline.optimization import Claims, begun, epochs_begun, n_to_begin, next_proposal

HOLD = """
import sys, pathlib, time
from pipeline.optimization import Claims
claims = Claims(pathlib.Path(sys.argv[1]))
with claims.asking():
    print(claims.take(3), flush=True)
time.sleep(60)
"""


def by_others(number: int) -> bool:
    """Say that another worker is at every trial."""
    return False


@pytest.fixture
def other(tmp_path):
    """Return a process that is at trial 3."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_trial_is_one_workers_until_that_dies(tmp_path, other):
    claims = Claims(tmp_path)
    with claims.asking():
        assert claims.is_taken(3)
        assert not claims.take(3)
        assert claims.take(4)
        assert claims.take(4)
        assert not claims.is_taken(4)
        assert not claims.is_taken(5)
    other.kill()
    other.wait()
    with claims.asking():
        assert not claims.is_taken(3)
        assert claims.take(3)


def test_what_is_let_go_leaves_nothing(tmp_path):
    one, two = Claims(tmp_path), Claims(tmp_path)
    with one.asking():
        assert one.take(3)
    one.release(3)
    one.release(3)
    assert not list(tmp_path.glob("trial_*"))
    with two.asking():
        assert two.take(3)


def test_one_asks_at_a_time(tmp_path):
    inside, most = 0, 0

    def ask():
        nonlocal inside, most
        for _ in range(50):
            with Claims(tmp_path).asking():
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_workers_get_trials_of_their_own_and_then_those_left_behind(
    make_spec, open_journal, tmp_path
):
    spec = make_spec(budget=Budget(n_trials=3))
    one, two = Claims(tmp_path), Claims(tmp_path)
    study = open_journal(spec)
    with one.asking():
        first = next_proposal(study, spec, take=one.take)
    with two.asking():
        second = next_proposal(open_journal(spec), spec, take=two.take)
    assert (first.number, second.number) == (0, 1)
    assert first.params != second.params
    assert [trial.number for trial in begun(study)] == [0, 1]
    assert n_to_begin(study, spec) == 1
    one.release(0)
    with two.asking():
        again = next_proposal(study, spec, take=two.take)
    assert (again.number, again.params) == (0, first.params)


def test_a_grid_is_not_proposed_twice_to_two_workers(make_spec, open_journal):
    grid = {"learning_rate": [0.001, 0.01], "momentum": [0.5]}
    spec = make_spec(
        max_epochs=5, sampler=lambda seed: optuna.samplers.GridSampler(grid, seed=seed)
    )
    study = open_journal(spec)
    rates = set()
    while n_to_begin(study, spec):
        rates.add(next_proposal(study, spec, take=by_others).params["learning_rate"])
    assert rates == {0.001, 0.01}
    assert len(study.trials) == 2


@pytest.mark.parametrize(("horizon_free", "expected"), [(True, 4 + 2), (False, 20 + 10)])
def test_what_others_have_trained_is_counted(horizon_free, expected, make_spec, open_journal):
    """Of horizons of 100 epochs, 4 and 2 twentieths are 20 and 10."""
    spec = make_spec(max_epochs=100)
    study = open_journal(spec)
    for n_epochs in (4, 2, 3):
        proposal = next_proposal(study, spec, take=by_others)
        for n in range(1, n_epochs + 1):
            proposal.report(n if horizon_free else 5 * n, 1.0, horizon_free=horizon_free)
    assert epochs_begun(study.get_trials(), spec, but=2) == expected
