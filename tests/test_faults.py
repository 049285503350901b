"""Searches that are killed anywhere end as if nothing had happened."""

import importlib
import json
import os
import signal
import time

import numpy as np
import pytest

from pipeline.errors import ExitCode
from pipeline.evaluation import MAX_DEATHS
from pipeline.training.snapshot_file import of_bytes
from tests.faults import command, ended
from tests.kill import (
    CONTEXT,
    FIELDS,
    PAUSING_POINTS,
    POINTS,
    answer_in,
    assert_mlflow_has,
    assert_mlflow_tells_the_truth,
    curves_in,
    finish,
    killed,
    search_slowly,
)
from tests.tiny_study import runs_of, write_study


def kills(n_kills, seed, points=tuple(POINTS), n_calls=5) -> list[tuple[str, int]]:
    """Return points and calls, every point before any comes again."""
    random = np.random.default_rng(seed)
    names = [name for _ in range(n_kills) for name in random.permutation(points)]
    return [(str(name), int(random.integers(1, n_calls + 1))) for name in names[:n_kills]]


def assert_as_if_nothing_had_happened(home, uninterrupted, points):
    study = write_study(home, fields=FIELDS)
    n_killed = sum(killed(study, point, call) for point, call in points)
    finish(study)
    answer, n_epochs = uninterrupted
    assert answer_in(home) == answer
    assert_mlflow_tells_the_truth(home, n_epochs)
    assert not list(home.glob("mlruns/studies/*/snapshots/*.npz"))
    return n_killed


# Three in one search: it goes on from where the first left it, and dies again elsewhere.
@pytest.mark.parametrize("points", np.array(kills(3, 0), dtype=object).reshape(1, 3, 2).tolist())
def test_a_search_that_is_killed_ends_as_if_nothing_had_happened(home, uninterrupted, points):
    assert_as_if_nothing_had_happened(home, uninterrupted, points)


@pytest.mark.long
@pytest.mark.parametrize("points", np.array(kills(120, 1), dtype=object).reshape(40, 3, 2).tolist())
def test_and_so_do_forty_that_are_killed_three_times(home, uninterrupted, points):
    assert_as_if_nothing_had_happened(home, uninterrupted, points)


LADDER = """dict(
    test_size=0.2,
    strategy=Ladder(rungs=(0.25, 0.5, 0.5, 1), n_finalists=2),
    pruner=None,
    space={"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "max_epochs": 8},
    budget=Budget(n_trials=6),
)"""


@pytest.fixture(scope="session")
def uninterrupted_ladder(make_home):
    """Return the answer and the curves of a search that nothing happened to."""
    home = make_home("uninterrupted_ladder")
    finish(write_study(home, fields=LADDER))
    return answer_in(home), curves_in(home)


def assert_ladder_as_if_nothing_had_happened(home, uninterrupted_ladder, points):
    study = write_study(home, fields=LADDER)
    for point, call in points:
        killed(study, point, call)
    finish(study)
    answer, curves = uninterrupted_ladder
    assert answer_in(home) == answer
    found = curves_in(home)
    assert found.keys() == curves.keys()
    for number, (params, outcome, expected) in curves.items():
        assert found[number][:2] == (params, outcome)
        np.testing.assert_array_equal(found[number][2].values, expected.values)
    assert_mlflow_has(home, found)
    assert not list(home.glob("mlruns/studies/*/snapshots/*.npz"))


LADDER_POINTS = [*PAUSING_POINTS, *(each for each in POINTS if each != "ask")]


# When a trial pauses, and when folds of one catch up.
@pytest.mark.parametrize("points", [[("before pause", 2), ("epoch", 16)]])
def test_so_does_one_whose_trials_pause(home, uninterrupted_ladder, points):
    assert_ladder_as_if_nothing_had_happened(home, uninterrupted_ladder, points)


@pytest.mark.long
@pytest.mark.parametrize(
    "points", np.array(kills(60, 2, LADDER_POINTS, 16), dtype=object).reshape(20, 3, 2).tolist()
)
def test_and_twenty_of_those_that_are_killed_three_times(home, uninterrupted_ladder, points):
    assert_ladder_as_if_nothing_had_happened(home, uninterrupted_ladder, points)


def given_up(study, n_epochs, signal_number=signal.SIGTERM):
    """Search until an epoch, the one after `n_epochs` here, never ends and is given up."""
    process = CONTEXT.Process(target=search_slowly, args=(study, n_epochs, 0.5))
    process.start()
    deadline = time.monotonic() + 120
    while not (study.parent / "stuck").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal_number)
    process.join(timeout=30)
    assert process.exitcode == ExitCode.INTERRUPTED
    (study.parent / "stuck").unlink()


@pytest.mark.parametrize(
    "signal_number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.long)]
)
def test_an_epoch_that_is_too_long_is_given_up(home, uninterrupted, signal_number):
    study = write_study(home, fields=FIELDS)
    given_up(study, 2, signal_number)
    (kept,) = home.glob("mlruns/studies/*/snapshots/*.npz")
    assert of_bytes(kept.read_bytes())[0].n_epochs == 2
    assert runs_of(home)[0].info.status == "KILLED"
    finish(study)
    answer, n_epochs = uninterrupted
    assert answer_in(home) == answer
    assert_mlflow_tells_the_truth(home, n_epochs)


@pytest.mark.long
def test_one_that_is_given_up_again_and_again_is_no_death_of_its_trial(home, uninterrupted):
    study = write_study(home, fields=FIELDS)
    for _ in range(MAX_DEATHS + 1):
        given_up(study, 0)
    finish(study)
    assert answer_in(home) == uninterrupted[0]


@pytest.mark.long
def test_a_trial_at_which_processes_die_in_vain_fails_and_the_search_goes_on(home):
    study = write_study(home, fields=FIELDS)
    assert killed(study, "before report", 1)
    assert killed(study, "before report", 1)
    finish(study)
    values = answer_in(home)
    assert values["trials"]["failed"] == 1
    assert values["trials"]["completed"] == 2
    _, children = runs_of(home)
    failed = next(run for run in children if run.info.status == "FAILED")
    assert "2 processes in a row died while they trained this trial" in failed.data.tags["reason"]


DAMAGES = {
    "flipped": lambda content: (
        content[: len(content) // 2] + bytes(byte ^ 0xFF for byte in content[len(content) // 2 :])
    ),
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.long
def test_a_damaged_snapshot_costs_its_epochs_and_nothing_else(home, uninterrupted, damage):
    study = write_study(home, fields=FIELDS)
    assert killed(study, "before report", 3)
    (kept,) = home.glob("mlruns/studies/*/snapshots/*.npz")
    kept.write_bytes(DAMAGES[damage](kept.read_bytes()))
    code, said = ended(command, [str(study)])
    assert code == ExitCode.UNDETERMINED, said
    assert f"{kept.name} is not whole" in said
    answer, n_epochs = uninterrupted
    assert answer_in(home) == answer
    assert_mlflow_tells_the_truth(home, n_epochs)


@pytest.mark.long
def test_a_snapshot_of_another_version_is_kept_and_ends_the_search(home, uninterrupted):
    study = write_study(home, fields=FIELDS)
    assert killed(study, "before report", 3)
    (kept,) = home.glob("mlruns/studies/*/snapshots/*.npz")
    with np.load(kept) as stored:
        arrays = dict(stored)
    about = json.loads(str(arrays["about"]))
    np.savez(kept, **{**arrays, "about": np.array(json.dumps({**about, "version": 0}))})
    code, said = ended(command, [str(study)])
    assert code == ExitCode.STORE_UNAVAILABLE, said
    assert "must be of this program's version" in said
    assert "Traceback" not in said
    kept.unlink()
    finish(study)
    answer, n_epochs = uninterrupted
    assert answer_in(home) == answer
    assert_mlflow_tells_the_truth(home, n_epochs)


@pytest.mark.parametrize("point", [*POINTS.values(), *PAUSING_POINTS.values()])
def test_every_point_is_a_function_that_exists(point):
    module, path, _ = point
    owner = importlib.import_module(module)
    for name in path.split("."):
        owner = getattr(owner, name)
    assert callable(owner)
